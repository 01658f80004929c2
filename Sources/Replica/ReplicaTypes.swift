package import Primitives
package import RaftCore

/// One request for the log: the encoded `InternalRaftRequest` and the identity its answer is found by.
package struct Proposal: Sendable {
    package let id: UInt64
    package let payload: Bytes
    /// What a leader proposes because it leads (the end of a lease, a checkpoint): worth nothing from anybody else, and
    /// dropped instead of waiting or being forwarded when this member does not lead at that moment. A new leader may
    /// have renewed the lease.
    package let isLeaderOnly: Bool

    package init(id: UInt64, payload: Bytes, isLeaderOnly: Bool = false) {
        self.id = id
        self.payload = payload
        self.isLeaderOnly = isLeaderOnly
    }
}

/// What can happen to a replica.
package enum ReplicaEvent: Sendable {
    /// One heartbeat interval has passed.
    case tick
    /// Waits while no leader is known, then goes to the leader or comes back in `ReplicaEffects.dropped`.
    case propose(Proposal)
    /// A change of the membership, see `StateMachine.MemberChange`: as `propose`, and waits also while another change is
    /// not applied yet.
    case proposeChange(id: UInt64, change: ConfigurationChange, kind: EntryKind, payload: Bytes)
    /// The state machine has applied the entry at `index`, which is of a kind that changes the configuration: for every
    /// such entry, in log order, before the `.applied` that covers it. A nil change has no effect: it was refused.
    case changeApplied(index: LogIndex, change: ConfigurationChange?)
    /// Everything up to this append number is on disk.
    case appendDurable(through: UInt64)
    /// The state machine has applied through this index.
    case applied(through: LogIndex)
    /// The store has persisted through this index: the log before it may go.
    case persisted(through: LogIndex)
    /// The log on disk begins at this entry now: what is before is gone.
    case logBegins(at: LogIndex)
    /// The answer to `ReplicaEffects.logRead`: entries from `LogRead.from` on, without gaps, at least one.
    case logEntries([Entry])
    /// The answer to `ReplicaEffects.logRead` when the entries are gone; `.logBegins` comes, or came, with it.
    case logUnavailable
    /// A linearizable read asks for its index. Contexts do not repeat while one is waiting.
    case read(context: UInt64)
    /// From another member. Of a `.snapshot` message only the sender's term and leadership count: its image is the
    /// shell's concern (`SnapshotInstall`).
    case message(Message)
    /// A client, or the end of the process, wants another leader. Without effect when that is no voter.
    case transferLeadership(to: MemberID)
    /// Messages to this member are probably lost.
    case unreachable(MemberID)
    /// The connection to this member, which had been answering, broke: its process has probably ended. When it is the
    /// leader, an election is not waited for as long as otherwise.
    case disconnected(MemberID)
    /// The answer to every `.snapshot` message in `ReplicaEffects.messages`, however its sending ended.
    case snapshotSent(to: MemberID, succeeded: Bool)
    /// This member should not lead, because its log's disk does not answer or its state is wrong: a leader hands
    /// leadership over, to whom a transfer is on its way or to the best, or steps down when nobody can take it.
    /// Without effect elsewhere and on a sole voter. May be repeated while it lasts.
    case abdicate
}

/// What is to be made durable in one step, in the order of `number`.
package struct AppendBatch: Sendable {
    package let number: UInt64
    package let hardState: HardState?
    package let entries: [Entry]
    /// False when only the commit index moved: no sync is owed.
    package let mustSync: Bool
    /// To be sent once this batch is durable.
    package let messagesAfterAppend: [Message]
    /// Durable means committed: this member is the only one. The entries go to the state machine straight from the
    /// log's owner, without asking the replica, which counts them as handed out.
    package let commitsWhenDurable: Bool
}

/// Entries to read back from the log on disk, for a member that lags: `from ..< to`, as many as have `bytesMax` bytes of
/// payload, at least one.
package struct LogRead: Sendable, Hashable {
    package let from: LogIndex
    package let to: LogIndex
    package let bytesMax: Int

    package init(from: LogIndex, to: LogIndex, bytesMax: Int) {
        self.from = from
        self.to = to
        self.bytesMax = bytesMax
    }
}

/// Limits of a replica.
package struct ReplicaOptions: Sendable {
    /// Bytes of applied entries kept in memory for members that are slightly behind; without other members none is kept.
    package var recentEntriesBytesMax = 32 << 20
    /// Bytes of proposals that wait for a leader; more are dropped with `.noLeader`.
    package var heldBytesMax = 16 << 20
    /// After so many ticks what waits is dropped: proposals with their reason, reads with `.noLeader`.
    package var heldTicksMax = 70
    /// Reads that wait for their index; more are refused.
    package var waitingReadsMax = 1 << 16
    /// After so many ticks without an answer a follower asks the leader for the read index again.
    package var readRetryTicks = 5
    /// Payload bytes of one `LogRead`.
    package var logReadBytesMax = 4 << 20
    /// The number of the first question to a leader. Must be greater than any that an earlier process of this member
    /// has used: from the wall clock in production.
    package var firstContext: UInt64 = 1

    package init() {}
}

/// What the caller has to do; filled by `Replica.collect`, reused from call to call.
package struct ReplicaEffects: Sendable {
    package var appends: [AppendBatch] = []
    /// To other members, at once. A `.snapshot` message asks for the image of the backend: at its index or later, told
    /// with the image's own metadata; its end is always answered with `.snapshotSent`.
    package var messages: [Message] = []
    package var committed: [Entry] = []
    package var reads: [ReadState] = []
    /// Reads that waited too long for a leader, or are too many.
    package var refusedReads: [UInt64] = []
    /// Proposals that are not in the log, with the reason.
    package var dropped: [(id: UInt64, error: ProposalError)] = []
    package var softState: SoftState?
    /// The log may be cut through this index.
    package var logCut: LogIndex?
    /// To be answered with `.logEntries` or `.logUnavailable`; there is never a second one before that.
    package var logRead: LogRead?
    /// Set when it changed.
    package var configuration: ConfigurationState?
    /// What a message of another member proved: durable entries were lost, here or there (`.contradictsCommitted`,
    /// `.lostDurableEntries`). The data of one of the two cannot be trusted; worth an alarm.
    package var faults: [RaftError] = []

    package init() {}

    /// Forgets everything, keeping memory for the next round.
    package mutating func removeAll() {
        appends.removeAll(keepingCapacity: true)
        messages.removeAll(keepingCapacity: true)
        committed.removeAll(keepingCapacity: true)
        reads.removeAll(keepingCapacity: true)
        refusedReads.removeAll(keepingCapacity: true)
        dropped.removeAll(keepingCapacity: true)
        softState = nil
        logCut = nil
        logRead = nil
        configuration = nil
        faults.removeAll(keepingCapacity: true)
    }
}
