/// `etcdserverpb.WatchCreateRequest` over borrowed bytes.
package struct WatchCreateRequestView: WireEncodable {
    package var key: UnsafeRawBufferPointer = .empty
    /// Empty: the one key. One zero byte: up to the last key.
    package var rangeEnd: UnsafeRawBufferPointer = .empty
    /// The first revision to send; 0 for the next one.
    package var startRevision: Int64 = 0
    package var progressNotify = false
    /// Of the `filters`: leave puts out. Unknown filters are ignored, as etcd does.
    package var filtersPuts = false
    /// Of the `filters`: leave deletes out.
    package var filtersDeletes = false
    package var prevKv = false
    /// 0: the server chooses.
    package var watchID: Int64 = 0
    /// Responses may be split at the message size limit.
    package var fragment = false

    package init() {}

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): key = try reader.bytes()
            case .bytes(2): rangeEnd = try reader.bytes()
            case .varint(3): startRevision = try reader.int64()
            case .varint(4): progressNotify = try reader.bool()
            case .varint(5): addFilter(try reader.int32())
            case .bytes(5):
                var packed = ProtoReader(try reader.bytes())
                while packed.remaining > 0 { addFilter(try packed.int32()) }
            case .varint(6): prevKv = try reader.bool()
            case .varint(7): watchID = try reader.int64()
            case .varint(8): fragment = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    private mutating func addFilter(_ filter: Int32) {
        if filter == 0 { filtersPuts = true }
        if filter == 1 { filtersDeletes = true }
    }

    private var filterCount: Int { (filtersPuts ? 1 : 0) + (filtersDeletes ? 1 : 0) }

    package var encodedSize: Int {
        var size = ProtoSize.bytes(1, count: key.count) + ProtoSize.bytes(2, count: rangeEnd.count)
        size += ProtoSize.int64(3, startRevision) + ProtoSize.bool(4, progressNotify)
        size += ProtoSize.bytes(5, count: filterCount)
        size += ProtoSize.bool(6, prevKv) + ProtoSize.int64(7, watchID) + ProtoSize.bool(8, fragment)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.bytes(1, key)
        writer.bytes(2, rangeEnd)
        writer.int64(3, startRevision)
        writer.bool(4, progressNotify)
        if filterCount > 0 {
            writer.messageHeader(5, count: filterCount)
            if filtersPuts { writer.varint(0) }
            if filtersDeletes { writer.varint(1) }
        }
        writer.bool(6, prevKv)
        writer.int64(7, watchID)
        writer.bool(8, fragment)
    }
}

/// `etcdserverpb.WatchRequest` over borrowed bytes: one command on a watch stream.
package enum WatchRequestView: WireEncodable {
    /// No member of the oneof that we know; etcd ignores it.
    case empty
    case create(WatchCreateRequestView)
    case cancel(watchID: Int64)
    case progress

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        self = .empty
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): self = .create(try WatchCreateRequestView(decoding: try reader.bytes()))
            case .bytes(2): self = .cancel(watchID: try WatchCancelRequest(decoding: try reader.bytes()).watchID)
            case .bytes(3):
                try skipAll(try reader.bytes())
                self = .progress
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        switch self {
        case .empty: 0
        case .create(let request): ProtoSize.message(1, request)
        case .cancel(let watchID): ProtoSize.message(2, WatchCancelRequest(watchID: watchID))
        case .progress: ProtoSize.message(3, count: 0)
        }
    }

    package func write(to writer: inout ProtoWriter) {
        switch self {
        case .empty: break
        case .create(let request): writer.message(1, request)
        case .cancel(let watchID): writer.message(2, WatchCancelRequest(watchID: watchID))
        case .progress: writer.messageHeader(3, count: 0)
        }
    }
}

/// `etcdserverpb.WatchCancelRequest`.
package struct WatchCancelRequest: WireEncodable, Equatable, Sendable {
    package var watchID: Int64 = 0

    package init(watchID: Int64 = 0) {
        self.watchID = watchID
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): watchID = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, watchID)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, watchID)
    }
}

/// Checks that bytes are a well-formed message; its fields mean nothing to us.
func skipAll(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = ProtoReader(bytes)
    while let tag = try reader.nextField() { try reader.skip(tag) }
}
