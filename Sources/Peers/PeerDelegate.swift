package import Primitives
package import RaftCore
package import Transport

/// What a peer network asks of and tells its server. Nothing here may block, except where a thread for it is named.
package protocol PeerDelegate: AnyObject, Sendable {
    /// Messages of one batch, in order, addressed to this member. On an event loop.
    func received(_ messages: [Message], from member: MemberID)

    /// Messages to `member` were dropped, or the connection to it broke (`Raft.reportUnreachable`). On any thread, the
    /// one that called `send` too.
    func unreachable(_ member: MemberID)

    /// The connection to `member`, which had answered, broke: its process has probably ended. `unreachable` follows. On
    /// an event loop.
    func disconnected(_ member: MemberID)

    /// How sending a snapshot ended, once for each `.snapshot` message given to `send`. On an event loop.
    func snapshotSent(to member: MemberID, succeeded: Bool)

    /// Another member says that this one was removed from the cluster. Once. On an event loop.
    func wasRemoved()

    /// Whether `member` was removed from the cluster: its calls are refused. On an event loop.
    func isRemoved(_ member: MemberID) -> Bool

    /// Opens the image that answers the `.snapshot` message `request`; the message returned, with the metadata of the
    /// image, is the one that the receiver gets. On the thread that makes chunks; may block. Throwing fails the
    /// snapshot.
    func openSnapshot(for request: Message) throws -> OutgoingSnapshot

    /// Whether the snapshot that `member` offers, or goes on with, is of any use here. If not, the sender is told that it
    /// is not needed, which is a success, and this member sees to it that the sender learns how far it is. On the thread
    /// that receives snapshots.
    func needsSnapshot(_ message: Message, from member: MemberID) -> Bool

    /// A snapshot from `member` begins. On the thread that receives snapshots, as all of the sink; may block. Throwing
    /// refuses it.
    func beginSnapshot(_ message: Message, from member: MemberID) throws -> any SnapshotSink

    /// Opaque bytes for the next probe to, or the answer to one from, `member`. On an event loop.
    func probeBytes(for member: MemberID) -> Bytes

    /// The bytes that `member`'s probe, or its answer to ours, had. On an event loop.
    func probed(by member: MemberID, bytes: Bytes)

    /// The list of members, in the server's own encoding, for one who wants to join. On an event loop.
    func membersBytes() -> Bytes

    /// Answers a call that `member` forwards: `reply`, on any thread, exactly once, now or later.
    func answer(
        method: UInt32, body: Bytes, from member: MemberID,
        reply: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void)
}

/// A snapshot about to be sent: its raft message, and where its bytes come from.
package struct OutgoingSnapshot {
    package var message: Message
    package var source: any SnapshotSource

    package init(message: Message, source: any SnapshotSource) {
        self.message = message
        self.source = source
    }
}

/// Makes the bytes of a snapshot, a chunk at a time. Used by one thread at a time; let go as soon as it is not needed,
/// on any thread.
package protocol SnapshotSource: AnyObject {
    /// The next bytes, of any count but none; nil after the last. Throwing fails the snapshot.
    ///
    /// - Parameter compressing: whether it is worth the time to make them fewer.
    func nextChunk(compressing: Bool) throws -> Bytes?
}

/// Takes the bytes of a snapshot. All of it on the thread that receives snapshots. Either `finish` or `abort` is called
/// last, once.
package protocol SnapshotSink: AnyObject {
    /// The next bytes, of any count; they are acknowledged to the sender when this returns. Throwing refuses the
    /// snapshot; `abort` follows.
    func append(_ bytes: Bytes) throws
    /// There are no more: verify, make durable, hand over. The sender is told of success when this returns, and of
    /// failure when it throws (then `abort` follows).
    func finish() throws
    /// The snapshot will not be finished: remove what there is of it.
    func abort()
}
