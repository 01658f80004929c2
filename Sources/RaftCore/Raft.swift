// RaftCore: the consensus algorithm, pure. Entry file.
//
// Purpose: `Raft` is one member's state machine of the Raft protocol: elections with pre-vote and check-quorum,
// replication, membership changes (simple and joint), leadership transfer and linearizable reads. It does no I/O, reads
// no clock, and draws randomness only from the generator passed in. Time is `tick()`; the network is `step(_:)` in and
// `Ready.messages` out; the disk is `Ready.appends` out and `appendDurable(through:)` in.
//
// Owner: one thread (the replica's). A `Raft` is neither copied nor shared.
//
// Invariants (checked by `checkInvariants()` and, where cheap, at each step):
//   compacted <= applied <= applying <= min(commit, durable), durable <= appended <= last, commit <= last;
//   term, commit and applied never go back; entries at or before commit never change; a leader only appends;
//   every entry after applied is in memory.
//
// Sources: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)", 2014
// ("the paper"); D. Ongaro, "Consensus: Bridging Theory and Practice", 2014 ("the thesis").

package import Primitives

/// One member's Raft state machine. Every call is synchronous and touches memory only; after any call, look at
/// `hasReady`. The entry points stand in the files of their aspect:
///
/// - `Raft+Ready`: `hasReady`, `ready()`, `appendDurable(through:)`, `applied(through:)`, `evict(through:)`,
///   `compactLog(through:)`
/// - `Raft+Step`: `tick()`, `step(_:)`
/// - `Raft+Proposal`: `propose(_:)`, `proposeConfigurationChange(_:kind:payload:)`
/// - `Raft+Membership`: `applyConfigurationChange(_:)`
/// - `Raft+ReadIndex`: `readIndex(context:)`
/// - `Raft+Election`: `campaign()`, `forgetLeader()`
/// - `Raft+Transfer`: `transferLeadership(to:)`
/// - `Raft+Abdication`: `abdicate()`, `advanceElectionTimer(by:)`
/// - `Raft+Replication`: `reportUnreachable(_:)`, `reportSnapshot(to:succeeded:)`, `retryReplication()`
package struct Raft: ~Copyable {
    package let configuration: RaftConfiguration

    // Persistent on all members (written through `Ready.hardState`).
    package internal(set) var term: Term
    /// Who got this member's vote in `term`, or `.none`.
    package internal(set) var vote: MemberID
    var log: RaftLog

    // Volatile on all members.
    package internal(set) var role: Role = .follower
    /// The leader of `term` as far as known, or `.none`.
    package internal(set) var leader: MemberID = .none
    var tracker: ProgressTracker
    var random: PRNG
    var electionElapsedTicks = 0
    var heartbeatElapsedTicks = 0
    /// In `electionTicks ..< 2 * electionTicks`; drawn anew at each change of role or term.
    var randomizedElectionTicks = 0

    // Volatile on leaders.
    /// Whom leadership is being handed to, or `.none`.
    package internal(set) var transferTarget: MemberID = .none
    /// Since the transfer, or the abdication, began.
    var transferElapsedTicks = 0
    /// Set when a transfer that does not succeed ends with stepping down.
    var isAbdicating = false
    /// No membership change is proposed until this index is applied: the last one in the log stands at or before it.
    var pendingChangeIndex: LogIndex = .zero
    /// Payload bytes after `commit`.
    var uncommittedBytes = 0
    var reads = ReadQueue()
    /// Set when followers may be owed entries or a commit index; `ready()` sends them, so that all proposals of one
    /// batch share one message.
    var owesAppends = false

    // Output that waits for `ready()`, and what the last Readys said.
    var outbox: [Message] = []
    var outboxAfterAppend: [Message] = []
    var readStates: [ReadState] = []
    var abortedReads: [UInt64] = []
    var lastReadyNumber: UInt64 = 0
    var emittedHardState: HardState
    var emittedSoftState: SoftState
    /// The hard state known to be on disk; lags behind `emittedHardState`.
    var durableHardState: HardState

    /// Restores a member from what its disk holds.
    ///
    /// - Parameters:
    ///   - restored: hard state, membership and log. An all-empty value is a member that waits to be contacted.
    ///   - storage: reads of log entries that are durable but not in memory, and of the snapshot.
    ///   - random: decides election timeouts, nothing else.
    package init(
        configuration: RaftConfiguration, restored: RestoredState, storage: any LogStorage = EmptyLogStorage(),
        random: PRNG
    ) {
        configuration.validate()
        self.configuration = configuration
        self.random = random
        term = restored.hardState.term
        vote = restored.hardState.vote
        log = RaftLog(restored: restored, storage: storage)
        tracker = ProgressTracker(
            inflightMessagesMax: configuration.inflightMessagesMax, inflightBytesMax: configuration.inflightBytesMax)
        invariant(restored.configurationState.isConsistent, "restored membership is inconsistent")
        tracker.restore(restored.configurationState, lastIndex: log.lastIndex)
        emittedHardState = HardState(term: term, vote: vote, commit: log.commit)
        durableHardState = emittedHardState
        // A torn write may have kept an entry of a new term and lost the hard state behind it. A vote of that term would
        // have been synced before it left, so there was none. Said here, the term is written with the next Ready.
        if log.last.term > term { (term, vote) = (log.last.term, .none) }
        emittedSoftState = SoftState(leader: .none, role: .follower)
        resetElectionTimer()
    }

    package var id: MemberID { configuration.id }
    /// The last index known to be committed.
    package var commit: LogIndex { log.commit }
    /// The last index reported through `applied(through:)`.
    package var applied: LogIndex { log.applied }
    /// The first index that is not compacted.
    package var firstIndex: LogIndex { log.firstIndex }
    package var lastIndex: LogIndex { log.lastIndex }
    /// The last index reported durable.
    package var durableIndex: LogIndex { log.durable }
    /// Entry bytes held in memory; `evict(through:)` frees them.
    package var memoryBytes: Int { log.memory.bytes }
    /// The membership as of the last applied change.
    package var configurationState: ConfigurationState { tracker.configuration.state }
    /// The progress of every member, in order of identity; meaningful on a leader.
    package var progress: [(member: MemberID, progress: Progress)] { tracker.listing }
    /// True on a voter of the current configuration (either half).
    package var isVoter: Bool { tracker.configuration.voters.contains(id) }
    package var isLearner: Bool { tracker.progress[id]?.isLearner ?? false }
}

/// What a restarting member's disk holds. Everything in it is durable.
package struct RestoredState: Sendable {
    /// `commit` may lag behind `applied`; the greater counts.
    package var hardState: HardState
    /// The membership as of `applied`.
    package var configurationState: ConfigurationState
    /// The last entry before the log: of the snapshot the log begins with, or the last one compacted; zero for a log
    /// that begins at index 1. Its term is known though the entry is gone.
    package var compacted: EntryID
    /// The last index the state machine has applied; at least `compacted.index`.
    package var applied: LogIndex
    /// The end of the log, to be held in memory: contiguous, and nothing after `applied` may be missing. Entries
    /// between `compacted` and the first of these are read from `LogStorage` when needed; it must know the term of the
    /// last of them now.
    package var entries: [Entry]

    package init(
        hardState: HardState = HardState(), configurationState: ConfigurationState = ConfigurationState(),
        compacted: EntryID = .zero, applied: LogIndex = .zero, entries: [Entry] = []
    ) {
        self.hardState = hardState
        self.configurationState = configurationState
        self.compacted = compacted
        self.applied = applied
        self.entries = entries
    }
}
