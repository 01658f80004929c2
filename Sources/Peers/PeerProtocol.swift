import Primitives
import Transport
import Wire

/// What goes over the wire between members, and nothing else does: the one place that knows it.
///
/// All messages are protobuf, so that a capture can be read; unknown fields are skipped, so that members of different
/// versions can talk. What they cannot bear is a change of meaning: that takes a new `version`.
enum PeerProtocol {
    /// Of the protocol. A member refuses one that it does not know.
    static let version = "1"

    enum Method: Int, CaseIterable {
        case messages, snapshot, probe, members, call
    }

    static let messagesPath = RPCPath("/martlet.Peer/Messages")
    static let snapshotPath = RPCPath("/martlet.Peer/Snapshot")
    static let probePath = RPCPath("/martlet.Peer/Probe")
    static let membersPath = RPCPath("/martlet.Peer/Members")
    static let callPath = RPCPath("/martlet.Peer/Call")

    /// Bytes of a probe and of a part of a snapshot (its message included), and of a request for the members.
    static let probeBytesMax = 1 << 20
    static let snapshotPartBytesMax = (1 << 20) + (64 << 10)
    static let membersRequestBytesMax = 1 << 10
    /// Bytes that a snapshot's part carries: what a usual chunk has.
    static let snapshotDataBytesMax = 512 << 10

    /// By `Method`. Probe and call are declared as streams, although they are unary to who makes them: so their headers
    /// are checked before the first byte of their message is kept.
    static func methods(_ limits: PeerLimits) -> RPCMethodTable {
        RPCMethodTable(
            [
                ("/martlet.Peer/Messages", .clientStreaming), ("/martlet.Peer/Snapshot", .bidirectional),
                ("/martlet.Peer/Probe", .clientStreaming), ("/martlet.Peer/Members", .unary),
                ("/martlet.Peer/Call", .clientStreaming),
            ],
            messageBytesMax: [
                limits.receivedBatchBytesMax, snapshotPartBytesMax, probeBytesMax, membersRequestBytesMax,
                limits.callBytesMax + 64,
            ])
    }

    // MARK: Metadata

    enum Header {
        static let cluster: StaticString = "martlet-cluster-id"
        static let from: StaticString = "martlet-from"
        static let to: StaticString = "martlet-to"
        static let version: StaticString = "martlet-peer-version"
    }

    /// What every call but `Members` says of itself.
    static func metadata(cluster: UInt64, from: MemberID, to: MemberID) -> [(name: String, value: String)] {
        [
            ("\(Header.cluster)", hex(cluster)), ("\(Header.from)", hex(from.rawValue)),
            ("\(Header.to)", hex(to.rawValue)), ("\(Header.version)", version),
        ]
    }

    static func hex(_ number: UInt64) -> String { String(number, radix: 16) }
    static func hex(_ member: MemberID) -> String { hex(member.rawValue) }

    static func number(_ text: String?) -> UInt64? {
        guard let text, text.utf8.count <= 16 else { return nil }
        return UInt64(text, radix: 16)
    }

    // MARK: Refusals

    /// etcd's words, which the one who is refused looks for.
    static let removedText = "the member has been permanently removed from the cluster"
    static let replaced = RPCStatus(.aborted, "replaced by a newer stream of the same member")
    static let stopping = RPCStatus(.unavailable, "the member is stopping")

    static func saysRemoved(_ status: RPCStatus) -> Bool {
        status.code == .failedPrecondition && status.message == removedText
    }

    // MARK: Messages

    /// Well-formed protobuf that means nothing here.
    struct Malformed: Error {}

    /// `repeated bytes messages = 1`.
    static func batchSize(_ messages: [Bytes]) -> Int {
        messages.reduce(0) { $0 + ProtoSize.message(1, count: $1.count) }
    }

    static func writeBatch(_ messages: [Bytes], to buffer: UnsafeMutableRawBufferPointer) {
        var writer = ProtoWriter(buffer)
        for message in messages { writer.message(1, message) }
        writer.finish()
    }

    /// Fills `buffer`, which has the message's size.
    static func write(_ message: some WireEncodable, to buffer: UnsafeMutableRawBufferPointer) {
        var writer = ProtoWriter(buffer)
        message.write(to: &writer)
        writer.finish()
    }

    /// Passes each message of a batch to `body`.
    static func forEachMessage(
        of batch: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var reader = ProtoReader(batch)
        while let tag = try reader.nextField() {
            if case .bytes(1) = tag { try body(try reader.bytes()) } else { try reader.skip(tag) }
        }
    }
}

/// A forwarded call: `uint32 method = 1; bytes body = 2`. Its answer is the body alone.
struct PeerCall: WireEncodable {
    var method: UInt32
    var body: Bytes

    init(method: UInt32, body: Bytes) {
        self.method = method
        self.body = body
    }

    init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        method = 0
        body = Bytes()
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): method = try reader.uint32()
            case .bytes(2): body = Bytes(copying: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }

    var encodedSize: Int { ProtoSize.uint64(1, UInt64(method)) + ProtoSize.bytes(2, count: body.count) }

    func write(to writer: inout ProtoWriter) {
        writer.uint64(1, UInt64(method))
        writer.bytes(2, body)
    }
}

/// The answer of `Members`: `uint64 cluster_id = 1; uint64 member_id = 2; bytes members = 3`.
extension FetchedMembers: WireEncodable {
    init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        self.init(clusterID: 0, memberID: .none, members: Bytes())
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): clusterID = try reader.uint64()
            case .varint(2): memberID = MemberID(try reader.uint64())
            case .bytes(3): members = Bytes(copying: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }

    var encodedSize: Int {
        ProtoSize.uint64(1, clusterID) + ProtoSize.uint64(2, memberID.rawValue)
            + ProtoSize.bytes(3, count: members.count)
    }

    func write(to writer: inout ProtoWriter) {
        writer.uint64(1, clusterID)
        writer.uint64(2, memberID.rawValue)
        writer.bytes(3, members)
    }
}

/// One message of a snapshot's sender: `uint64 id = 1; uint64 offset = 2; bytes message = 3; bytes data = 4;
/// bool is_end = 5`.
///
/// The first of a stream has the identity, the raft message, and the lowest offset that the sender can still go on
/// from; then come parts with data, in order; then one that says the end, with the stream's length for an offset.
struct SnapshotPart: WireEncodable {
    var id: UInt64 = 0
    var offset: UInt64 = 0
    var message = Bytes()
    var data = Bytes()
    var isEnd = false

    init() {}

    init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.uint64()
            case .varint(2): offset = try reader.uint64()
            case .bytes(3): message = Bytes(copying: try reader.bytes())
            case .bytes(4): data = Bytes(copying: try reader.bytes())
            case .varint(5): isEnd = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    var encodedSize: Int {
        ProtoSize.uint64(1, id) + ProtoSize.uint64(2, offset) + ProtoSize.bytes(3, count: message.count)
            + ProtoSize.bytes(4, count: data.count) + ProtoSize.bool(5, isEnd)
    }

    func write(to writer: inout ProtoWriter) {
        writer.uint64(1, id)
        writer.uint64(2, offset)
        writer.bytes(3, message)
        writer.bytes(4, data)
        writer.bool(5, isEnd)
    }
}

/// One message of a snapshot's receiver: `uint64 consumed = 1; bool is_done = 2`. The first of a stream says where to
/// go on from; the last that the snapshot is whole, verified and durable.
struct SnapshotAcknowledgement: WireEncodable, Equatable {
    var consumed: UInt64 = 0
    var isDone = false

    init(consumed: UInt64, isDone: Bool = false) {
        self.consumed = consumed
        self.isDone = isDone
    }

    init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): consumed = try reader.uint64()
            case .varint(2): isDone = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    var encodedSize: Int { ProtoSize.uint64(1, consumed) + ProtoSize.bool(2, isDone) }

    func write(to writer: inout ProtoWriter) {
        writer.uint64(1, consumed)
        writer.bool(2, isDone)
    }
}
