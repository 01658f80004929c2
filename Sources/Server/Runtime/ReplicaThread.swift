import IOInterfaces
import Leasing
import Logging
import MVCC
import Peers
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Synchronization
import Wire

/// Runs the replica: takes events, ticks, and hands effects to their owners. Never waits for a client; waits for the log's
/// disk only while there are no peers, when it writes the log itself (see `LogDriver`).
final class ReplicaThread {
    private let context: ServerContext
    private let replica: Replica
    private let peers: PeerNetwork?
    /// The log, while this thread owns it.
    private var log: LogDriver?
    /// Gives the log a thread of its own: from now on others wait for this one's heartbeats.
    private let startLogThread: (LogDriver) -> Void
    private let tickNanoseconds: UInt64
    private let electionNanoseconds: UInt64
    private var autoCompactor: AutoCompactor
    private var effects = ReplicaEffects()
    private var applied = LogIndex.zero
    private var lastFault: RaftError?
    /// The lessor has been told that this member leads.
    private var isLeasePrimary = false
    /// Nil until the member serves: what has to be applied before, and whom to tell then.
    private var startsAt: LogIndex?
    private let onStarted: () -> Void

    /// - Parameters:
    ///   - log: nil when the log has a thread of its own from the start.
    ///   - onStarted: called once, when everything that was known to be committed at the start is applied.
    init(
        context: ServerContext, replica: Replica, log: LogDriver?, autoCompaction: AutoCompaction,
        startLogThread: @escaping (LogDriver) -> Void, onStarted: @escaping () -> Void
    ) {
        self.log = log
        self.context = context
        self.replica = replica
        self.startLogThread = startLogThread
        self.onStarted = onStarted
        peers = context.peers
        tickNanoseconds = UInt64(context.configuration.heartbeatMilliseconds) * 1_000_000
        electionNanoseconds = UInt64(context.configuration.electionMilliseconds) * 1_000_000
        autoCompactor = AutoCompactor(autoCompaction)
        applied = LogIndex(context.appliedIndex.load(ordering: .relaxed))
        startsAt = replica.commit
    }

    /// Returns when the inbox is closed.
    func run() {
        var batch: [ReplicaEvent] = []
        var nextTick = context.clock.now() + tickNanoseconds
        context.leaderlessSince.store(context.clock.now(), ordering: .relaxed)
        log?.adopt()
        replica.start()
        round()
        while true {
            let now = context.clock.now()
            let patience = min(nextTick > now ? nextTick - now : 0, log?.patienceNanoseconds ?? .max)
            guard context.replicaInbox.takeAll(into: &batch, waiting: patience) else { break }
            var hasApplied = false
            for event in batch {
                if case .applied(let index) = event {
                    applied = index
                    hasApplied = true
                }
                replica.handle(event)
            }
            let after = context.clock.now()
            if hasApplied, context.isRevokingLeases.load(ordering: .relaxed) { revokeExpired(now: after) }
            if after >= nextTick {
                if after - nextTick > tickNanoseconds { countLateHeartbeats() }
                watchDisk(now: after)
                if context.isStopping.load(ordering: .relaxed) { handOver() }
                if context.isCorrupt.load(ordering: .relaxed) { yieldLeadership() }
                replica.handle(.tick)
                housekeeping(now: after)
                // After a stall the lost ticks are not made up for: time that nobody could use is not silence of others.
                nextTick = after + tickNanoseconds
            }
            round()
            if let first = log?.lookAfterSegments(cut: effects.logCut, isIdle: batch.isEmpty) {
                replica.handle(.logBegins(at: first))
            }
        }
        log?.close()
    }

    private func round() {
        effects.removeAll()
        replica.collect(into: &effects)
        if replica.hasPeers, let log {
            self.log = nil
            startLogThread(log)
        }
        // A leader's appends leave before its own disk has them.
        if !effects.messages.isEmpty { peers?.send(effects.messages) }
        // In this order: entries that the log's owner hands on come behind those given out here.
        if !effects.committed.isEmpty { hand(.entries(effects.committed), to: context.applyInbox) }
        if let log {
            while let progress = log.write(effects.appends) { follow(progress, log) }
        } else {
            if !effects.appends.isEmpty { hand(.append(effects.appends), to: context.logInbox) }
            if let cut = effects.logCut { hand(.cut(through: cut), to: context.logInbox) }
            if let read = effects.logRead { hand(.read(read), to: context.logInbox) }
        }
        for read in effects.reads { hand(.read(context: read.context, index: read.index), to: context.applyInbox) }
        refuse()
        for fault in effects.faults { report(fault) }
        if let softState = effects.softState { roleChanged(softState) }
        followLeadership()
        publish()
    }

    /// Goes on from what this thread has made durable; further appends are left in `effects.appends`.
    private func follow(_ progress: LogProgress, _ log: LogDriver) {
        if !progress.committed.isEmpty { hand(.entries(progress.committed), to: context.applyInbox) }
        effects.appends.removeAll(keepingCapacity: true)
        effects.committed.removeAll(keepingCapacity: true)
        effects.messages.removeAll(keepingCapacity: true)
        replica.handle(.appendDurable(through: progress.durableThrough))
        if !progress.messages.isEmpty { peers?.send(progress.messages) }
        replica.collect(into: &effects)
        if !effects.messages.isEmpty { peers?.send(effects.messages) }
        if let read = effects.logRead { replica.handle(log.read(read)) }
        if !effects.committed.isEmpty { hand(.entries(effects.committed), to: context.applyInbox) }
    }

    /// A leader that stops lets another one lead first.
    private func handOver() {
        guard replica.isLeader, replica.transferTarget == .none, replica.transferCandidate != .none else { return }
        context.logger.info(
            "handing leadership over before stopping", metadata: ["to": "\(replica.transferCandidate.hex)"])
        replica.handle(.transferLeadership(to: replica.transferCandidate))
    }

    /// A leader whose state differs from the others' lets one lead whose state does not, and when that fails, steps down.
    /// When the others' are no better it leads on, so that alarms and members can be managed.
    private func yieldLeadership() {
        guard replica.isLeader, replica.transferTarget == .none else { return }
        let state = context.stateMachine.published.withLock { $0 }
        let successor = replica.progress
            .filter { member, progress in
                member != replica.id && !progress.isLearner && progress.recentlyActive && !state.isCorrupt(member)
            }
            .max { $0.progress.match < $1.progress.match }
        guard let successor else { return }
        context.logger.error(
            "this leader's state differs from the others': handing leadership over",
            metadata: ["to": "\(successor.member.hex)"])
        replica.handle(.transferLeadership(to: successor.member))
        replica.handle(.abdicate)
    }

    /// Two intervals have passed since the others were last sent a heartbeat: etcd counts that as a failure to send one.
    private func countLateHeartbeats() {
        guard replica.isLeader else { return }
        context.metrics.heartbeatSendFailures.add(max(0, replica.progress.count - 1))
    }

    /// A leader whose disk stalls for longer than an election timeout lets another one lead. This thread does no I/O while
    /// there are peers, so it can watch who does.
    private func watchDisk(now: UInt64) {
        guard log == nil, replica.isLeader else { return }
        let since = context.logDiskBusySince.load(ordering: .relaxed)
        guard since != 0, now > since, now - since > electionNanoseconds else { return }
        if replica.transferTarget == .none {
            context.logger.error(
                "the log's disk does not answer: handing leadership over",
                metadata: ["stalled-ms": "\((now - since) / 1_000_000)"])
        }
        replica.handle(.abdicate)
    }

    /// The inboxes below are sized beyond what Raft's own limits let pass.
    private func hand<Item>(_ item: Item, to inbox: Mailbox<Item>) {
        invariant(inbox.push(item) || context.isStopping.load(ordering: .relaxed), "an owner's inbox overflowed")
    }

    private func refuse() {
        for (id, error) in effects.dropped {
            context.metrics.proposalsFailed.add()
            let reason: RequestError
            switch error {
            // It has waited for a leader as long as a request may: as etcd, which says nothing of the leader then.
            case .noLeader, .notMember: reason = .timeout
            case .leadershipTransferring: reason = .leaderChanged
            case .uncommittedBytesExceeded, .configurationChangePending, .configurationChangeInvalid:
                reason = .tooManyRequests
            }
            deliver(to: id) { $0.refusals.append((id, reason)) }
        }
        context.metrics.readIndexesFailed.add(effects.refusedReads.count)
        for id in effects.refusedReads { deliver(to: id) { $0.refusals.append((id, .timeout)) } }
    }

    private func deliver(to id: UInt64, _ add: (inout LoopInbox.Content) -> Void) {
        guard let loop = RequestID.loop(of: id, member: context.identity.memberID) else { return }
        let inboxes = context.loopInboxes
        if loop < inboxes.count { inboxes[loop].deliver(add) }
    }

    private func roleChanged(_ state: SoftState) {
        let before = context.leader.exchange(state.leader.rawValue, ordering: .relaxed)
        if state.leader == .none {
            context.leaderlessSince.store(context.clock.now(), ordering: .relaxed)
        } else {
            context.leaderlessSince.store(0, ordering: .relaxed)
            if before != state.leader.rawValue { context.metrics.leaderChanges.add() }
        }
        if state.role != .leader { context.matchIndexes.withLock { $0 = [:] } }
        for inbox in context.loopInboxes { inbox.deliver { $0.hasLeaderNews = true } }
        context.logger.info(
            "raft role changed",
            metadata: ["role": "\(state.role)", "term": "\(replica.term.rawValue)", "leader": "\(state.leader.hex)"])
    }

    /// Some member's disk has forgotten what it had promised.
    private func report(_ fault: RaftError) {
        guard fault != lastFault else { return }
        lastFault = fault
        context.logger.critical(
            "a member has lost entries of its log that it had acknowledged: remove it, delete its data, add it again",
            metadata: ["fault": "\(fault)"])
    }

    /// The lessor counts down on a leader that has applied everything from before its term, and nowhere else.
    private func followLeadership() {
        let leads = replica.isReadyLeader
        guard leads != isLeasePrimary else { return }
        isLeasePrimary = leads
        if leads {
            context.lessor.promote(now: context.clock.now(), extend: electionNanoseconds)
        } else {
            context.lessor.demote()
        }
    }

    private func publish() {
        context.term.store(replica.term.rawValue, ordering: .relaxed)
        context.commitIndex.store(replica.commit.rawValue, ordering: .relaxed)
        context.lastIndex.store(replica.lastIndex.rawValue, ordering: .relaxed)
        let local = replica.isSoleVoterLeader && replica.isReadyLeader
        // A learner may have applied, and told its clients, what this member commits and has not applied yet.
        context.servesReadsLocally.store(local && !replica.hasPeers, ordering: .releasing)
        // A sole voter serves once it leads; others serve what they have.
        if let startsAt, applied >= startsAt, local || !replica.isSoleVoter {
            self.startsAt = nil
            onStarted()
        }
    }

    /// What a leader does by the clock: leases that ran out, checkpoints, compaction.
    private func housekeeping(now: UInt64) {
        guard replica.isLeader else { return }
        let progress = replica.progress
        context.matchIndexes.withLock { indexes in
            indexes.removeAll(keepingCapacity: true)
            for (member, progress) in progress { indexes[member] = progress.match }
        }
        // A wrong state must not end leases.
        guard replica.isReadyLeader, !context.isCorrupt.load(ordering: .relaxed) else { return }
        let isRevoking = revokeExpired(now: now) || context.lessor.isRevoking
        context.isRevokingLeases.store(isRevoking, ordering: .relaxed)
        let due = context.lessor.checkpointsDue(now: now)
        if !due.isEmpty {
            let checkpoints = due.map {
                Wire.LeaseCheckpoint(id: $0.id.rawValue, remainingSeconds: $0.remainingSeconds)
            }
            propose(
                InternalRaftRequest.FieldNumber.leaseCheckpoint,
                LeaseCheckpointRequest(checkpoints: checkpoints).encoded())
        }
        if let revision = autoCompactor.due(now: now, currentRevision: context.store.currentRevision) {
            propose(InternalRaftRequest.FieldNumber.compaction, CompactionRequest(revision: revision).encoded())
        }
    }

    /// Proposes the end of leases that ran out; few at a time, so that they do not crowd out what clients ask for.
    @discardableResult
    private func revokeExpired(now: UInt64) -> Bool {
        guard isLeasePrimary, !context.isCorrupt.load(ordering: .relaxed) else { return false }
        let expired = context.lessor.expired(now: now)
        for id in expired {
            propose(InternalRaftRequest.FieldNumber.leaseRevoke, LeaseRevokeRequest(id: id.rawValue).encoded())
        }
        return !expired.isEmpty
    }

    private func propose(_ fieldNumber: UInt32, _ body: Bytes) {
        replica.handle(
            .propose(
                .request(
                    id: context.internalRequestID(), fieldNumber: fieldNumber, body: body, isLeaderOnly: true)))
    }
}

extension Proposal {
    /// The proposal of one request of the API.
    static func request(id: UInt64, fieldNumber: UInt32, body: Bytes, isLeaderOnly: Bool = false) -> Proposal {
        Proposal(
            id: id, payload: InternalRaftRequest.encode(id: id, fieldNumber: fieldNumber, body: body),
            isLeaderOnly: isLeaderOnly)
    }
}

extension MemberID {
    /// The identity as etcd prints it: hexadecimal without leading zeros.
    package var hex: String { String(rawValue, radix: 16) }
}
