import IOInterfaces
import Logging
import MVCC
import Membership
package import Primitives
package import RaftCore
import Replica
import StateMachine
import Synchronization
import Wire

/// What the apply thread is asked for.
package enum ApplyItem: Sendable {
    case entries([Entry])
    /// A linearizable read: to be told once `index` is applied.
    case read(context: UInt64, index: LogIndex)
    /// A transaction without writes, answered at the state of its turn.
    case readOnlyTxn(id: UInt64, request: Bytes)
}

extension ApplyItem {
    fileprivate var payloadBytes: Int {
        guard case .entries(let entries) = self else { return 0 }
        return entries.reduce(0) { $0 + $1.payload.count }
    }
}

/// Runs the state machine, tells the loops what became of their requests, and sweeps after compactions when idle.
final class ApplyThread {
    /// Keys looked at in one sweep step: some tenths of a millisecond.
    private static let sweepKeys = 512
    /// So many applied bytes are told to the replica at once, fewer with its next event or tick.
    private static let silentBytesMax = 1 << 20
    /// Bytes waiting for the backend from which on it is woken; below, it looks by itself.
    private static let persistBytes = 16 << 20

    private let context: ServerContext
    private let stateMachine: StateMachine
    private var outcomes: [[Applied]]
    private var reads: [[UInt64]]
    private var waitingReads: [(context: UInt64, index: LogIndex)] = []
    private var publishedRevision: Int64
    private var silentBytes = 0
    private var nextAlarmProposal: UInt64 = 0
    /// The cluster may not know this member's name and client URLs yet.
    private var needsAttributes = true
    private var nextAttributesProposal: UInt64 = 0

    init(context: ServerContext, stateMachine: StateMachine, loopCount: Int) {
        self.context = context
        self.stateMachine = stateMachine
        outcomes = Array(repeating: [], count: loopCount)
        reads = Array(repeating: [], count: loopCount)
        publishedRevision = context.store.currentRevision
    }

    /// Returns when the inbox is closed and everything in it is applied.
    func run() {
        context.store.claimWriteSide()
        var items: [ApplyItem] = []
        var mayHaveSweep = true
        while context.applyInbox.takeAll(into: &items, waiting: mayHaveSweep ? 0 : 100_000_000) {
            var applied: LogIndex?
            let now = context.clock.now()
            for item in items {
                switch item {
                case .entries(let entries):
                    apply(entries, now: now)
                    applied = entries.last?.index ?? applied
                case .read(let context, let index): waitingReads.append((context, index))
                case .readOnlyTxn(let id, let request): answer(id, request)
                }
            }
            if let applied { finish(applied, since: now, bytes: items.reduce(0) { $0 + $1.payloadBytes }) }
            releaseReads()
            deliver()
            watchQuota(now: now)
            if needsAttributes { publishOwnAttributes(now: now) }
            mayHaveSweep = sweep() || !items.isEmpty
        }
    }

    private func apply(_ entries: [Entry], now: UInt64) {
        for entry in entries {
            do throws(StoreError) {
                if entry.kind == .normal {
                    keep(
                        try stateMachine.apply(
                            index: entry.index, term: entry.term, payload: entry.payload, now: now))
                } else {
                    try changeMembership(entry, now: now)
                }
            } catch {
                context.stopProcess("applying entry \(entry.index.rawValue): \(error)")
            }
        }
    }

    private func changeMembership(_ entry: Entry, now: UInt64) throws(StoreError) {
        let (result, change) = try stateMachine.applyChange(
            index: entry.index, term: entry.term, kind: entry.kind, payload: entry.payload, now: now)
        keep(result)
        // Before the word that this entry is applied.
        context.tellReplica(.changeApplied(index: entry.index, change: change))
        guard let change else { return }
        for single in change.changes {
            context.logger.info(
                "the membership has changed", metadata: ["change": "\(single.step)", "member": "\(single.member.hex)"])
        }
        context.publishMembership()
    }

    private func answer(_ id: UInt64, _ request: Bytes) {
        do throws(StoreError) {
            keep(Applied(requestID: id, outcome: try stateMachine.readOnlyTxn(request)))
        } catch {
            context.stopProcess("reading: \(error)")
        }
    }

    private func keep(_ result: Applied) {
        guard let loop = RequestID.loop(of: result.requestID, member: context.identity.memberID),
            loop < outcomes.count
        else { return }
        outcomes[loop].append(result)
    }

    /// Publishes what has been applied before anybody hears of it.
    private func finish(_ index: LogIndex, since start: UInt64, bytes: Int) {
        context.appliedIndex.store(index.rawValue, ordering: .releasing)
        context.publishAlarms()
        // The replica need not be woken for every batch: what it does with the news is to free memory, and to end leases.
        silentBytes += bytes
        let wakesReplica =
            silentBytes >= Self.silentBytesMax || !context.servesReadsLocally.load(ordering: .relaxed)
            || context.isRevokingLeases.load(ordering: .relaxed)
        context.tellReplica(.applied(through: index), wakesOwner: wakesReplica)
        if wakesReplica { silentBytes = 0 }
        let duration = context.clock.now() - start
        context.metrics.applyDuration.observe(nanoseconds: duration)
        if duration > ServerMetrics.slowApplyNanoseconds { context.metrics.slowApplies.add() }
    }

    private func releaseReads() {
        guard !waitingReads.isEmpty else { return }
        let applied = context.appliedIndex.load(ordering: .relaxed)
        waitingReads.removeAll { read in
            guard read.index.rawValue <= applied else { return false }
            if let loop = RequestID.loop(of: read.context, member: context.identity.memberID), loop < reads.count {
                reads[loop].append(read.context)
            }
            return true
        }
    }

    /// One delivery for each loop that has something to hear.
    private func deliver() {
        let revision = context.store.currentRevision
        let isNew = revision != publishedRevision
        publishedRevision = revision
        for (index, inbox) in context.loopInboxes.enumerated() {
            let tellsRevision = isNew && inbox.hasWatches.load(ordering: .acquiring)
            guard !outcomes[index].isEmpty || !reads[index].isEmpty || tellsRevision else { continue }
            inbox.deliver { content in
                content.outcomes.append(contentsOf: outcomes[index])
                content.reads.append(contentsOf: reads[index])
                if tellsRevision { content.revision = revision }
            }
            outcomes[index].removeAll(keepingCapacity: true)
            reads[index].removeAll(keepingCapacity: true)
        }
    }

    /// Tells the cluster this member's name and client URLs, once a second until that is applied: a member that was added
    /// is in its own table only some entries after its start.
    private func publishOwnAttributes(now: UInt64) {
        guard now >= nextAttributesProposal, context.leader.load(ordering: .relaxed) != 0 else { return }
        nextAttributesProposal = now + 1_000_000_000
        let members = stateMachine.published.withLock { $0.members }
        guard var own = members.first(where: { $0.id == context.identity.memberID }) else { return }
        let stored = own
        own.name = context.configuration.name
        own.clientURLs = context.configuration.advertiseClientURLs.map(\.text)
        needsAttributes = own != stored
        guard needsAttributes else { return }
        context.proposeInternally(
            fieldNumber: InternalRaftRequest.FieldNumber.clusterMemberAttrSet,
            body: MemberCodec.encodeAttributesRequest(own))
    }

    /// Publishes the live bytes, and clears the NOSPACE alarm of this member once there is room again.
    private func watchQuota(now: UInt64) {
        let numbers = context.store.numbers()
        let liveBytes = numbers.liveBytes
        if numbers.unpersistedBytes >= Self.persistBytes { context.backendSignal.raise() }
        context.liveBytes.store(liveBytes, ordering: .relaxed)
        guard context.noSpaceAlarm.load(ordering: .relaxed), now >= nextAlarmProposal,
            context.quota.hasRoom(liveBytes: liveBytes)
        else { return }
        nextAlarmProposal = now + 1_000_000_000
        let request = AlarmRequest(
            action: StateMachine.AlarmAction.deactivate, memberID: context.identity.memberID.rawValue,
            alarm: AlarmKind.noSpace.rawValue)
        context.proposeInternally(fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: request.encoded())
        context.logger.info(
            "clearing alarm NOSPACE: there is room again",
            metadata: ["live-bytes": "\(liveBytes)", "quota-bytes": "\(context.quota.bytes)"])
    }

    /// One step of physical compaction. True when the next may follow at once.
    private func sweep() -> Bool {
        switch context.store.sweepStep(maxKeys: Self.sweepKeys) {
        case .more: return true
        case .finished(let revision):
            context.metrics.lastCompactionSeconds.store(
                Int(WallClock.nanoseconds() / 1_000_000_000), ordering: .relaxed)
            for inbox in context.loopInboxes { inbox.deliver { $0.sweptRevision = revision } }
            context.backendSignal.raise()
            return true
        case .idle, .waiting: return false
        }
    }
}
