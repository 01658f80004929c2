package import Primitives

/// A decoded `mvccpb.KeyValue` over borrowed bytes; valid only as long as they are. A field that occurs twice counts as
/// its last occurrence; unknown fields are skipped. Source: spec rows `mvccpb.KeyValue`.
@frozen
package struct KeyValueView {
    package var key = UnsafeRawBufferPointer.empty
    package var value = UnsafeRawBufferPointer.empty
    /// The revision of the put that created the key.
    package var createRevision: Int64 = 0
    /// The revision of the put that wrote this value.
    package var modRevision: Int64 = 0
    /// 1 for the put that created the key, one more for each later one.
    package var version: Int64 = 0
    /// 0 when the key has no lease.
    package var lease: Int64 = 0

    /// All zeros and empty: a key that does not exist, as comparisons see it.
    @inlinable
    package init() {}

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): key = try reader.bytes()
            case .varint(2): createRevision = try reader.int64()
            case .varint(3): modRevision = try reader.int64()
            case .varint(4): version = try reader.int64()
            case .bytes(5): value = try reader.bytes()
            case .varint(6): lease = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }
}

extension KeyValueView: WireEncodable {
    @inlinable
    package var encodedSize: Int {
        KeyValueCodec.encodedSize(
            keyCount: key.count, createRevision: createRevision, modRevision: modRevision, version: version,
            valueCount: value.count, lease: lease)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        KeyValueCodec.write(
            to: &writer, key: key, createRevision: createRevision, modRevision: modRevision, version: version,
            value: value, lease: lease)
    }

    /// The same record without its value, as a range with `keys_only` returns it.
    @inlinable
    package var withoutValue: KeyValueView {
        var copy = self
        copy.value = .empty
        return copy
    }
}

/// Encodes `mvccpb.KeyValue` as etcd's Go code does: fields in the order of their numbers, zero and empty ones left
/// out. A stored record is exactly these bytes, and `HashKV` over them must equal etcd's.
package enum KeyValueCodec {
    @inlinable
    package static func encodedSize(
        keyCount: Int, createRevision: Int64, modRevision: Int64, version: Int64, valueCount: Int, lease: Int64
    ) -> Int {
        ProtoSize.bytes(1, count: keyCount) + ProtoSize.int64(2, createRevision) + ProtoSize.int64(3, modRevision)
            + ProtoSize.int64(4, version) + ProtoSize.bytes(5, count: valueCount) + ProtoSize.int64(6, lease)
    }

    /// Writes `encodedSize(...)` bytes.
    @inlinable
    package static func write(
        to writer: inout ProtoWriter, key: UnsafeRawBufferPointer, createRevision: Int64, modRevision: Int64,
        version: Int64, value: UnsafeRawBufferPointer, lease: Int64
    ) {
        writer.bytes(1, key)
        writer.int64(2, createRevision)
        writer.int64(3, modRevision)
        writer.int64(4, version)
        writer.bytes(5, value)
        writer.int64(6, lease)
    }

    @inlinable
    package static func encode(
        key: UnsafeRawBufferPointer, createRevision: Int64, modRevision: Int64, version: Int64,
        value: UnsafeRawBufferPointer, lease: Int64
    ) -> Bytes {
        let size = encodedSize(
            keyCount: key.count, createRevision: createRevision, modRevision: modRevision, version: version,
            valueCount: value.count, lease: lease)
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            write(
                to: &writer, key: key, createRevision: createRevision, modRevision: modRevision, version: version,
                value: value, lease: lease)
            writer.finish()
        }
    }

    @inlinable
    package static func encode(
        key: Bytes, createRevision: Int64, modRevision: Int64, version: Int64, value: Bytes, lease: Int64
    ) -> Bytes {
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                encode(
                    key: key, createRevision: createRevision, modRevision: modRevision, version: version,
                    value: value, lease: lease)
            }
        }
    }
}
