import Foundation
import Primitives
import RaftCore
import Testing

/// A cluster under a hostile scheduler: messages are lost, doubled, delayed and reordered, links are cut, disks are
/// slow, members crash and lose what was not durable, membership changes. All drawn from one seed.
final class Simulation {
    var random: PRNG
    var nodes: [TestNode] = []
    var network: [Envelope] = []
    var checker = SafetyChecker()
    var reads: [UInt64: LogIndex] = [:]
    var readsAnswered = 0
    var cut: Set<UInt64> = []
    var proposals = 0
    var isHealed = false
    var crashesWhileWriting = 0
    var jointSeen = 0
    var readsAborted = 0
    let lossOneIn: Int
    let duplicateOneIn: Int
    let reorderOneIn: Int
    let crashOneIn: Int
    let changesMembership: Bool
    /// Which swarm options this seed has, to print with a failure.
    let label: String

    init(seed: UInt64) {
        random = PRNG(seed: seed)
        let voters = [1, 2, 3, 3, 3, 5][random.next(in: 0..<6)]
        let total = voters + random.next(in: 0..<3)
        lossOneIn = [1_000_000, 50, 10][random.next(in: 0..<3)]
        duplicateOneIn = [1_000_000, 20][random.next(in: 0..<2)]
        reorderOneIn = [1_000_000, 10, 2][random.next(in: 0..<3)]
        crashOneIn = [1_000_000, 400, 100][random.next(in: 0..<3)]
        changesMembership = random.chance(oneIn: 2)
        let ids = (1...UInt64(total)).map { MemberID($0) }
        var options = RaftConfiguration(id: MemberID(1))
        options.electionTicks = [3, 5, 10][random.next(in: 0..<3)]
        options.preVote = !random.chance(oneIn: 4)
        options.checkQuorum = !random.chance(oneIn: 4)
        options.messageBytesMax = [40, 200, 1 << 20][random.next(in: 0..<3)]
        options.inflightMessagesMax = [1, 3, 256][random.next(in: 0..<3)]
        options.inflightBytesMax = max(options.messageBytesMax, [100, 1 << 20][random.next(in: 0..<2)])
        options.applyBatchBytesMax = [50, 1 << 20][random.next(in: 0..<2)]
        options.applyOutstandingBytesMax = [100, 1 << 20][random.next(in: 0..<2)]
        options.uncommittedBytesMax = [20, 1 << 20][random.next(in: 0..<2)]
        for (position, id) in ids.enumerated() {
            options.id = id
            let disk = TestDisk()
            if position < voters {
                // The founding membership is no log entry: as after a restore from a backup, the log begins behind a
                // snapshot, which a member that joins gets.
                disk.compacted = SafetyChecker.foundation
                disk.hardState = HardState(term: disk.compacted.term, commit: disk.compacted.index)
                disk.image.last = disk.compacted
                disk.image.configuration = ConfigurationState(voters: Array(ids.prefix(voters)))
            }
            nodes.append(TestNode(options: options, disk: disk, seed: random.next()))
        }
        label = """
            seed \(seed): \(voters)/\(total) members, loss 1/\(lossOneIn), duplicates 1/\(duplicateOneIn), \
            reorder 1/\(reorderOneIn), crash 1/\(crashOneIn), preVote \(options.preVote), \
            checkQuorum \(options.checkQuorum), changes \(changesMembership), message \(options.messageBytesMax)
            """
    }

    // MARK: Phases

    func rage(steps: Int) {
        for _ in 0..<steps {
            let position = random.next(in: 0..<nodes.count)
            act(nodes[position])
            if random.chance(oneIn: 200) { redrawCuts() }
        }
    }

    /// No more faults: everybody runs, and time passes until all agree. Returns false when that takes too long.
    func heal() -> Bool {
        cut = []
        isHealed = true
        defer { isHealed = false }
        for node in nodes where !node.isUp { restart(node) }
        for node in nodes { node.disk.isBusy = false }
        for round in 0..<600 {
            for node in nodes {
                node.raft.tick()
                settleOnce(node)
            }
            for _ in 0..<8 { deliverAll() }
            if round % 20 == 10 {
                for node in nodes where node.raft.role == .leader {
                    _ = try? node.raft.propose([nextPayload()])
                    ask(node)
                    settleOnce(node)
                }
            }
            if round > 40, hasConverged { return true }
        }
        return false
    }

    private func deliverAll() {
        let batch = network
        network = []
        for envelope in batch { deliver(envelope) }
        for node in nodes { settleOnce(node) }
    }

    private func settleOnce(_ node: TestNode) {
        for _ in 0..<4 {
            if node.raft.hasReady { node.takeReady() }
            node.finishWrites(node.writing.count)
            // Before a membership change is applied: what is committed was committed by the old quorum.
            check(node)
            node.apply(node.applying.count)
            check(node)
            collect(node)
        }
    }

    /// One leader, and every member of its configuration has applied all of its log, which has no membership change
    /// in it that is still to be finished.
    var hasConverged: Bool {
        guard let leader = nodes.filter({ $0.raft.role == .leader }).max(by: { $0.raft.term < $1.raft.term }) else {
            return false
        }
        let state = leader.raft.configurationState
        if state.isJoint && state.autoLeave || leader.raft.lastIndex != leader.raft.applied { return false }
        return nodes.allSatisfy { node in
            !state.contains(node.id) || (node.image == leader.image && node.raft.leader == leader.id)
        }
    }

    /// A line per member, for failures.
    var status: String {
        var text = ""
        for node in nodes {
            let raft = "\(node.raft.role) term \(node.raft.term.rawValue) leader \(node.raft.leader.rawValue)"
            let log = "log \(node.raft.firstIndex.rawValue)...\(node.raft.lastIndex.rawValue)"
            let indexes = "commit \(node.raft.commit.rawValue) applied \(node.raft.applied.rawValue)"
            text += "\(node.id.rawValue): \(raft) \(log) \(indexes) \(describe(node.raft.configurationState))"
            if node.raft.role == .leader {
                for (member, progress) in node.raft.progress {
                    text += " [\(member.rawValue) \(progress.state) \(progress.match.rawValue)]"
                }
            }
            text += "\n"
        }
        return text
    }

    private func describe(_ state: ConfigurationState) -> String {
        let sets = [state.voters, state.votersOutgoing, state.learners].map { $0.map { "\($0.rawValue)" } }
        return "voters \(sets[0]) outgoing \(sets[1]) learners \(sets[2])"
    }

    // MARK: One step

    private func act(_ node: TestNode) {
        if !node.isUp {
            if random.chance(oneIn: 20) { restart(node) }
            return
        }
        if random.chance(oneIn: crashOneIn) {
            if !node.writing.isEmpty { crashesWhileWriting += 1 }
            node.crash(survivors: random.next(in: 0..<node.writing.count + 1))
            return
        }
        switch random.next(in: 0..<100) {
        case 0..<42: deliverOne(to: node)
        case 42..<60: if node.raft.hasReady { node.takeReady() }
        case 60..<70: if !node.writing.isEmpty { node.finishWrites(random.next(in: 1..<node.writing.count + 1)) }
        case 70..<77: if !node.applying.isEmpty { node.apply(random.next(in: 1..<node.applying.count + 1)) }
        case 77..<84: node.raft.tick()
        case 84..<90: _ = try? node.raft.propose((0...random.next(in: 0..<3)).map { _ in nextPayload() })
        case 90..<92: ask(node)
        case 92..<97: housekeep(node)
        case 97: if changesMembership { proposeChange(node) }
        default: disturb(node)
        }
        check(node)
        collect(node)
    }

    private func nextPayload() -> Bytes {
        proposals += 1
        return Bytes(utf8: "p\(proposals)")
    }

    private func ask(_ node: TestNode) {
        let context = UInt64(reads.count + 1)
        reads[context] = checker.appliedMax
        try? node.raft.readIndex(context: context)
    }

    private func housekeep(_ node: TestNode) {
        switch random.next(in: 0..<8) {
        case 0...2: node.persist()
        case 3...5: node.raft.evict(through: node.disk.image.last.index)
        case 6:
            let index = node.disk.image.last.index
            if node.disk.entry(at: index) != nil, node.raft.compactLog(through: index) {
                node.disk.compact(through: index)
            }
        default:
            node.disk.isBusy.toggle()
            node.raft.retryReplication()
        }
    }

    private func proposeChange(_ node: TestNode) {
        let steps: [ConfigurationChange.Step] = [.addVoter, .addVoter, .removeMember, .addLearner]
        let changes = (0...random.next(in: 0..<3)).map { _ in
            ConfigurationChange.Single(
                steps[random.next(in: 0..<4)], MemberID(UInt64(random.next(in: 1..<nodes.count + 1))))
        }
        let transitions: [ConfigurationChange.Transition] = [.automatic, .jointImplicit]
        let change = ConfigurationChange(changes, transition: transitions[random.next(in: 0..<2)])
        _ = try? node.raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
    }

    private func disturb(_ node: TestNode) {
        switch random.next(in: 0..<4) {
        case 0: node.raft.transferLeadership(to: MemberID(UInt64(random.next(in: 1..<nodes.count + 1))))
        case 1: node.raft.campaign()
        case 2: node.raft.forgetLeader()
        default: node.raft.reportUnreachable(MemberID(UInt64(random.next(in: 1..<nodes.count + 1))))
        }
    }

    private func restart(_ node: TestNode) {
        node.restart(keepAll: random.chance(oneIn: 2), seed: random.next())
        check(node)
    }

    private func redrawCuts() {
        cut = []
        if random.chance(oneIn: 2) { return }
        if random.chance(oneIn: 2) {
            // One member alone, for long enough that the others go on without it.
            let alone = UInt64(random.next(in: 1..<nodes.count + 1))
            for node in nodes {
                cut.insert(alone << 8 | node.id.rawValue)
                cut.insert(node.id.rawValue << 8 | alone)
            }
            return
        }
        for a in nodes {
            for b in nodes where random.chance(oneIn: 3) { cut.insert(a.id.rawValue << 8 | b.id.rawValue) }
        }
    }

    // MARK: Network

    private func collect(_ node: TestNode) {
        for envelope in node.outgoing {
            let message = envelope.message
            let isLost =
                !isHealed && (random.chance(oneIn: lossOneIn) || network.count > 400)
                || cut.contains(message.from.rawValue << 8 | message.to.rawValue)
            if isLost {
                lose(envelope)
                continue
            }
            network.append(envelope)
            if random.chance(oneIn: duplicateOneIn), message.snapshot == nil { network.append(envelope) }
        }
        node.outgoing = []
        for state in node.readStates {
            guard let floor = reads[state.context] else { continue }
            invariant(state.index >= floor, "a read would miss what was acknowledged before it: \(label)")
            readsAnswered += 1
        }
        readsAborted += node.abortedReads.count
        node.readStates = []
        node.abortedReads = []
        if node.raft.configurationState.isJoint { jointSeen += 1 }
    }

    private func lose(_ envelope: Envelope) {
        guard envelope.message.type == .snapshot else { return }
        nodes[Int(envelope.message.from.rawValue) - 1].raft.reportSnapshot(to: envelope.message.to, succeeded: false)
    }

    private func deliverOne(to node: TestNode) {
        let candidates = network.indices.filter { network[$0].message.to == node.id }
        guard let first = candidates.first else { return }
        let position = random.chance(oneIn: reorderOneIn) ? candidates[random.next(in: 0..<candidates.count)] : first
        deliver(network.remove(at: position))
    }

    private func deliver(_ envelope: Envelope) {
        let node = nodes[Int(envelope.message.to.rawValue) - 1]
        guard node.isUp else { return lose(envelope) }
        if envelope.message.type == .snapshot {
            let sender = nodes[Int(envelope.message.from.rawValue) - 1]
            sender.raft.reportSnapshot(to: node.id, succeeded: true)
        }
        do throws(RaftError) {
            try node.step(envelope)
        } catch {
            switch error {
            case .proposalDropped, .unknownSender: break
            case .misaddressed, .malformed, .contradictsCommitted, .lostDurableEntries:
                invariantFailed("\(error) from \(envelope.message): \(label)")
            }
        }
        check(node)
    }

    private func check(_ node: TestNode) {
        node.check()
        checker.check(node, among: nodes, label)
    }
}

/// The properties of figure 3 of the paper, over all members and all time.
struct SafetyChecker {
    /// The entry that the founding members' snapshot stands at.
    static let foundation = EntryID(term: Term(1), index: LogIndex(1))

    private var leaders: [Term: MemberID] = [:]
    /// Every entry ever committed, with the term of the member that was first seen to have it committed.
    private var committed = [(entry: Entry(term: foundation.term, index: foundation.index), term: foundation.term)]
    private var committedMax = foundation.index
    var leadersCount: Int { leaders.count }
    /// The last index anybody has applied: a client may have been told of it.
    var appliedMax: LogIndex = .zero

    mutating func check(_ node: TestNode, among nodes: [TestNode], _ label: String) {
        guard node.isUp else { return }
        checkLeader(node, label)
        checkCommit(node, nodes, label)
        checkApplied(node, label)
    }

    /// Election safety: at most one leader per term. Leader completeness: it has all that earlier terms committed.
    private mutating func checkLeader(_ node: TestNode, _ label: String) {
        guard node.raft.role == .leader else { return }
        let term = node.raft.term
        if let known = leaders[term] {
            invariant(known == node.id, "two leaders in term \(term): \(label)")
            return
        }
        leaders[term] = node.id
        for (entry, commitTerm) in committed where commitTerm < term && entry.index >= node.raft.firstIndex {
            invariant(
                node.raft.logTerm(at: entry.index) == entry.term, "leader lacks \(entry.index): \(label)")
        }
    }

    /// What is committed was durable on a quorum before anybody called it committed.
    private mutating func checkCommit(_ node: TestNode, _ nodes: [TestNode], _ label: String) {
        let commit = node.raft.commit
        if commit <= committedMax { return }
        let voters = JointQuorum(
            incoming: MajorityQuorum(node.raft.configurationState.voters),
            outgoing: MajorityQuorum(node.raft.configurationState.votersOutgoing))
        var index = committedMax.advanced(by: 1)
        while index <= commit {
            let term = node.raft.logTerm(at: index)
            let result = voters.result { member in
                let disk = nodes[Int(member.rawValue) - 1].disk
                return index <= disk.compacted.index || disk.entry(at: index)?.term == term
            }
            invariant(result == .won, "\(index) committed without a quorum's disks: \(label)")
            let holder = nodes.first { $0.disk.entry(at: index)?.term == term }
            guard let entry = holder?.disk.entry(at: index) else {
                invariantFailed("\(index) is committed and nowhere durable: \(label)")
            }
            committed.append((entry, node.raft.term))
            index = index.advanced(by: 1)
        }
        committedMax = commit
    }

    /// State machine safety: all apply the same entry at each index, and none that is not committed.
    private mutating func checkApplied(_ node: TestNode, _ label: String) {
        for entry in node.applied {
            invariant(entry.index <= committedMax, "applied before it was committed: \(label)")
            let known = committed[Int(entry.index.rawValue) - 1].entry
            invariant(known == entry, "different entries applied at \(entry.index): \(label)")
        }
        node.applied = []
        appliedMax = max(appliedMax, node.image.last.index)
    }

    /// The state a member must have after applying through `index`.
    func payloads(through index: LogIndex) -> [Bytes] {
        committed.prefix(Int(index.rawValue)).map(\.entry)
            .filter { !$0.kind.changesConfiguration && !$0.payload.isEmpty }.map(\.payload)
    }
}

/// The figure-3 properties over many seeds; then liveness once faults stop.
@Suite struct SimulationTests {
    /// `MARTLET_SEEDS=N` runs N seeds, `MARTLET_SEED=S` only S.
    static let seeds: Range<UInt64> = {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["MARTLET_SEED"].flatMap(UInt64.init) { return seed..<seed + 1 }
        return 0..<(environment["MARTLET_SEEDS"].flatMap(UInt64.init) ?? 60)
    }()

    @Test(arguments: seeds) func safetyAndConvergence(_ seed: UInt64) {
        let simulation = Simulation(seed: seed)
        for _ in 0..<3 {
            simulation.rage(steps: 2500)
            let converged = simulation.heal()
            #expect(converged, "\(simulation.label)\n\(simulation.status)")
            if !converged { return }
            for node in simulation.nodes {
                #expect(node.image.payloads == simulation.checker.payloads(through: node.image.last.index))
            }
            simulation.checkLogMatching()
        }
        #expect(simulation.readsAnswered > 0)
    }

    /// The faults and paths the simulation is there for do occur.
    @Test func exercisesWhatItIsFor() {
        var counts = [Int](repeating: 0, count: 8)
        for seed in 0..<25 as Range<UInt64> {
            let simulation = Simulation(seed: seed)
            simulation.rage(steps: 6000)
            counts[0] += simulation.nodes.reduce(0) { $0 + $1.disk.reads }
            counts[1] += simulation.nodes.reduce(0) { $0 + $1.disk.truncations }
            counts[2] += simulation.nodes.reduce(0) { $0 + $1.disk.installs }
            counts[3] += simulation.crashesWhileWriting
            counts[4] += simulation.jointSeen
            counts[5] += simulation.readsAnswered
            counts[6] += simulation.readsAborted
            counts[7] += simulation.checker.leadersCount
        }
        #expect(counts.allSatisfy { $0 > 20 }, "\(counts)")
    }
}

extension Simulation {
    /// Log matching: where two logs have the same term at an index, they are the same before.
    func checkLogMatching() {
        for a in nodes {
            for b in nodes where a.id < b.id {
                var index = min(a.raft.lastIndex, b.raft.lastIndex)
                var mustMatch = false
                while index >= max(a.raft.firstIndex, b.raft.firstIndex) {
                    let same = a.raft.logTerm(at: index) == b.raft.logTerm(at: index)
                    invariant(same || !mustMatch, "logs match at an index and differ before it: \(label)")
                    mustMatch = mustMatch || same
                    index = index.advanced(by: -1)
                }
            }
        }
    }
}
