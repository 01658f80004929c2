package import Primitives

/// `etcdserverpb.PutRequest` over borrowed bytes. Source: spec rows `etcdserverpb.PutRequest`.
package struct PutRequestView: WireEncodable {
    package var key: UnsafeRawBufferPointer = .empty
    package var value: UnsafeRawBufferPointer = .empty
    /// 0 for no lease.
    package var lease: Int64 = 0
    /// `prev_kv`: return the version that is replaced.
    package var prevKv: Bool = false
    /// Keep the current value; the key must exist.
    package var ignoreValue: Bool = false
    /// Keep the current lease; the key must exist.
    package var ignoreLease: Bool = false

    @inlinable
    package init(
        key: UnsafeRawBufferPointer = .empty, value: UnsafeRawBufferPointer = .empty, lease: Int64 = 0,
        prevKv: Bool = false, ignoreValue: Bool = false, ignoreLease: Bool = false
    ) {
        self.key = key
        self.value = value
        self.lease = lease
        self.prevKv = prevKv
        self.ignoreValue = ignoreValue
        self.ignoreLease = ignoreLease
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): key = try reader.bytes()
            case .bytes(2): value = try reader.bytes()
            case .varint(3): lease = try reader.int64()
            case .varint(4): prevKv = try reader.bool()
            case .varint(5): ignoreValue = try reader.bool()
            case .varint(6): ignoreLease = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    @inlinable
    package var encodedSize: Int {
        ProtoSize.bytes(1, count: key.count) + ProtoSize.bytes(2, count: value.count) + ProtoSize.int64(3, lease)
            + ProtoSize.bool(4, prevKv) + ProtoSize.bool(5, ignoreValue) + ProtoSize.bool(6, ignoreLease)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        writer.bytes(1, key)
        writer.bytes(2, value)
        writer.int64(3, lease)
        writer.bool(4, prevKv)
        writer.bool(5, ignoreValue)
        writer.bool(6, ignoreLease)
    }
}

/// `etcdserverpb.PutResponse`.
package struct PutResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// The stored record that was replaced, when the request asked for it and there was one.
    package var previousRecord: Bytes?

    package init(header: ResponseHeader, previousRecord: Bytes? = nil) {
        self.header = header
        self.previousRecord = previousRecord
    }

    package var encodedSize: Int {
        ProtoSize.message(1, header) + (previousRecord.map { ProtoSize.message(2, count: $0.count) } ?? 0)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        if let previousRecord { writer.message(2, previousRecord) }
    }
}

/// `etcdserverpb.PutResponse` over borrowed bytes, for clients.
package struct PutResponseView {
    package var header = ResponseHeader()
    package var previous: KeyValueView?

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): header = try ResponseHeader(decoding: try reader.bytes())
            case .bytes(2): previous = try KeyValueView(decoding: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }
}
