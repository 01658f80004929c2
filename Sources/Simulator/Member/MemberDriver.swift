import Leasing
import MVCC
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Wire
import WriteAheadLog

/// Whose turn it is inside a member.
enum MemberTurn: Int, CaseIterable, Sendable {
    case replica, tick, log, idleLog, apply, backend, sweep, watch
}

/// What stops a member: production ends the process with the same error.
enum MemberStop: Error {
    case log(WALError)
    case store(StoreError)
}

/// One process: a member's parts with the inboxes between them, and every owner's turn as production has them
/// (`ReplicaThread`, `LogThread`, `ApplyThread`, `BackendThread`), without threads, sockets and a clock. Whoever drives
/// decides which owner's turn it is and how much of its inbox it takes.
///
/// Owner: the simulation's thread.
final class MemberDriver {
    /// One heartbeat interval, in nanoseconds.
    static let tickNanoseconds: UInt64 = 100_000_000

    /// What was applied, for whoever checks it.
    struct AppliedEntry {
        let entry: Entry
        let result: Applied
    }

    /// What left the member since it was last taken.
    struct Output {
        var messages: [Message] = []
        var applied: [AppliedEntry] = []
        var dropped: [UInt64] = []
        /// Contexts of reads that may be answered, and of those that are refused.
        var readable: [UInt64] = []
        var refused: [UInt64] = []
        /// What the member proposed of itself.
        var internalProposals: [Proposal] = []
        /// What the disk has synced, in order.
        var synced: [[Entry]] = []
        /// The first entries of batches that the disk was asked to write, whatever became of that.
        var attempted: [LogIndex] = []
        var logReads = 0
        /// Messages that prove that durable entries were lost.
        var faults: [RaftError] = []
    }

    enum LogItem {
        case append([AppendBatch])
        case cut(LogIndex)
        case read(LogRead)
    }

    enum ApplyItem {
        case entries([Entry])
        case read(context: UInt64, index: LogIndex)
    }

    let core: ServerCore
    let bug: PlantedBug?
    /// The member's own monotonic clock, in nanoseconds.
    var now: UInt64
    private(set) var nextTick: UInt64
    /// Whether the replica's turn writes the log, as on a member that has no others yet.
    private(set) var writesLogItself: Bool
    /// Linearizable reads need nobody else: as published at the end of the replica's last turn.
    private(set) var servesReadsLocally = false
    /// When the log's owner began to write what it has not finished; nil when it is idle.
    var logBusySince: UInt64?
    private var hasBegun = false
    var output = Output()

    var replicaInbox: [ReplicaEvent] = []
    var logInbox: [LogItem] = []
    var applyInbox: [ApplyItem] = []
    var effects = ReplicaEffects()
    var waitingBatches: [AppendBatch] = []
    /// Batches that a planted bug has reported and not written.
    var unwrittenBatches: [AppendBatch] = []
    /// Written when the disk was found full, and not synced yet.
    var owedSyncs: [AppendBatch] = []
    var waitingReads: [(context: UInt64, index: LogIndex)] = []
    private var nextInternalID: UInt64
    private var random: PRNG

    private(set) var isLeader = false
    /// The lessor knows deadlines.
    private(set) var isPrimary = false
    /// The log found the disk full and waits for room.
    var isLogFull = false

    /// - Parameters:
    ///   - now: what the member's clock shows.
    ///   - firstInternalID: identities of requests that this process proposes itself begin here.
    init(core: ServerCore, now: UInt64, firstInternalID: UInt64, bug: PlantedBug?, random: PRNG) {
        self.core = core
        self.now = now
        self.bug = bug
        self.random = random
        nextInternalID = firstInternalID
        nextTick = now + Self.tickNanoseconds
        writesLogItself = !core.replica.hasPeers
    }

    // MARK: From outside

    func propose(_ proposal: Proposal) { replicaInbox.append(.propose(proposal)) }

    func deliver(_ event: ReplicaEvent) { replicaInbox.append(event) }

    func read(context: UInt64) {
        let answersAlone: Bool =
            switch bug {
            case .readWithoutQuorum: isLeader
            case .staleRead: !isLeader
            default: servesReadsLocally
            }
        if answersAlone {
            output.readable.append(context)
        } else {
            replicaInbox.append(.read(context: context))
        }
    }

    /// Whether the owner has anything to do.
    func hasWork(_ turn: MemberTurn) -> Bool {
        switch turn {
        case .replica: !replicaInbox.isEmpty || !hasBegun
        case .tick: false
        case .log: !writesLogItself && (!logInbox.isEmpty || !waitingBatches.isEmpty || !unwrittenBatches.isEmpty)
        case .idleLog: logInbox.isEmpty && waitingBatches.isEmpty && !core.logWriter.isPrepared
        case .apply: !applyInbox.isEmpty
        case .backend: hasUnpersisted
        case .sweep: hasUnswept
        case .watch: false
        }
    }

    private var hasUnpersisted: Bool {
        let numbers = core.store.numbers()
        return numbers.persistedIndex != numbers.appliedIndex || numbers.pendingDeletions > 0
    }

    private var hasUnswept: Bool {
        let numbers = core.store.numbers()
        return numbers.sweptRevision < numbers.compactRevision && numbers.pendingDeletions == 0
    }

    /// Lets an owner take up to `itemsMax` of what waits for it.
    func take(_ turn: MemberTurn, itemsMax: Int) throws(MemberStop) {
        switch turn {
        case .replica, .tick:
            do throws(WALError) { try replicaTurn(itemsMax) } catch { throw .log(error) }
        case .log:
            do throws(WALError) { try logTurn(itemsMax) } catch { throw .log(error) }
        case .idleLog:
            do throws(WALError) { try lookAfterSegments(isIdle: true) } catch { throw .log(error) }
        case .apply:
            do throws(StoreError) { try applyTurn(itemsMax) } catch { throw .store(error) }
        case .backend:
            do throws(StoreError) {
                if let index = try core.backendWriter.persist() { replicaInbox.append(.persisted(through: index)) }
            } catch { throw .store(error) }
        case .sweep: _ = core.store.sweepStep(maxKeys: 4)
        case .watch: break
        }
    }

    // MARK: The replica's owner

    private func replicaTurn(_ itemsMax: Int) throws(WALError) {
        if !hasBegun {
            hasBegun = true
            core.replica.start()
        }
        let count = min(itemsMax, replicaInbox.count)
        for event in replicaInbox.prefix(count) { core.replica.handle(event) }
        replicaInbox.removeFirst(count)
        if now >= nextTick {
            watchDisk()
            core.replica.handle(.tick)
            housekeeping()
            // After a stall the lost ticks are not made up for.
            nextTick = now + Self.tickNanoseconds
        }
        try round()
        if writesLogItself {
            if let cut = effects.logCut { try self.cut(through: cut) }
            if !isLogFull { try lookAfterSegments(isIdle: false) }
        }
    }

    /// A leader whose disk stalls for longer than an election timeout lets another one lead.
    private func watchDisk() {
        guard !writesLogItself, core.replica.isLeader, let logBusySince,
            now > logBusySince + 10 * Self.tickNanoseconds
        else { return }
        core.replica.handle(.diskStalled)
    }

    private func round() throws(WALError) {
        effects.removeAll()
        core.replica.collect(into: &effects)
        // From now on others wait for this member's heartbeats: the log gets an owner of its own.
        if core.replica.hasPeers { writesLogItself = false }
        output.messages += effects.messages
        if !effects.committed.isEmpty { applyInbox.append(.entries(effects.committed)) }
        if writesLogItself {
            try writeOwnLog()
        } else {
            if bug == .voteBeforeSync {
                for batch in effects.appends {
                    output.messages += batch.messagesAfterAppend.filter { $0.type == .voteResponse }
                }
            }
            if !effects.appends.isEmpty { logInbox.append(.append(effects.appends)) }
            if let cut = effects.logCut { logInbox.append(.cut(cut)) }
            if let read = effects.logRead { logInbox.append(.read(read)) }
        }
        for read in effects.reads { applyInbox.append(.read(context: read.context, index: read.index)) }
        output.dropped += effects.dropped.map(\.id)
        output.refused += effects.refusedReads
        output.faults += effects.faults
        if bug == .commitByCount { try applyWhatQuorumHas() }
        isLeader = core.replica.isLeader
        followLeadership()
        // A learner may be ahead in applying.
        servesReadsLocally =
            core.replica.isSoleVoterLeader && !core.replica.hasPeers && core.replica.isReadyLeader
    }

    /// The lessor counts down on a leader that has applied everything from before its term, and nowhere else.
    private func followLeadership() {
        let leads = core.replica.isReadyLeader
        guard leads != isPrimary else { return }
        isPrimary = leads
        if leads {
            let from = bug == .shortLease ? now - 4_000_000_000 : now
            core.lessor.promote(now: from, extend: bug == .shortLease ? 0 : 10 * Self.tickNanoseconds)
        } else {
            core.lessor.demote()
        }
    }

    /// What a leader does by the clock.
    private func housekeeping() {
        guard core.replica.isReadyLeader else { return }
        for id in core.lessor.expired(now: now) {
            proposeInternally(
                InternalRaftRequest.FieldNumber.leaseRevoke, LeaseRevokeRequest(id: id.rawValue).encoded())
        }
        let due = core.lessor.checkpointsDue(now: now)
        guard !due.isEmpty else { return }
        let checkpoints = due.map { Wire.LeaseCheckpoint(id: $0.id.rawValue, remainingSeconds: $0.remainingSeconds) }
        proposeInternally(
            InternalRaftRequest.FieldNumber.leaseCheckpoint,
            LeaseCheckpointRequest(checkpoints: checkpoints).encoded())
    }

    private func proposeInternally(_ fieldNumber: UInt32, _ body: Bytes) {
        nextInternalID += 1
        let payload = InternalRaftRequest.encode(id: nextInternalID, fieldNumber: fieldNumber, body: body)
        let proposal = Proposal(id: nextInternalID, payload: payload, isLeaderOnly: true)
        output.internalProposals.append(proposal)
        core.replica.handle(.propose(proposal))
    }

    /// The identity of the next process's first internal request.
    var internalIDsUsedThrough: UInt64 { nextInternalID }

    // MARK: The state machine's owner

    private func applyTurn(_ itemsMax: Int) throws(StoreError) {
        let items = applyInbox.prefix(itemsMax)
        var last: LogIndex?
        for item in items {
            switch item {
            case .entries(let entries):
                for entry in entries where !appliesEarly || entry.index > core.store.appliedIndex {
                    try apply(entry)
                    last = entry.index
                }
            case .read(let context, let index): waitingReads.append((context, index))
            }
        }
        applyInbox.removeFirst(items.count)
        if let last { replicaInbox.append(.applied(through: last)) }
        let applied = bug == .readBeforeApply ? LogIndex(.max) : core.store.appliedIndex
        output.readable += waitingReads.filter { $0.index <= applied }.map(\.context)
        waitingReads.removeAll { $0.index <= applied }
    }

    private func apply(_ entry: Entry) throws(StoreError) {
        if entry.kind.changesConfiguration {
            let (result, change) = try core.stateMachine.applyChange(
                index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload, now: now)
            replicaInbox.append(.changeApplied(index: entry.index, change: change))
            output.applied.append(AppliedEntry(entry: entry, result: result))
            return
        }
        let result = try core.stateMachine.apply(
            index: entry.index, term: entry.term, payload: entry.payload, now: now)
        output.applied.append(AppliedEntry(entry: entry, result: result))
    }

    private var appliesEarly: Bool { bug == .applyUncommitted || bug == .commitByCount }

    /// True once in so many draws, for the planted bugs that act now and then.
    func mayAct(oneIn: Int) -> Bool { random.chance(oneIn: oneIn) }
}
