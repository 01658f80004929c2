package import Primitives

/// `etcdserverpb.RangeRequest` over borrowed bytes. Source: spec rows `etcdserverpb.RangeRequest`.
package struct RangeRequestView: WireEncodable {
    package var key: UnsafeRawBufferPointer = .empty
    /// Empty: the one key. One zero byte: up to the last key.
    package var rangeEnd: UnsafeRawBufferPointer = .empty
    /// 0 for no limit.
    package var limit: Int64 = 0
    /// 0 or less for the newest.
    package var revision: Int64 = 0
    /// 0 none, 1 ascending, 2 descending.
    package var sortOrder: Int32 = 0
    /// 0 key, 1 version, 2 create revision, 3 mod revision, 4 value.
    package var sortTarget: Int32 = 0
    package var serializable: Bool = false
    package var keysOnly: Bool = false
    package var countOnly: Bool = false
    package var minModRevision: Int64 = 0
    package var maxModRevision: Int64 = 0
    package var minCreateRevision: Int64 = 0
    package var maxCreateRevision: Int64 = 0

    @inlinable
    package init(
        key: UnsafeRawBufferPointer = .empty, rangeEnd: UnsafeRawBufferPointer = .empty, limit: Int64 = 0,
        revision: Int64 = 0, sortOrder: Int32 = 0, sortTarget: Int32 = 0, serializable: Bool = false,
        keysOnly: Bool = false, countOnly: Bool = false, minModRevision: Int64 = 0, maxModRevision: Int64 = 0,
        minCreateRevision: Int64 = 0, maxCreateRevision: Int64 = 0
    ) {
        self.key = key
        self.rangeEnd = rangeEnd
        self.limit = limit
        self.revision = revision
        self.sortOrder = sortOrder
        self.sortTarget = sortTarget
        self.serializable = serializable
        self.keysOnly = keysOnly
        self.countOnly = countOnly
        self.minModRevision = minModRevision
        self.maxModRevision = maxModRevision
        self.minCreateRevision = minCreateRevision
        self.maxCreateRevision = maxCreateRevision
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): key = try reader.bytes()
            case .bytes(2): rangeEnd = try reader.bytes()
            case .varint(3): limit = try reader.int64()
            case .varint(4): revision = try reader.int64()
            case .varint(5): sortOrder = try reader.int32()
            case .varint(6): sortTarget = try reader.int32()
            case .varint(7): serializable = try reader.bool()
            case .varint(8): keysOnly = try reader.bool()
            case .varint(9): countOnly = try reader.bool()
            case .varint(10): minModRevision = try reader.int64()
            case .varint(11): maxModRevision = try reader.int64()
            case .varint(12): minCreateRevision = try reader.int64()
            case .varint(13): maxCreateRevision = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    @inlinable
    package var encodedSize: Int {
        ProtoSize.bytes(1, count: key.count) + ProtoSize.bytes(2, count: rangeEnd.count) + ProtoSize.int64(3, limit)
            + ProtoSize.int64(4, revision) + ProtoSize.int32(5, sortOrder) + ProtoSize.int32(6, sortTarget)
            + ProtoSize.bool(7, serializable) + ProtoSize.bool(8, keysOnly) + ProtoSize.bool(9, countOnly)
            + ProtoSize.int64(10, minModRevision) + ProtoSize.int64(11, maxModRevision)
            + ProtoSize.int64(12, minCreateRevision) + ProtoSize.int64(13, maxCreateRevision)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        writer.bytes(1, key)
        writer.bytes(2, rangeEnd)
        writer.int64(3, limit)
        writer.int64(4, revision)
        writer.int32(5, sortOrder)
        writer.int32(6, sortTarget)
        writer.bool(7, serializable)
        writer.bool(8, keysOnly)
        writer.bool(9, countOnly)
        writer.int64(10, minModRevision)
        writer.int64(11, maxModRevision)
        writer.int64(12, minCreateRevision)
        writer.int64(13, maxCreateRevision)
    }
}

/// The parts of an `etcdserverpb.RangeResponse` whose rows are copied from the store straight into the outgoing
/// buffer: `prefix`, then each row, then `trailer`. Rows are stored records (see `KeyValueCodec`).
package enum RangeResponseCodec {
    @inlinable
    package static func prefixSize(header: ResponseHeader) -> Int { ProtoSize.message(1, header) }

    @inlinable
    package static func writePrefix(to writer: inout ProtoWriter, header: ResponseHeader) {
        writer.message(1, header)
    }

    /// What a record of `recordCount` bytes takes, tag and length included.
    @inlinable @inline(__always)
    package static func rowSize(recordCount: Int) -> Int { ProtoSize.message(2, count: recordCount) }

    @inlinable @inline(__always)
    package static func writeRow(to writer: inout ProtoWriter, record: UnsafeRawBufferPointer) {
        writer.message(2, record)
    }

    @inlinable
    package static func trailerSize(more: Bool, count: Int64) -> Int {
        ProtoSize.bool(3, more) + ProtoSize.int64(4, count)
    }

    @inlinable
    package static func writeTrailer(to writer: inout ProtoWriter, more: Bool, count: Int64) {
        writer.bool(3, more)
        writer.int64(4, count)
    }
}

/// A whole `etcdserverpb.RangeResponse`, for answers that are small or lie within a transaction's.
package struct RangeResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// Stored records; see `KeyValueCodec`.
    package var records: [Bytes]
    /// Rows that are encoded already (as by `RangeResponseCodec.writeRow`), one after another; they follow `records`.
    package var encodedRows: Bytes
    /// The limit cut off further keys.
    package var more: Bool
    /// Keys in the range, whatever the limit.
    package var count: Int64

    package init(
        header: ResponseHeader, records: [Bytes] = [], encodedRows: Bytes = Bytes(), more: Bool = false,
        count: Int64 = 0
    ) {
        self.header = header
        self.records = records
        self.encodedRows = encodedRows
        self.more = more
        self.count = count
    }

    package var encodedSize: Int {
        var size = RangeResponseCodec.prefixSize(header: header)
        for record in records { size += RangeResponseCodec.rowSize(recordCount: record.count) }
        return size + encodedRows.count + RangeResponseCodec.trailerSize(more: more, count: count)
    }

    package func write(to writer: inout ProtoWriter) {
        RangeResponseCodec.writePrefix(to: &writer, header: header)
        for record in records { writer.message(2, record) }
        encodedRows.withUnsafeBytes { writer.raw($0) }
        RangeResponseCodec.writeTrailer(to: &writer, more: more, count: count)
    }
}

/// `etcdserverpb.RangeResponse` over borrowed bytes, for clients.
package struct RangeResponseView {
    package var header = ResponseHeader()
    package var keyValues: [KeyValueView] = []
    package var more = false
    package var count: Int64 = 0

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): header = try ResponseHeader(decoding: try reader.bytes())
            case .bytes(2): keyValues.append(try KeyValueView(decoding: try reader.bytes()))
            case .varint(3): more = try reader.bool()
            case .varint(4): count = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }
}
