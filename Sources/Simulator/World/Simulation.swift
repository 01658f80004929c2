import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import WriteAheadLog

/// One run: see the head of Simulator.swift.
package final class Simulation {
    enum Phase: UInt64 { case safety = 1, majority, convergence, end }

    static let clusterID: UInt64 = 0xc1

    package let options: SimulationOptions
    let trace = Trace()
    var counters = SimulationCounters()

    var random: PRNG
    var queue = EventQueue()
    /// Nanoseconds since the run began.
    var now: UInt64 = 0
    var step = 0
    var phase = Phase.safety

    var network: Network
    var machines: [Machine] = []
    var clients: [Client] = []
    var watchers: [Watcher] = []
    /// Requests that clients wait for, by identity.
    var waiting: [UInt64: Waiting] = [:]
    var nextRequestID: UInt64 = 0
    var transfers: [SnapshotTransfer?] = []
    var faults: [Fault] = []
    /// The configurations that the log makes, one after the other.
    var configurations: [ConfigurationState] = []
    /// The entry that made the newest one.
    var configurationIndex = LogIndex.zero
    /// The request for a membership change that has no answer yet.
    var pendingChange: PendingChange?
    /// Draws what generation 2 brings, so that the rest of a run does not depend on it.
    var damageRandom: PRNG

    // Checkers.
    let history: CommittedHistory
    var linearizability = LinearizabilityChecker()
    var durability = DurabilityChecker()
    var stateHash = StateHashChecker()
    var revisions = RevisionChecker()
    var election = ElectionChecker()
    var leases: LeaseChecker
    var consistency = ConsistencyChecker()
    /// When the majority phase began, and whether a write asked for since then was acknowledged.
    var healedAt: UInt64?
    var hasProgressed = false

    /// - Parameter print: called with a line for every event, if given.
    package init(_ options: SimulationOptions, print: ((String) -> Void)? = nil) {
        self.options = options
        random = PRNG(seed: options.seed)
        damageRandom = PRNG(seed: options.seed &* 0x2545_f491 &+ 3)
        network = Network(
            options: options.network, capacity: options.machineCount, random: PRNG(seed: random.next()))
        network.doublesProposals = options.bug == .doubleProposal
        network.splitsAppends = options.bug == .commitByCount
        history = CommittedHistory(ttlSecondsMin: LessorConfiguration().ttlSecondsMin)
        leases = LeaseChecker(driftPermille: UInt64(options.driftPermille) * 2 + 20)
        trace.print = print
        makeMachines()
        for index in 0..<options.clientCount { clients.append(Client(index: index, random: PRNG(seed: random.next()))) }
        for index in 0..<options.watcherCount {
            watchers.append(Watcher(index: index, random: PRNG(seed: random.next())))
        }
    }

    private func makeMachines() {
        let members = (0..<options.memberCount).map { Self.member($0) }
        let voters = ConfigurationState(voters: members.map(\.id))
        configurations = [voters]
        for index in 0..<options.machineCount {
            let founding: Founding =
                index < options.memberCount
                ? .new(clusterID: Self.clusterID, members: members)
                : .joining(clusterID: Self.clusterID, members: members)
            var core = ServerCoreOptions(
                dataDirectory: Machine.dataDirectory, memberID: Self.member(index).id, founding: founding)
            core.preVote = options.preVote && options.bug != .ignorePreVote
            core.log.segmentBytes = options.segmentBytes
            core.log.retainedBytes = options.retainedBytes
            core.log.recyclesSegments = options.recyclesSegments
            core.store.tailBytesMax = options.tailBytesMax
            core.store.markBytesMin = options.markBytesMin
            core.replica.recentEntriesBytesMax = [0, 2000, 32 << 20][random.next(in: 0..<3)]
            core.replica.logReadBytesMax = [200, 4000, 4 << 20][random.next(in: 0..<3)]
            core.hashStride = options.hashStride
            core.leases.checkpointIntervalNanoseconds = options.checkpointSeconds * Duration.second
            let drift = options.driftPermille
            let rate = UInt64(1000 - drift + random.next(in: 0..<2 * drift + 1))
            let start = 1_000_000_000_000 + UInt64(random.next(in: 0..<1_000_000_000))
            machines.append(
                Machine(
                    index: index, options: core, clock: MachineClock(ratePermille: rate, start: start),
                    random: PRNG(seed: random.next())))
            if index < options.memberCount { machines[index].status = .down }
        }
    }

    static func member(_ index: Int) -> Membership.Member {
        Membership.Member(
            id: MemberID(UInt64(index) + 1), name: "m\(index)", peerURLs: ["http://m\(index):2380"],
            clientURLs: ["http://m\(index):2379"])
    }

    func machine(_ id: MemberID) -> Machine? {
        id.rawValue >= 1 && id.rawValue <= UInt64(machines.count) ? machines[Int(id.rawValue) - 1] : nil
    }

    // MARK: The run

    /// Runs to the end, or to the first violation.
    package func run() -> SimulationReport {
        var violation: Violation?
        do throws(Violation) {
            try begin()
            try runSafety()
            try runMajority()
            try runConvergence()
            trace.note(.phase, time: now, UInt64(step), 0, 0, "end")
        } catch {
            violation = error
        }
        return report(violation)
    }

    /// What is known at this moment; also read by another thread when this one was stopped by a trap.
    package func report(_ violation: Violation?) -> SimulationReport {
        counters.elections = election.elections
        counters.leasesExpired = leases.expired
        counters.watchEvents = watchers.reduce(0) { $0 + $1.received }
        return SimulationReport(
            options: options, violation: violation, traceHash: trace.hash, steps: step, virtualNanoseconds: now,
            counters: counters, lastLines: trace.lastLines)
    }

    private func begin() throws(Violation) {
        trace.note(.begin, time: 0, options.seed)
        for machine in machines where machine.status == .down { try start(machine) }
        for client in clients {
            queue.add(.client(client.index, request: 0), at: UInt64(random.next(in: 0..<100_000_000)))
        }
        for watcher in watchers { queue.add(.watcher(watcher.index), at: UInt64(random.next(in: 0..<500_000_000))) }
        scheduleNemesis()
        if options.generation >= 2 { beginDamage() }
    }

    /// Does the next thing that happens. False when nothing does.
    func advance() throws(Violation) -> Bool {
        guard let (time, event) = queue.next() else { return false }
        now = max(now, time)
        step += 1
        switch event {
        case .turn(let member, let life, let turn):
            let machine = machines[member]
            if machine.life == life { try take(machine, turn) }
        case .deliver(let envelope): deliver(envelope)
        case .unreachable(let member, let life, let peer):
            let machine = machines[member]
            if machine.life == life { hand(machine, .unreachable(machines[peer].id)) }
        case .disconnected(let member, let life, let peer):
            let machine = machines[member]
            if machine.life == life { hand(machine, .disconnected(machines[peer].id)) }
        case .snapshotChunk(let transfer): try continueTransfer(transfer)
        case .client(let client, let request): try wakeClient(client, request)
        case .watcher(let watcher): try wakeWatcher(watcher)
        case .nemesis: try disturb()
        case .start(let member): if phase != .majority || !isLeftOut(member) { try start(machines[member]) }
        case .resume(let member, let life):
            if machines[member].life == life { try resume(machines[member]) }
        case .heal(let fault): heal(fault)
        case .damage: try damage()
        case .operate: try operate()
        case .probe(let member): try probe(machines[member])
        }
        return true
    }

    private func runSafety() throws(Violation) {
        while step < options.stepsMax, now < 120 * Duration.second {
            guard try advance() else { break }
            if step % 2000 == 0 { try checkLogs() }
        }
        try checkLogs()
    }

    /// A number in a range of times.
    func time(_ range: Range<UInt64>) -> UInt64 {
        range.lowerBound + UInt64(random.next(in: 0..<Int(range.upperBound - range.lowerBound)))
    }
}

/// Something that was broken and will be mended.
struct Fault {
    enum Kind {
        case cut([(from: Int, to: Int)])
        case fullDisk(member: Int)
    }

    var kind: Kind
    var isOver = false
}
