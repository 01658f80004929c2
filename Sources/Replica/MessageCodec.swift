package import Primitives
package import RaftCore
import Wire

/// Raft messages as members exchange them: `raftpb.Message`. Pure functions; any thread.
package enum MessageCodec {
    /// Why bytes from a peer are no message.
    package enum Failure: Error, Sendable, Hashable, CustomStringConvertible {
        /// Not protobuf.
        case encoding(String)
        /// Protobuf, but no message that members of this kind send: the field.
        case field(String)

        package var description: String {
            switch self {
            case .encoding(let detail): "a raft message is not encoded as protobuf: \(detail)"
            case .field(let name): "a raft message has an impossible \(name)"
            }
        }
    }

    /// Indexes, terms and the like are below this, so that arithmetic on what a peer sends never overflows.
    private static let numberMax: UInt64 = 1 << 62

    // MARK: Encoding

    /// Encodes one message.
    package static func encode(_ message: Message) -> Bytes {
        let fields = fields(of: message)
        let snapshot = message.snapshot.map(record(of:))
        let number = RaftMessageCodec.entryFieldNumber
        let sizes = message.entries.map {
            RaftEntryCodec.size(
                type: Int32($0.kind.rawValue), term: $0.term.rawValue, index: $0.index.rawValue,
                dataCount: $0.payload.count)
        }
        let size =
            RaftMessageCodec.sizeWithoutEntries(fields, contextCount: message.context.count, snapshot: snapshot)
            + sizes.reduce(0) { $0 + ProtoSize.message(number, count: $1) }
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            RaftMessageCodec.writeHead(to: &writer, fields)
            for (entry, size) in zip(message.entries, sizes) {
                writer.messageHeader(number, count: size)
                entry.payload.withUnsafeBytes {
                    RaftEntryCodec.write(
                        to: &writer, type: Int32(entry.kind.rawValue), term: entry.term.rawValue,
                        index: entry.index.rawValue, data: $0)
                }
            }
            message.context.withUnsafeBytes {
                RaftMessageCodec.writeTail(to: &writer, fields, context: $0, snapshot: snapshot)
            }
            writer.finish()
        }
    }

    private static func fields(of message: Message) -> RaftMessageFields {
        var fields = RaftMessageFields(
            type: Int32(message.type.rawValue), to: message.to.rawValue, from: message.from.rawValue,
            term: message.term.rawValue)
        fields.logTerm = message.logTerm.rawValue
        fields.index = message.index.rawValue
        fields.commit = message.commit.rawValue
        fields.reject = message.reject
        fields.rejectHint = message.rejectHint.rawValue
        fields.vote = message.vote.rawValue
        return fields
    }

    private static func record(of snapshot: SnapshotMetadata) -> RaftSnapshotRecord {
        let state = snapshot.configurationState
        let configuration = RaftConfStateRecord(
            voters: state.voters.map(\.rawValue), learners: state.learners.map(\.rawValue),
            votersOutgoing: state.votersOutgoing.map(\.rawValue), learnersNext: state.learnersNext.map(\.rawValue),
            autoLeave: state.autoLeave)
        return RaftSnapshotRecord(
            metadata: RaftSnapshotMetadataRecord(
                configuration: configuration, index: snapshot.index.rawValue, term: snapshot.term.rawValue))
    }

    // MARK: Decoding

    /// Decodes one message; whatever the bytes are, the answer is a message or an error. What is well formed here may
    /// still be nonsense to Raft, which says so in `Raft.step`.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Message {
        let view: RaftMessageView
        do throws(WireError) { view = try RaftMessageView(decoding: bytes) } catch { throw .encoding("\(error)") }
        let fields = view.fields
        guard let type = UInt8(exactly: fields.type).flatMap(MessageType.init(rawValue:)) else {
            throw .field("type \(fields.type)")
        }
        guard view.responses.isEmpty else { throw .field("response") }
        guard (type == .snapshot) == (view.snapshot != nil) else { throw .field("snapshot") }
        for number in [fields.term, fields.logTerm, fields.index, fields.commit, fields.rejectHint] {
            guard number < numberMax else { throw .field("number \(number)") }
        }
        var message = Message(
            type: type, to: MemberID(fields.to), from: MemberID(fields.from), term: Term(fields.term),
            logTerm: Term(fields.logTerm), index: LogIndex(fields.index), commit: LogIndex(fields.commit),
            vote: MemberID(fields.vote), reject: fields.reject, rejectHint: LogIndex(fields.rejectHint),
            context: Bytes(copying: view.context))
        message.entries.reserveCapacity(view.entries.count)
        for entry in view.entries { message.entries.append(try decode(entry)) }
        message.snapshot = try view.snapshot.map { (record) throws(Failure) in try decode(record) }
        return message
    }

    private static func decode(_ entry: RaftEntryView) throws(Failure) -> Entry {
        guard let kind = UInt8(exactly: entry.type).flatMap(EntryKind.init(rawValue:)) else {
            throw .field("entry type \(entry.type)")
        }
        guard entry.term < numberMax, entry.index < numberMax else { throw .field("entry") }
        return Entry(
            term: Term(entry.term), index: LogIndex(entry.index), kind: kind, payload: Bytes(copying: entry.data))
    }

    private static func decode(_ record: RaftSnapshotRecord) throws(Failure) -> SnapshotMetadata {
        let metadata = record.metadata
        guard metadata.index < numberMax, metadata.term < numberMax else { throw .field("snapshot") }
        let state = metadata.configuration
        let configuration = ConfigurationState(
            voters: state.voters.map { MemberID($0) }, learners: state.learners.map { MemberID($0) },
            votersOutgoing: state.votersOutgoing.map { MemberID($0) },
            learnersNext: state.learnersNext.map { MemberID($0) }, autoLeave: state.autoLeave)
        return SnapshotMetadata(
            configurationState: configuration, index: LogIndex(metadata.index), term: Term(metadata.term))
    }
}
