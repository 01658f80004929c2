import Leasing
package import MVCC
package import Primitives
package import RaftCore
package import Replica
package import ServerCore
package import StateMachine
import Synchronization
import Wire
package import WriteAheadLog

/// Whose turn it is inside a member.
package enum MemberTurn: Int, CaseIterable, Sendable {
    case replica, tick, log, idleLog, apply, backend, sweep, watch, scrub
}

/// What stops a member: production ends the process with the same error.
package enum MemberStop: Error {
    case log(WALError)
    case store(StoreError)
}

/// One process: a member's parts with the inboxes between them, and every owner's turn as production has them
/// (`ReplicaThread`, `LogThread`, `ApplyThread`, `BackendThread`), without threads, sockets and a clock. Whoever drives
/// decides which owner's turn it is and how much of its inbox it takes.
///
/// Owner: the simulation's thread.
package final class MemberDriver {
    /// One heartbeat interval, in nanoseconds.
    package static let tickNanoseconds: UInt64 = 100_000_000

    /// What was applied, for whoever checks it.
    package struct AppliedEntry {
        package let entry: Entry
        package let result: Applied
    }

    /// What left the member since it was last taken.
    package struct Output {
        package var messages: [Message] = []
        package var applied: [AppliedEntry] = []
        package var dropped: [(id: UInt64, error: ProposalError)] = []
        /// Contexts of reads that may be answered, and of those that are refused.
        package var readable: [UInt64] = []
        package var refused: [UInt64] = []
        /// What the member proposed of itself.
        package var internalProposals: [Proposal] = []
        /// What the disk has synced, in order.
        package var synced: [[Entry]] = []
        /// The first entries of batches that the disk was asked to write, whatever became of that.
        package var attempted: [LogIndex] = []
        package var logReads = 0
        /// Messages that prove that durable entries were lost.
        package var faults: [RaftError] = []
        /// The entry that `alter` changed, if it did.
        package var alteredAt: LogIndex?
        /// Whom this member, as the leader, says to differ.
        package var accused: [StateSuspect] = []

        package init() {}
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

    package let core: ServerCore
    let bug: PlantedBug?
    /// The member's own monotonic clock, in nanoseconds.
    package var now: UInt64
    package private(set) var nextTick: UInt64
    /// Whether the replica's turn writes the log, as on a member that has no others yet.
    private(set) var writesLogItself: Bool
    /// Linearizable reads need nobody else: as published at the end of the replica's last turn.
    private(set) var servesReadsLocally = false
    /// When the log's owner began to write what it has not finished; nil when it is idle.
    var logBusySince: UInt64?
    private var hasBegun: Bool
    package var output = Output()

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

    package private(set) var isLeader = false
    /// The lessor knows deadlines.
    private(set) var isPrimary = false
    /// The log found the disk full and waits for room.
    package var isLogFull = false
    /// The log's disk hangs: its own owner's turn does nothing.
    package var isLogStalled = false

    /// What the member may hold.
    var quota = SpaceQuota(bytes: -1)
    /// Stored records are looked at in the background.
    var scrubs = false
    /// A fault to make: the payload that the state machine gets in place of an entry's own, nil when the entry is not
    /// suitable. Asked until it gives one.
    var alter: ((Entry) -> Bytes?)?
    private var comparison = StateComparison()
    private var nextAlarmProposal: UInt64 = 0
    private var scrubbed: Revision?

    /// - Parameters:
    ///   - now: what the member's clock shows.
    ///   - firstInternalID: identities of requests that this process proposes itself begin here.
    ///   - begins: the replica starts with its owner's first turn, and a sole voter leads at once.
    package init(
        core: ServerCore, now: UInt64, firstInternalID: UInt64, bug: PlantedBug? = nil, random: PRNG,
        begins: Bool = true
    ) {
        hasBegun = !begins
        self.core = core
        self.now = now
        self.bug = bug
        self.random = random
        nextInternalID = firstInternalID
        nextTick = now + Self.tickNanoseconds
        writesLogItself = !core.replica.hasPeers
    }

    // MARK: From outside

    package func propose(_ proposal: Proposal) { replicaInbox.append(.propose(proposal)) }

    package func deliver(_ event: ReplicaEvent) { replicaInbox.append(event) }

    package func read(context: UInt64) {
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

    /// An alarm CORRUPT names this member, as far as it has applied: it refuses its clients.
    var isCorrupt: Bool {
        bug != .serveCorrupt && core.stateMachine.published.withLock { $0.isCorrupt(core.identity.memberID) }
    }

    /// The event loop's look at a request before it goes to the replica: whether it may grow the store.
    func admits(_ payload: Bytes) -> Bool {
        let growth = Self.growth(payload)
        guard growth > 0 else { return true }
        let alarms = core.stateMachine.published.withLock { $0.alarms }
        if alarms.contains(where: { $0.kind == .noSpace }) { return false }
        guard quota.isExceeded(liveBytes: core.store.numbers().liveBytes, growth: growth) else { return true }
        proposeAlarm(StateMachine.AlarmAction.activate, core.identity.memberID, .noSpace)
        return false
    }

    private static func growth(_ payload: Bytes) -> Int {
        payload.withUnsafeBytes { bytes in
            guard let request = try? InternalRaftRequestView(decoding: bytes) else { return 0 }
            switch request.body {
            case .put(let bytes): return (try? PutRequestView(decoding: bytes)).map { SpaceQuota.cost($0) } ?? 0
            case .txn(let bytes): return (try? TxnRequestView(decoding: bytes)).map { SpaceQuota.cost($0) } ?? 0
            case .leaseGrant: return SpaceQuota.leaseCostBytes
            default: return 0
            }
        }
    }

    /// What another member says of its state: the probe of production.
    func hear(_ marks: [StateHashMark], from member: MemberID) {
        let state = core.stateMachine.published.withLock { $0 }
        let findings = comparison.hear(
            marks, from: member, own: (core.identity.memberID, core.stateMachine.hashes.marks), isLeader: isLeader,
            state, now: now)
        guard bug != .ignoreDifferences else { return }
        output.accused += findings.accused
        for suspect in findings.accused {
            proposeAlarm(StateMachine.AlarmAction.activate, suspect.member, .corrupt)
        }
    }

    private func proposeAlarm(_ action: Int32, _ member: MemberID, _ kind: AlarmKind) {
        let request = AlarmRequest(action: action, memberID: member.rawValue, alarm: kind.rawValue)
        nextInternalID += 1
        let payload = InternalRaftRequest.encode(
            id: nextInternalID, fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: request.encoded())
        let proposal = Proposal(id: nextInternalID, payload: payload)
        output.internalProposals.append(proposal)
        replicaInbox.append(.propose(proposal))
    }

    /// Clears this member's NOSPACE once there is room again.
    private func watchQuota() {
        guard bug != .keepNoSpace, now >= nextAlarmProposal else { return }
        let alarms = core.stateMachine.published.withLock { $0.alarms }
        guard alarms.contains(Alarm(member: core.identity.memberID, kind: .noSpace)),
            quota.hasRoom(liveBytes: core.store.numbers().liveBytes)
        else { return }
        nextAlarmProposal = now + 1_000_000_000
        proposeAlarm(StateMachine.AlarmAction.deactivate, core.identity.memberID, .noSpace)
    }

    /// Whether the owner has anything to do.
    package func hasWork(_ turn: MemberTurn) -> Bool {
        switch turn {
        case .replica: !replicaInbox.isEmpty || !hasBegun
        case .tick: now >= nextTick
        case .log:
            !writesLogItself && !isLogStalled
                && (!logInbox.isEmpty || !waitingBatches.isEmpty || !unwrittenBatches.isEmpty)
        case .idleLog: logInbox.isEmpty && waitingBatches.isEmpty && !core.logWriter.isPrepared
        case .apply: !applyInbox.isEmpty
        case .backend: hasUnpersisted
        case .sweep: hasUnswept
        case .watch: false
        case .scrub: scrubs
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
    package func take(_ turn: MemberTurn, itemsMax: Int) throws(MemberStop) {
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
        case .scrub:
            do throws(StoreError) {
                scrubbed = try core.store.makeReader().scrub(after: scrubbed, maxRecords: 64)
            } catch { throw .store(error) }
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
            if isCorrupt { yieldLeadership() }
            core.replica.handle(.tick)
            housekeeping()
            watchQuota()
            // After a stall the lost ticks are not made up for.
            nextTick = now + Self.tickNanoseconds
        }
        try round()
        if writesLogItself {
            if let cut = effects.logCut { try self.cut(through: cut) }
            if !isLogFull { try lookAfterSegments(isIdle: false) }
        }
    }

    /// A leader whose state differs lets one lead whose state does not.
    private func yieldLeadership() {
        guard core.replica.isLeader, core.replica.transferTarget == .none else { return }
        let state = core.stateMachine.published.withLock { $0 }
        let successor = core.replica.progress
            .filter { member, progress in
                member != core.replica.id && !progress.isLearner && progress.recentlyActive && !state.isCorrupt(member)
            }
            .max { $0.progress.match < $1.progress.match }
        guard let successor else { return }
        core.replica.handle(.transferLeadership(to: successor.member))
        core.replica.handle(.abdicate)
    }

    /// A leader whose disk stalls for longer than an election timeout lets another one lead.
    private func watchDisk() {
        guard !writesLogItself, core.replica.isLeader, let logBusySince,
            now > logBusySince + 10 * Self.tickNanoseconds
        else { return }
        core.replica.handle(.abdicate)
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
        output.dropped += effects.dropped
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
        // A wrong state must not end leases.
        guard core.replica.isReadyLeader, !isCorrupt else { return }
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
        watchQuota()
    }

    private func apply(_ entry: Entry) throws(StoreError) {
        if entry.kind.changesConfiguration {
            let (result, change) = try core.stateMachine.applyChange(
                index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload, now: now)
            replicaInbox.append(.changeApplied(index: entry.index, change: change))
            output.applied.append(AppliedEntry(entry: entry, result: result))
            return
        }
        var payload = entry.payload
        if let altered = alter?(entry) {
            alter = nil
            payload = altered
            output.alteredAt = entry.index
        }
        let result = try core.stateMachine.apply(index: entry.index, term: entry.term, payload: payload, now: now)
        output.applied.append(AppliedEntry(entry: entry, result: result))
    }

    private var appliesEarly: Bool { bug == .applyUncommitted || bug == .commitByCount }

    /// True once in so many draws, for the planted bugs that act now and then.
    func mayAct(oneIn: Int) -> Bool { random.chance(oneIn: oneIn) }
}
