// One member, driven step by step in one thread: every owner's inbox and turn as production has them (ReplicaThread,
// LogThread, ApplyThread, BackendThread), without threads, sockets and a clock. Whoever drives decides which owner's
// turn it is and how much of its inbox it takes; the same turns give the same run.

import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Wire
import WriteAheadLog

/// Whose turn it is.
enum MemberTurn: CaseIterable, Sendable {
    case replica, log, idleLog, apply, backend, sweep
}

/// What stops a member: production ends the process with the same error.
enum MemberStop: Error {
    case log(WALError)
    case store(StoreError)
}

/// A member's parts with the inboxes between them.
final class MemberDriver {
    /// One heartbeat interval, in nanoseconds.
    static let tickNanoseconds: UInt64 = 100_000_000
    /// Identities of requests that the member proposes itself begin here.
    static let internalIDs: UInt64 = 1 << 62

    /// What was applied, for whoever checks it.
    struct AppliedEntry {
        let index: LogIndex
        let term: Term
        let kind: EntryKind
        let payload: Bytes
        let result: Applied
    }

    private enum LogItem {
        case append([AppendBatch])
        case cut(LogIndex)
        case read(LogRead)
    }

    private enum ApplyItem {
        case entries([Entry])
        case read(context: UInt64, index: LogIndex)
    }

    let core: ServerCore
    /// Monotonic nanoseconds, as the driver says.
    private(set) var now: UInt64
    private var nextTick: UInt64

    private var replicaInbox: [ReplicaEvent] = []
    private var logInbox: [LogItem] = []
    private var applyInbox: [ApplyItem] = []
    private var effects = ReplicaEffects()
    private var waitingBatches: [AppendBatch] = []
    private var waitingReads: [(context: UInt64, index: LogIndex)] = []
    private var nextInternalID = MemberDriver.internalIDs
    private var isPrimary = false

    private(set) var isLeader = false
    /// The log's disk hangs: its turn does nothing.
    var isLogStalled = false
    private(set) var logReads = 0
    /// The log found the disk full and waits for room.
    private(set) var isLogFull = false

    // What left the member since it was last taken.
    private(set) var outgoing: [Message] = []
    private(set) var appliedEntries: [AppliedEntry] = []
    private(set) var dropped: [(id: UInt64, error: ProposalError)] = []
    /// Contexts of reads that may be answered, and of those that are refused.
    private(set) var readableContexts: [UInt64] = []
    private(set) var refusedContexts: [UInt64] = []
    /// What the member proposed of itself.
    private(set) var internalProposals: [Proposal] = []

    init(core: ServerCore, now: UInt64) {
        self.core = core
        self.now = now
        nextTick = now + Self.tickNanoseconds
    }

    // MARK: From outside

    func start() {
        core.replica.start()
        round()
    }

    func campaign() {
        core.replica.campaign()
        round()
    }

    func propose(_ proposal: Proposal) { replicaInbox.append(.propose(proposal)) }

    func read(context: UInt64) { replicaInbox.append(.read(context: context)) }

    func deliver(_ message: Message) { replicaInbox.append(.message(message)) }

    func tell(_ event: ReplicaEvent) { replicaInbox.append(event) }

    func change(id: UInt64, _ change: MemberTable.Change) {
        let change = MemberChange(requestID: id, change)
        replicaInbox.append(
            .proposeChange(
                id: id, change: change.configurationChange, kind: .configurationChangeV2, payload: change.encoded()))
    }

    /// Moves time on.
    func advance(nanoseconds: UInt64) { now += nanoseconds }

    /// This leader has applied everything from before its term, so its published state is the latest there is.
    var servesReadsLocally: Bool { core.replica.isSoleVoterLeader && core.replica.isReadyLeader }

    /// Forgets what left the member.
    func clearOutput() {
        outgoing = []
        appliedEntries = []
        dropped = []
        readableContexts = []
        refusedContexts = []
        internalProposals = []
    }

    // MARK: Turns

    /// Whether the owner has anything to do.
    func hasWork(_ turn: MemberTurn) -> Bool {
        switch turn {
        case .replica: !replicaInbox.isEmpty || now >= nextTick
        case .log: !isLogStalled && (!logInbox.isEmpty || !waitingBatches.isEmpty)
        case .idleLog: logInbox.isEmpty && waitingBatches.isEmpty && !core.logWriter.isPrepared
        case .apply: !applyInbox.isEmpty
        case .backend:
            core.store.numbers().persistedIndex != core.store.appliedIndex
                || core.store.numbers().pendingDeletions > 0
        case .sweep: true
        }
    }

    /// Lets an owner take up to `itemsMax` of what waits for it.
    func take(_ turn: MemberTurn, itemsMax: Int) throws(MemberStop) {
        switch turn {
        case .replica: replicaTurn(itemsMax)
        case .log:
            do throws(WALError) { try logTurn(itemsMax) } catch { throw .log(error) }
        case .idleLog:
            do throws(WALError) { try reserve(isIdle: true) } catch { throw .log(error) }
        case .apply:
            do throws(StoreError) { try applyTurn(itemsMax) } catch { throw .store(error) }
        case .backend:
            do throws(StoreError) {
                if let index = try core.backendWriter.persist() { replicaInbox.append(.persisted(through: index)) }
            } catch { throw .store(error) }
        case .sweep: _ = core.store.sweepStep(maxKeys: 8)
        }
    }

    /// Takes turns until replica, log and apply have nothing left; a full disk ends it too.
    func drain() throws(MemberStop) {
        while true {
            let turns: [MemberTurn] = isLogFull ? [.replica, .apply] : [.replica, .log, .apply]
            guard let turn = turns.first(where: { hasWork($0) }) else { return }
            try take(turn, itemsMax: .max)
        }
    }

    // MARK: The replica's owner

    private func replicaTurn(_ itemsMax: Int) {
        let count = min(itemsMax, replicaInbox.count)
        for event in replicaInbox.prefix(count) { core.replica.handle(event) }
        replicaInbox.removeFirst(count)
        if now >= nextTick {
            core.replica.handle(.tick)
            housekeeping()
            nextTick = now + Self.tickNanoseconds
        }
        round()
    }

    private func round() {
        effects.removeAll()
        core.replica.collect(into: &effects)
        if !effects.committed.isEmpty { applyInbox.append(.entries(effects.committed)) }
        if !effects.appends.isEmpty { logInbox.append(.append(effects.appends)) }
        for read in effects.reads { applyInbox.append(.read(context: read.context, index: read.index)) }
        if let cut = effects.logCut { logInbox.append(.cut(cut)) }
        if let read = effects.logRead { logInbox.append(.read(read)) }
        outgoing += effects.messages
        dropped += effects.dropped
        refusedContexts += effects.refusedReads
        isLeader = core.replica.isLeader
        promote()
        core.replica.checkInvariants()
    }

    /// Tells the lessor whether this member leads; only once everything from before its term is applied.
    private func promote() {
        let leads = core.replica.isReadyLeader
        if leads, !isPrimary { core.lessor.promote(now: now, extend: 10 * Self.tickNanoseconds) }
        if !leads, isPrimary { core.lessor.demote() }
        isPrimary = leads
    }

    /// What a leader does by the clock.
    private func housekeeping() {
        guard isPrimary else { return }
        for id in core.lessor.expired(now: now) {
            proposeInternally(.leaseRevoke, LeaseRevokeRequest(id: id.rawValue).encoded())
        }
        let due = core.lessor.checkpointsDue(now: now)
        guard !due.isEmpty else { return }
        let checkpoints = due.map { Wire.LeaseCheckpoint(id: $0.id.rawValue, remainingSeconds: $0.remainingSeconds) }
        proposeInternally(.leaseCheckpoint, LeaseCheckpointRequest(checkpoints: checkpoints).encoded())
    }

    private enum InternalRequest { case leaseRevoke, leaseCheckpoint }

    private func proposeInternally(_ request: InternalRequest, _ body: Bytes) {
        let fieldNumber =
            switch request {
            case .leaseRevoke: InternalRaftRequest.FieldNumber.leaseRevoke
            case .leaseCheckpoint: InternalRaftRequest.FieldNumber.leaseCheckpoint
            }
        nextInternalID += 1
        let payload = InternalRaftRequest.encode(id: nextInternalID, fieldNumber: fieldNumber, body: body)
        let proposal = Proposal(id: nextInternalID, payload: payload, isLeaderOnly: true)
        internalProposals.append(proposal)
        core.replica.handle(.propose(proposal))
    }

    // MARK: The log's owner

    private func logTurn(_ itemsMax: Int) throws(WALError) {
        let count = min(itemsMax, logInbox.count)
        var cut: LogIndex?
        for item in logInbox.prefix(count) {
            switch item {
            case .append(let batches): waitingBatches += batches
            case .cut(let index): cut = index
            case .read(let read):
                logReads += 1
                replicaInbox.append(try core.logWriter.read(read))
            }
        }
        logInbox.removeFirst(count)
        try write()
        if let cut, let first = try core.logWriter.cut(through: cut) { replicaInbox.append(.logBegins(at: first)) }
        if !isLogFull { try reserve(isIdle: false) }
    }

    private func write() throws(WALError) {
        var written = 0
        do throws(WALError) {
            let progress = try core.logWriter.write(waitingBatches[...], written: &written)
            waitingBatches = []
            isLogFull = false
            guard let progress else { return }
            replicaInbox.append(.appendDurable(through: progress.durableThrough))
            outgoing += progress.messages
            if !progress.committed.isEmpty { applyInbox.append(.entries(progress.committed)) }
        } catch {
            guard error.code == .noSpace else { throw error }
            waitingBatches.removeFirst(written)
            isLogFull = true
        }
    }

    private func reserve(isIdle: Bool) throws(WALError) {
        do throws(WALError) {
            try core.logWriter.reserve()
            if isIdle { _ = try core.logWriter.prepare() }
        } catch {
            guard error.code == .noSpace else { throw error }
        }
    }

    // MARK: The state machine's owner

    private func applyTurn(_ itemsMax: Int) throws(StoreError) {
        let items = applyInbox.prefix(itemsMax)
        var last: LogIndex?
        for item in items {
            switch item {
            case .entries(let entries):
                for entry in entries { try apply(entry) }
                last = entries.last?.index ?? last
            case .read(let context, let index): waitingReads.append((context, index))
            }
        }
        applyInbox.removeFirst(items.count)
        if let last { replicaInbox.append(.applied(through: last)) }
        let applied = core.store.appliedIndex
        readableContexts += waitingReads.filter { $0.index <= applied }.map(\.context)
        waitingReads.removeAll { $0.index <= applied }
    }

    private func apply(_ entry: Entry) throws(StoreError) {
        let result: Applied
        if entry.kind.changesConfiguration {
            let (applied, change) = try core.stateMachine.applyChange(
                index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload, now: now)
            replicaInbox.append(.changeApplied(index: entry.index, change: change))
            result = applied
        } else {
            result = try core.stateMachine.apply(
                index: entry.index, term: entry.term, payload: entry.payload, now: now)
        }
        appliedEntries.append(
            AppliedEntry(
                index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload, result: result))
    }
}
