package import Primitives

/// The scalars of `raftpb.Message`, which etcd writes always, and its context. See `RaftEntry.swift`.
package struct RaftMessageFields: Equatable, Sendable {
    /// `raftpb.MessageType`: 3 append, 4 append response, 5 vote, ... (spec `api-enums.tsv`).
    package var type: Int32 = 0
    package var to: UInt64 = 0
    package var from: UInt64 = 0
    package var term: UInt64 = 0
    /// The term of the entry at `index`.
    package var logTerm: UInt64 = 0
    package var index: UInt64 = 0
    /// The sender's committed index.
    package var commit: UInt64 = 0
    package var reject = false
    package var rejectHint: UInt64 = 0
    package var vote: UInt64 = 0

    package init(type: Int32 = 0, to: UInt64 = 0, from: UInt64 = 0, term: UInt64 = 0) {
        self.type = type
        self.to = to
        self.from = from
        self.term = term
    }
}

/// Writes `raftpb.Message` in three steps, so that entries need not be gathered into records first: `writeHead`, then
/// each entry as field `entryFieldNumber`, then `writeTail`.
package enum RaftMessageCodec {
    /// The field number of an entry: `writer.messageHeader(entryFieldNumber, count:)`, then `RaftEntryCodec.write`.
    package static let entryFieldNumber: UInt32 = 7

    /// What all but the entries take.
    package static func sizeWithoutEntries(
        _ fields: RaftMessageFields, contextCount: Int, snapshot: RaftSnapshotRecord?
    ) -> Int {
        var size = ProtoSize.int32Always(1, fields.type) + ProtoSize.uint64Always(2, fields.to)
        size += ProtoSize.uint64Always(3, fields.from) + ProtoSize.uint64Always(4, fields.term)
        size += ProtoSize.uint64Always(5, fields.logTerm) + ProtoSize.uint64Always(6, fields.index)
        size += ProtoSize.uint64Always(8, fields.commit)
        if let snapshot { size += ProtoSize.message(9, snapshot) }
        size += ProtoSize.uint64Always(10, fields.reject ? 1 : 0) + ProtoSize.uint64Always(11, fields.rejectHint)
        size += ProtoSize.bytes(12, count: contextCount) + ProtoSize.uint64Always(13, fields.vote)
        return size
    }

    package static func writeHead(to writer: inout ProtoWriter, _ fields: RaftMessageFields) {
        writer.int32Always(1, fields.type)
        writer.uint64Always(2, fields.to)
        writer.uint64Always(3, fields.from)
        writer.uint64Always(4, fields.term)
        writer.uint64Always(5, fields.logTerm)
        writer.uint64Always(6, fields.index)
    }

    package static func writeTail(
        to writer: inout ProtoWriter, _ fields: RaftMessageFields, context: UnsafeRawBufferPointer,
        snapshot: RaftSnapshotRecord?
    ) {
        writer.uint64Always(8, fields.commit)
        if let snapshot { writer.message(9, snapshot) }
        writer.uint64Always(10, fields.reject ? 1 : 0)
        writer.uint64Always(11, fields.rejectHint)
        writer.bytes(12, context)
        writer.uint64Always(13, fields.vote)
    }
}

/// `raftpb.Message` with contents of its own. `responses` are instructions to a member's own storage threads and never
/// leave it, but are encoded all the same.
package struct RaftMessageRecord: WireEncodable, Equatable, Sendable {
    package var fields: RaftMessageFields
    package var entries: [RaftEntryRecord]
    package var snapshot: RaftSnapshotRecord?
    package var context: Bytes
    package var responses: [RaftMessageRecord]

    package init(
        fields: RaftMessageFields, entries: [RaftEntryRecord] = [], snapshot: RaftSnapshotRecord? = nil,
        context: Bytes = Bytes(), responses: [RaftMessageRecord] = []
    ) {
        self.fields = fields
        self.entries = entries
        self.snapshot = snapshot
        self.context = context
        self.responses = responses
    }

    package init(_ view: RaftMessageView) {
        self.init(
            fields: view.fields, entries: view.entries.map(RaftEntryRecord.init), snapshot: view.snapshot,
            context: Bytes(copying: view.context), responses: view.responses.map(RaftMessageRecord.init))
    }

    package var encodedSize: Int {
        var size = RaftMessageCodec.sizeWithoutEntries(fields, contextCount: context.count, snapshot: snapshot)
        for entry in entries { size += ProtoSize.message(RaftMessageCodec.entryFieldNumber, entry) }
        for response in responses { size += ProtoSize.message(14, response) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        RaftMessageCodec.writeHead(to: &writer, fields)
        for entry in entries { writer.message(RaftMessageCodec.entryFieldNumber, entry) }
        context.withUnsafeBytes {
            RaftMessageCodec.writeTail(to: &writer, fields, context: $0, snapshot: snapshot)
        }
        for response in responses { writer.message(14, response) }
    }
}

/// `raftpb.Message` over borrowed bytes; only the snapshot (small, see `RaftSnapshotRecord`) is copied. At most
/// `ProtoLimits.raftMessageDepthMax` may be nested.
package struct RaftMessageView {
    package var fields = RaftMessageFields()
    package var entries: [RaftEntryView] = []
    package var snapshot: RaftSnapshotRecord?
    package var context: UnsafeRawBufferPointer = .empty
    package var responses: [RaftMessageView] = []

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        try self.init(decoding: bytes, depth: 1)
    }

    private init(decoding bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        if depth > ProtoLimits.raftMessageDepthMax { throw .nestingTooDeep(offset: 0) }
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): fields.type = try reader.int32()
            case .varint(2): fields.to = try reader.uint64()
            case .varint(3): fields.from = try reader.uint64()
            case .varint(4): fields.term = try reader.uint64()
            case .varint(5): fields.logTerm = try reader.uint64()
            case .varint(6): fields.index = try reader.uint64()
            case .bytes(7): entries.append(try RaftEntryView(decoding: try reader.bytes()))
            case .varint(8): fields.commit = try reader.uint64()
            case .bytes(9): snapshot = try RaftSnapshotRecord(decoding: try reader.bytes())
            case .varint(10): fields.reject = try reader.bool()
            case .varint(11): fields.rejectHint = try reader.uint64()
            case .bytes(12): context = try reader.bytes()
            case .varint(13): fields.vote = try reader.uint64()
            case .bytes(14): responses.append(try RaftMessageView(decoding: try reader.bytes(), depth: depth + 1))
            default: try reader.skip(tag)
            }
        }
    }
}
