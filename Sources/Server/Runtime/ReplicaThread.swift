import IOInterfaces
import Leasing
import Logging
import MVCC
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Synchronization
import Wire

/// Runs the replica: takes events, ticks, and hands effects to their owners. Never waits for a client; waits for the log's
/// disk only on a sole voter, where it writes the log itself (see `LogDriver`).
final class ReplicaThread {
    private let context: ServerContext
    private let replica: Replica
    /// The log, when this thread owns it.
    private let log: LogDriver?
    private let tickNanoseconds: UInt64
    private var autoCompactor: AutoCompactor
    private var effects = ReplicaEffects()
    /// Once this is applied, nothing from before this leader's term is missing.
    private var readyIndex: LogIndex?
    private var applied = LogIndex.zero
    private var isLeader = false

    /// - Parameter log: nil when the log thread owns it.
    init(context: ServerContext, replica: Replica, log: LogDriver?, autoCompaction: AutoCompaction) {
        self.log = log
        self.context = context
        self.replica = replica
        tickNanoseconds = UInt64(context.configuration.heartbeatMilliseconds) * 1_000_000
        autoCompactor = AutoCompactor(autoCompaction)
        applied = LogIndex(context.appliedIndex.load(ordering: .relaxed))
    }

    /// Returns when the inbox is closed.
    func run() {
        var batch: [ReplicaEvent] = []
        var nextTick = context.clock.now() + tickNanoseconds
        log?.adopt()
        replica.campaign()
        round()
        while true {
            let now = context.clock.now()
            let patience = min(nextTick > now ? nextTick - now : 0, log?.patienceNanoseconds ?? .max)
            guard context.replicaInbox.takeAll(into: &batch, waiting: patience) else { break }
            for event in batch {
                if case .applied(let index) = event { applied = index }
                replica.handle(event)
            }
            let after = context.clock.now()
            if after >= nextTick {
                replica.handle(.tick)
                housekeeping(now: after)
                // After a stall the lost ticks are not made up for: time that nobody could use is not silence of others.
                nextTick = after + tickNanoseconds
            }
            round()
            log?.lookAfterSegments(cut: effects.logCut, isIdle: batch.isEmpty)
        }
        log?.close()
    }

    private func round() {
        effects.removeAll()
        replica.collect(into: &effects)
        // In this order: entries that the log's owner hands on come behind those given out here.
        if !effects.committed.isEmpty { hand(.entries(effects.committed), to: context.applyInbox) }
        if let log {
            while let progress = log.write(effects.appends) { follow(progress) }
        } else {
            if !effects.appends.isEmpty { hand(.append(effects.appends), to: context.logInbox) }
            if let cut = effects.logCut { hand(.cut(through: cut), to: context.logInbox) }
        }
        for read in effects.reads { hand(.read(context: read.context, index: read.index), to: context.applyInbox) }
        refuse()
        if let softState = effects.softState { leadershipChanged(softState) }
        publish()
    }

    /// Goes on from what this thread has made durable; further appends are left in `effects.appends`.
    private func follow(_ progress: LogProgress) {
        if !progress.committed.isEmpty { hand(.entries(progress.committed), to: context.applyInbox) }
        effects.appends.removeAll(keepingCapacity: true)
        effects.committed.removeAll(keepingCapacity: true)
        replica.handle(.appendDurable(through: progress.durableThrough))
        for message in progress.messages { replica.handle(.message(message)) }
        replica.collect(into: &effects)
        if !effects.committed.isEmpty { hand(.entries(effects.committed), to: context.applyInbox) }
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
            case .noLeader, .notMember: reason = .noLeader
            case .leadershipTransferring: reason = .leaderChanged
            case .uncommittedBytesExceeded, .configurationChangePending, .configurationChangeInvalid:
                reason = .tooManyRequests
            }
            deliver(to: id) { $0.refusals.append((id, reason)) }
        }
        for id in effects.refusedReads { deliver(to: id) { $0.refusals.append((id, .noLeader)) } }
        for id in effects.abortedReads { deliver(to: id) { $0.refusals.append((id, .leaderChanged)) } }
    }

    private func deliver(to id: UInt64, _ add: (inout LoopInbox.Content) -> Void) {
        guard let loop = RequestID.loop(of: id, member: context.identity.memberID) else { return }
        let inboxes = context.loopInboxes
        if loop < inboxes.count { inboxes[loop].deliver(add) }
    }

    private func leadershipChanged(_ state: SoftState) {
        let leads = state.role == .leader
        context.leader.store(state.leader.rawValue, ordering: .relaxed)
        if leads, !isLeader {
            // The entry that opens the term is the last one in the log now.
            readyIndex = replica.lastIndex
            context.lessor.promote(
                now: context.clock.now(),
                extend: UInt64(context.configuration.electionMilliseconds) * 1_000_000)
            context.metrics.leaderChanges.add()
        } else if !leads, isLeader {
            readyIndex = nil
            context.lessor.demote()
        }
        isLeader = leads
        context.logger.info(
            "raft role changed",
            metadata: ["role": "\(state.role)", "term": "\(replica.term.rawValue)", "leader": "\(state.leader.hex)"])
    }

    private func publish() {
        context.term.store(replica.term.rawValue, ordering: .relaxed)
        context.commitIndex.store(replica.commit.rawValue, ordering: .relaxed)
        context.lastIndex.store(replica.lastIndex.rawValue, ordering: .relaxed)
        let local = replica.isSoleVoterLeader && readyIndex.map { applied >= $0 } == true
        context.servesReadsLocally.store(local, ordering: .releasing)
    }

    /// What a leader does by the clock: leases that ran out, checkpoints, compaction.
    private func housekeeping(now: UInt64) {
        guard isLeader, readyIndex.map({ applied >= $0 }) == true else { return }
        for id in context.lessor.expired(now: now) {
            propose(InternalRaftRequest.FieldNumber.leaseRevoke, LeaseRevokeRequest(id: id.rawValue).encoded())
        }
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

    private func propose(_ fieldNumber: UInt32, _ body: Bytes) {
        replica.handle(
            .propose(.request(id: context.internalRequestID(), fieldNumber: fieldNumber, body: body)))
    }
}

extension Proposal {
    /// The proposal of one request of the API.
    static func request(id: UInt64, fieldNumber: UInt32, body: Bytes) -> Proposal {
        Proposal(id: id, payload: InternalRaftRequest.encode(id: id, fieldNumber: fieldNumber, body: body))
    }
}

extension MemberID {
    /// The identity as etcd prints it: hexadecimal without leading zeros.
    package var hex: String { String(rawValue, radix: 16) }
}
