import Wire

/// Reads of answers what a workload checks, in place: nothing is copied.
enum ReplyReader {
    /// What a `RangeResponse` says.
    struct RangeReply {
        var revision: Int64 = 0
        var rows = 0
        var count = 0
        var more = false
        /// Where the last row's key is; valid as long as the reply.
        var lastKey = UnsafeRawBufferPointer(start: nil, count: 0)
    }

    /// What a `TxnResponse` says.
    struct TxnReply {
        var revision: Int64 = 0
        var succeeded = false
        /// The rows of the first range among the operations; -1 when there is none.
        var rows = -1
        /// The mod revision of that range's first row; 0 when there is none.
        var firstModRevision: Int64 = 0
    }

    /// An event of a `WatchResponse`; keys are valid as long as the reply.
    struct Event {
        var isDelete = false
        var key = UnsafeRawBufferPointer(start: nil, count: 0)
        var value = UnsafeRawBufferPointer(start: nil, count: 0)
        var createRevision: Int64 = 0
        var modRevision: Int64 = 0
        /// 0 when the event has no previous record.
        var previousModRevision: Int64 = 0
    }

    /// What a `WatchResponse` says, without its events.
    struct WatchReply {
        var revision: Int64 = 0
        var watchID: Int64 = 0
        var isCreated = false
        var isCanceled = false
        var events = 0
    }

    /// The revision in the header, which is field 1 of every response; nil when the reply is malformed or has none.
    static func header(_ reply: UnsafeRawBufferPointer) -> Int64? {
        var reader = ProtoReader(reply)
        do throws(WireError) {
            while let tag = try reader.nextField() {
                if tag == .bytes(1) { return try revision(ofHeader: try reader.bytes()) }
                try reader.skip(tag)
            }
            return nil
        } catch { return nil }
    }

    private static func revision(ofHeader header: UnsafeRawBufferPointer) throws(WireError) -> Int64 {
        var reader = ProtoReader(header)
        while let tag = try reader.nextField() {
            if tag == .varint(3) { return try reader.int64() }
            try reader.skip(tag)
        }
        return 0
    }

    /// A `RangeResponse`; nil when malformed.
    static func range(_ reply: UnsafeRawBufferPointer) -> RangeReply? {
        do throws(WireError) {
            var result = RangeReply()
            var last = UnsafeRawBufferPointer(start: nil, count: 0)
            var reader = ProtoReader(reply)
            while let tag = try reader.nextField() {
                switch tag {
                case .bytes(1): result.revision = try revision(ofHeader: try reader.bytes())
                case .bytes(2):
                    last = try reader.bytes()
                    result.rows += 1
                case .varint(3): result.more = try reader.bool()
                case .varint(4): result.count = Int(try reader.int64())
                default: try reader.skip(tag)
                }
            }
            if result.rows > 0 { result.lastKey = try KeyValueView(decoding: last).key }
            return result
        } catch { return nil }
    }

    /// A `TxnResponse`; nil when malformed.
    static func txn(_ reply: UnsafeRawBufferPointer) -> TxnReply? {
        do throws(WireError) {
            var result = TxnReply()
            var reader = ProtoReader(reply)
            while let tag = try reader.nextField() {
                switch tag {
                case .bytes(1): result.revision = try revision(ofHeader: try reader.bytes())
                case .varint(2): result.succeeded = try reader.bool()
                case .bytes(3):
                    var operation = ProtoReader(try reader.bytes())
                    while let inner = try operation.nextField() {
                        guard inner == .bytes(1), result.rows < 0 else {
                            try operation.skip(inner)
                            continue
                        }
                        try readFirstRow(try operation.bytes(), into: &result)
                    }
                default: try reader.skip(tag)
                }
            }
            return result
        } catch { return nil }
    }

    private static func readFirstRow(
        _ range: UnsafeRawBufferPointer, into result: inout TxnReply
    ) throws(WireError) {
        result.rows = 0
        var reader = ProtoReader(range)
        while let tag = try reader.nextField() {
            if tag == .bytes(2) {
                let row = try reader.bytes()
                if result.rows == 0 { result.firstModRevision = try KeyValueView(decoding: row).modRevision }
                result.rows += 1
            } else {
                try reader.skip(tag)
            }
        }
    }

    /// A `WatchResponse`, with each of its events given to `body`; nil when malformed.
    static func watch(_ reply: UnsafeRawBufferPointer, _ body: (Event) -> Void) -> WatchReply? {
        do throws(WireError) {
            var result = WatchReply()
            var reader = ProtoReader(reply)
            while let tag = try reader.nextField() {
                switch tag {
                case .bytes(1): result.revision = try revision(ofHeader: try reader.bytes())
                case .varint(2): result.watchID = try reader.int64()
                case .varint(3): result.isCreated = try reader.bool()
                case .varint(4): result.isCanceled = try reader.bool()
                case .bytes(11):
                    result.events += 1
                    body(try event(try reader.bytes()))
                default: try reader.skip(tag)
                }
            }
            return result
        } catch { return nil }
    }

    private static func event(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Event {
        var event = Event()
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): event.isDelete = try reader.int32() == 1
            case .bytes(2):
                let record = try KeyValueView(decoding: try reader.bytes())
                event.key = record.key
                event.value = record.value
                event.createRevision = record.createRevision
                event.modRevision = record.modRevision
            case .bytes(3): event.previousModRevision = try KeyValueView(decoding: try reader.bytes()).modRevision
            default: try reader.skip(tag)
            }
        }
        return event
    }
}
