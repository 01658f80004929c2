/// `mvccpb.Event` as a field of a `WatchResponse`, around stored records that all watchers share.
///
/// A put is the record itself; a delete's record has only the key and the mod revision. Counts are in bytes;
/// `previousCount` 0 and an empty `previous` mean that there is none (no record is empty).
package enum EventCodec {
    /// The event alone.
    @inlinable
    package static func size(isDelete: Bool, recordCount: Int, previousCount: Int) -> Int {
        ProtoSize.bool(1, isDelete) + ProtoSize.message(2, count: recordCount)
            + ProtoSize.bytes(3, count: previousCount)
    }

    /// The event alone, `size(...)` bytes.
    @inlinable
    package static func write(
        to writer: inout ProtoWriter, isDelete: Bool, record: UnsafeRawBufferPointer,
        previous: UnsafeRawBufferPointer
    ) {
        writer.bool(1, isDelete)
        writer.message(2, record)
        writer.bytes(3, previous)
    }

    /// The event within a `WatchResponse`: field 11, tag and length included.
    @inlinable
    package static func fieldSize(isDelete: Bool, recordCount: Int, previousCount: Int) -> Int {
        ProtoSize.message(
            11, count: size(isDelete: isDelete, recordCount: recordCount, previousCount: previousCount))
    }

    /// The event within a `WatchResponse`, `fieldSize(...)` bytes; goes after `WatchResponse.write(to:)`.
    @inlinable
    package static func writeField(
        to writer: inout ProtoWriter, isDelete: Bool, record: UnsafeRawBufferPointer,
        previous: UnsafeRawBufferPointer
    ) {
        writer.messageHeader(
            11, count: size(isDelete: isDelete, recordCount: record.count, previousCount: previous.count))
        write(to: &writer, isDelete: isDelete, record: record, previous: previous)
    }
}

/// `etcdserverpb.WatchResponse` without its events, which have the highest number and so follow (`EventCodec`).
package struct WatchResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// -1 in a progress response that speaks for the whole stream.
    package var watchID: Int64
    package var created = false
    package var canceled = false
    /// Not 0 when the watcher asked for a revision that has been compacted: the lowest one it may ask for.
    package var compactRevision: Int64 = 0
    package var cancelReason = ""
    /// More events of the same revision follow.
    package var fragment = false

    package init(
        header: ResponseHeader, watchID: Int64, created: Bool = false, canceled: Bool = false,
        compactRevision: Int64 = 0, cancelReason: String = "", fragment: Bool = false
    ) {
        self.header = header
        self.watchID = watchID
        self.created = created
        self.canceled = canceled
        self.compactRevision = compactRevision
        self.cancelReason = cancelReason
        self.fragment = fragment
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header) + ProtoSize.int64(2, watchID)
        size += ProtoSize.bool(3, created) + ProtoSize.bool(4, canceled) + ProtoSize.int64(5, compactRevision)
        size += ProtoSize.string(6, cancelReason) + ProtoSize.bool(7, fragment)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.int64(2, watchID)
        writer.bool(3, created)
        writer.bool(4, canceled)
        writer.int64(5, compactRevision)
        writer.string(6, cancelReason)
        writer.bool(7, fragment)
    }
}

/// `mvccpb.Event` over borrowed bytes, for clients.
package struct EventView {
    /// 0 put, 1 delete.
    package var type: Int32 = 0
    package var keyValue: KeyValueView?
    /// The version before the change, when the watcher asked for it.
    package var previous: KeyValueView?

    @inlinable package var isDelete: Bool { type == 1 }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): type = try reader.int32()
            case .bytes(2): keyValue = try KeyValueView(decoding: try reader.bytes())
            case .bytes(3): previous = try KeyValueView(decoding: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }
}

/// `etcdserverpb.WatchResponse` over borrowed bytes, for clients.
package struct WatchResponseView {
    package var header = ResponseHeader()
    package var watchID: Int64 = 0
    package var created = false
    package var canceled = false
    package var compactRevision: Int64 = 0
    package var cancelReason = ""
    package var fragment = false
    package var events: [EventView] = []

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): header = try ResponseHeader(decoding: try reader.bytes())
            case .varint(2): watchID = try reader.int64()
            case .varint(3): created = try reader.bool()
            case .varint(4): canceled = try reader.bool()
            case .varint(5): compactRevision = try reader.int64()
            case .bytes(6): cancelReason = try reader.string()
            case .varint(7): fragment = try reader.bool()
            case .bytes(11): events.append(try EventView(decoding: try reader.bytes()))
            default: try reader.skip(tag)
            }
        }
    }
}
