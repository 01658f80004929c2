package import Primitives

/// What a message asks or answers. Raw values are those of `raftpb.MessageType`; its types that only serve a process's
/// talk with itself (hup, beat, check quorum, storage threads, ...) are methods here and have no case.
package enum MessageType: UInt8, Sendable, Hashable, CaseIterable {
    case propose = 2
    case append = 3
    case appendResponse = 4
    case vote = 5
    case voteResponse = 6
    case snapshot = 7
    case heartbeat = 8
    case heartbeatResponse = 9
    case transferLeader = 13
    case timeoutNow = 14
    case readIndex = 15
    case readIndexResponse = 16
    case preVote = 17
    case preVoteResponse = 18
}

/// One message between members. Source: `raftpb.Message`, of which it carries every field but `responses`
/// (`Ready.messagesAfterAppend` serves that purpose) and the snapshot's data (streamed apart).
package struct Message: Sendable, Hashable {
    package var type: MessageType
    package var to: MemberID
    package var from: MemberID
    /// The sender's term; zero for `propose` and `readIndex`, which bind to no term.
    package var term: Term
    /// `append`: the term at `index`. `vote`, `preVote`: the term of the candidate's last entry. A rejecting
    /// `appendResponse`: the term at `rejectHint`. A rejecting `voteResponse`, `preVoteResponse`: the term at `commit`.
    package var logTerm: Term
    /// `append`: the entry before the first of `entries`. `appendResponse`: the last entry known to match, or the
    /// rejected `index`. `vote`, `preVote`: the candidate's last entry. `readIndexResponse`: the read index.
    package var index: LogIndex
    /// The sender's commit index: in `append`, `heartbeat` (as far as the receiver is known to match) and, unlike
    /// etcd, in a rejecting `voteResponse` or `preVoteResponse`.
    package var commit: LogIndex
    /// Unused by this implementation; carried because `raftpb.Message` has it.
    package var vote: MemberID
    package var reject: Bool
    package var rejectHint: LogIndex
    package var entries: [Entry]
    /// Set for `snapshot` only. The caller may replace it, before sending, by the metadata of the (equal or newer)
    /// image it really streams.
    package var snapshot: SnapshotMetadata?
    /// `heartbeat`, `heartbeatResponse`: the read round, echoed. `vote`, `preVote`: `Message.transferContext` when
    /// the election is forced by a leadership transfer.
    package var context: Bytes

    package init(
        type: MessageType, to: MemberID = .none, from: MemberID = .none, term: Term = .zero,
        logTerm: Term = .zero, index: LogIndex = .zero, commit: LogIndex = .zero, vote: MemberID = .none,
        reject: Bool = false, rejectHint: LogIndex = .zero, entries: [Entry] = [],
        snapshot: SnapshotMetadata? = nil, context: Bytes = Bytes()
    ) {
        self.type = type
        self.to = to
        self.from = from
        self.term = term
        self.logTerm = logTerm
        self.index = index
        self.commit = commit
        self.vote = vote
        self.reject = reject
        self.rejectHint = rejectHint
        self.entries = entries
        self.snapshot = snapshot
        self.context = context
    }

    /// The context of a vote request that a leadership transfer caused: it is not subject to the leader's lease.
    package static let transferContext: Bytes = "CampaignTransfer"
}
