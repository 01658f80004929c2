// The coordinator between clients, peers, the log and the state machine: it owns the Raft core and turns events into
// effects, without doing any I/O itself.
//
// Owner: the replica thread in production, the simulator's loop in tests. Synchronous and deterministic: the same events
// give the same effects.
//
// Invariants: effects of one `collect` are carried out in the order of the calls; entries reach `committed` once each,
// in log order, and only when they are durable here; proposals and reads that nobody can take now wait, bounded, instead
// of being refused; there is at most one `logRead` without its answer.

package import Primitives
package import RaftCore

/// One member's coordinator: see the head of this file for owner and invariants.
package final class Replica {
    let options: ReplicaOptions
    var raft: Raft
    let history: LogHistory
    /// Ticks since the process started.
    var tick: UInt64 = 0

    /// Proposals of this round, handed to Raft together so that they share one append.
    var proposals: [Proposal] = []
    var held = HeldProposals()
    var reads: WaitingReads
    var dropped: [(id: UInt64, error: ProposalError)] = []
    var refusedReads: [UInt64] = []
    var changedConfiguration: ConfigurationState?
    /// A few; the first ones tell as much as all.
    var faults: [RaftError] = []

    /// A commit index that is not worth a write of its own: it goes with the next append.
    var waitingHardState: HardState?
    /// Entries through this index are on their way to the state machine, from here or from the log's owner.
    var handedOut: LogIndex
    /// The last entry that Raft has given out as committed.
    var offered: LogIndex
    /// What the state machine has reported.
    var applied: LogIndex
    var persisted: LogIndex
    var cut: LogIndex
    /// The first entry on disk.
    var logStart: LogIndex
    /// Once this is applied, a leader's state lacks nothing from before its term.
    var readyIndex: LogIndex?
    /// Derived from the configuration, whenever it changes.
    package private(set) var isSoleVoter = false
    /// Whether anybody else, voter or learner, is in the configuration: somebody waits for this member's messages.
    package private(set) var hasPeers = false
    /// Set when this member should lead as soon as it is the only voter.
    var campaignsWhenSole = false

    /// - Parameters:
    ///   - restored: everything after `restored.applied` is in `entries`.
    ///   - terms: the first entry of each run of equal terms, from `restored.compacted` to `restored.applied` at least;
    ///     ascending.
    ///   - random: decides election timeouts.
    package init(
        configuration: RaftConfiguration, restored: RestoredState, terms: [EntryID], options: ReplicaOptions,
        random: PRNG
    ) {
        self.options = options
        let history = LogHistory(terms: terms, readBytesMax: options.logReadBytesMax)
        self.history = history
        raft = Raft(configuration: configuration, restored: restored, storage: history, random: random)
        reads = WaitingReads(firstNumber: options.firstContext)
        applied = raft.applied
        handedOut = applied
        offered = applied
        persisted = applied
        cut = applied
        logStart = raft.firstIndex
        configurationChanged()
        offerSnapshot()
    }

    // MARK: State

    package var id: MemberID { raft.id }
    package var term: Term { raft.term }
    /// The last index known to be committed.
    package var commit: LogIndex { raft.commit }
    package var lastIndex: LogIndex { raft.lastIndex }
    package var isLeader: Bool { raft.role == .leader }
    package var role: Role { raft.role }
    /// As far as known, or `.none`.
    package var leader: MemberID { raft.leader }
    /// Whom a leader is handing leadership to, or `.none`.
    package var transferTarget: MemberID { raft.transferTarget }
    /// The configuration as of the last applied change.
    package var configuration: ConfigurationState { raft.configurationState }
    /// What a leader knows of every member, itself included, in order of identity; meaningful on a leader only.
    package var progress: [(member: MemberID, progress: Progress)] { raft.progress }
    /// Who would best take leadership over from this leader: the voter that has most of its log; `.none` on a sole
    /// voter.
    package var transferCandidate: MemberID { raft.transferCandidate }

    /// True when this member is the only voter and leads. Without learners (`hasPeers`) whatever is published locally is
    /// the latest there is, so a linearizable read needs no round and no thread hop; a learner may be ahead in applying.
    package var isSoleVoterLeader: Bool { isSoleVoter && raft.role == .leader }

    /// True on a leader that has applied everything from before its term: time to promote the lessor, and to do what a
    /// leader does by the clock. Before that a lease may bear a remaining time that a renewal has taken back.
    package var isReadyLeader: Bool { raft.role == .leader && readyIndex.map { applied >= $0 } == true }

    /// Checks Raft's invariants; for tests and the simulator.
    package func checkInvariants() { raft.checkInvariants() }

    /// Lets the simulator's checkers look at Raft itself: log, vote, progress.
    package func inspect<R, E: Error>(_ body: (borrowing Raft) throws(E) -> R) throws(E) -> R { try body(raft) }

    // MARK: Starting

    /// Begins: the only voter campaigns at once, now or as soon as entries of the log make it that. Others wait for
    /// their election timeout.
    package func start() {
        campaignsWhenSole = true
    }

    /// Shortens the wait for the first election by `ticks`.
    package func advanceElectionTimer(ticks: Int) { raft.advanceElectionTimer(by: ticks) }

    /// Starts an election at once; a sole voter wins it without waiting for a timeout.
    package func campaign() { raft.campaign() }

    // MARK: Helpers

    func configurationChanged() {
        let state = raft.configurationState
        isSoleVoter = state.voters == [raft.id] && !state.isJoint
        hasPeers =
            state.voters.contains { $0 != raft.id } || state.votersOutgoing.contains { $0 != raft.id }
            || state.learners.contains { $0 != raft.id }
    }

    /// Tells Raft's storage where the backend's image stands: at the persisted index or later.
    func offerSnapshot() {
        let index = min(persisted, raft.applied)
        guard index > .zero, let term = raft.logTerm(at: index) else { return }
        history.offered = SnapshotMetadata(configurationState: raft.configurationState, index: index, term: term)
    }
}
