package import Primitives

/// The options of one member. Times are in ticks (calls of `Raft.tick()`), sizes in bytes.
package struct RaftConfiguration: Sendable {
    /// Not `.none`.
    package var id: MemberID
    /// A follower that hears nothing for this long, plus a random part in `0..<electionTicks`, campaigns. A leader's
    /// lease is as long. Greater than `heartbeatTicks`.
    package var electionTicks: Int
    package var heartbeatTicks: Int
    /// Ask before disturbing: campaign in two phases. Source: Ongaro's thesis, section 9.6.
    package var preVote: Bool
    /// A leader that has not heard from a quorum for `electionTicks` steps down, and members ignore candidates while
    /// they hear from a leader. Source: Ongaro's thesis, sections 4.2.3 and 6.2.
    package var checkQuorum: Bool
    /// Most entry bytes of one `append` message (always at least one entry).
    package var messageBytesMax: Int
    /// Most `append` messages in flight to one member.
    package var inflightMessagesMax: Int
    /// Most entry bytes in flight to one member (the message that passes the limit is still sent).
    package var inflightBytesMax: Int
    /// Most payload bytes in the leader's uncommitted tail; when reached, proposals are refused. One proposal is
    /// always admitted when the tail is empty.
    package var uncommittedBytesMax: Int
    /// Most entry bytes in one Ready's `committed` (always at least one entry).
    package var applyBatchBytesMax: Int
    /// When this many bytes of committed entries are handed out and not reported as applied, no more are handed out.
    package var applyOutstandingBytesMax: Int
    /// Most reads waiting for their index; more are refused.
    package var pendingReadsMax: Int
    /// A leader that leaves the voters steps down when that change is applied. Source: thesis, section 4.2.2.
    package var stepDownOnRemoval: Bool

    package init(
        id: MemberID, electionTicks: Int = 10, heartbeatTicks: Int = 1, preVote: Bool = true,
        checkQuorum: Bool = true, messageBytesMax: Int = 1 << 20, inflightMessagesMax: Int = 256,
        inflightBytesMax: Int = 32 << 20, uncommittedBytesMax: Int = 64 << 20, applyBatchBytesMax: Int = 4 << 20,
        applyOutstandingBytesMax: Int = 64 << 20, pendingReadsMax: Int = 1 << 16, stepDownOnRemoval: Bool = true
    ) {
        self.id = id
        self.electionTicks = electionTicks
        self.heartbeatTicks = heartbeatTicks
        self.preVote = preVote
        self.checkQuorum = checkQuorum
        self.messageBytesMax = messageBytesMax
        self.inflightMessagesMax = inflightMessagesMax
        self.inflightBytesMax = inflightBytesMax
        self.uncommittedBytesMax = uncommittedBytesMax
        self.applyBatchBytesMax = applyBatchBytesMax
        self.applyOutstandingBytesMax = applyOutstandingBytesMax
        self.pendingReadsMax = pendingReadsMax
        self.stepDownOnRemoval = stepDownOnRemoval
    }

    func validate() {
        invariant(id != .none, "a member's identity is never 0")
        invariant(heartbeatTicks > 0, "heartbeatTicks must be positive")
        invariant(electionTicks > heartbeatTicks, "electionTicks must be greater than heartbeatTicks")
        invariant(messageBytesMax > 0 && inflightBytesMax >= messageBytesMax, "inflight bytes below message bytes")
        invariant(inflightMessagesMax > 0, "inflightMessagesMax must be positive")
        invariant(uncommittedBytesMax > 0 && applyBatchBytesMax > 0, "byte limits must be positive")
        invariant(applyOutstandingBytesMax > 0 && pendingReadsMax > 0, "limits must be positive")
    }
}
