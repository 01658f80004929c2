package import Primitives

/// `etcdserverpb.DeleteRangeRequest` over borrowed bytes. Source: spec rows `etcdserverpb.DeleteRangeRequest`.
package struct DeleteRangeRequestView: WireEncodable {
    package var key: UnsafeRawBufferPointer = .empty
    /// Empty: the one key. One zero byte: up to the last key.
    package var rangeEnd: UnsafeRawBufferPointer = .empty
    /// `prev_kv`: return the versions that are deleted.
    package var prevKv: Bool = false

    @inlinable
    package init(
        key: UnsafeRawBufferPointer = .empty, rangeEnd: UnsafeRawBufferPointer = .empty,
        prevKv: Bool = false
    ) {
        self.key = key
        self.rangeEnd = rangeEnd
        self.prevKv = prevKv
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): key = try reader.bytes()
            case .bytes(2): rangeEnd = try reader.bytes()
            case .varint(3): prevKv = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    @inlinable
    package var encodedSize: Int {
        ProtoSize.bytes(1, count: key.count) + ProtoSize.bytes(2, count: rangeEnd.count)
            + ProtoSize.bool(3, prevKv)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        writer.bytes(1, key)
        writer.bytes(2, rangeEnd)
        writer.bool(3, prevKv)
    }
}

/// `etcdserverpb.DeleteRangeResponse`.
package struct DeleteRangeResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// How many keys were deleted.
    package var deleted: Int64
    /// The stored records that were deleted, when the request asked for them.
    package var previousRecords: [Bytes]

    package init(header: ResponseHeader, deleted: Int64 = 0, previousRecords: [Bytes] = []) {
        self.header = header
        self.deleted = deleted
        self.previousRecords = previousRecords
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header) + ProtoSize.int64(2, deleted)
        for record in previousRecords { size += ProtoSize.message(3, count: record.count) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.int64(2, deleted)
        for record in previousRecords { writer.message(3, record) }
    }
}

/// `etcdserverpb.DeleteRangeResponse` over borrowed bytes, for clients.
package struct DeleteRangeResponseView {
    package var header = ResponseHeader()
    package var deleted: Int64 = 0
    package var previous: [KeyValueView] = []

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): header = try ResponseHeader(decoding: try reader.bytes())
            case .varint(2): deleted = try reader.int64()
            case .bytes(3): previous.append(try KeyValueView(decoding: try reader.bytes()))
            default: try reader.skip(tag)
            }
        }
    }
}
