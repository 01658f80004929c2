import Primitives
import RaftCore

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
    /// Whether the log is compacted, or only evicted from memory.
    let compacts: Bool
    let redrawOneIn: Int
    let tickWeight: Int
    /// Which swarm options this seed has, to print with a failure.
    let label: String

    init(seed: UInt64) {
        random = PRNG(seed: seed)
        let voters = [1, 2, 3, 3, 3, 3, 5, 5][random.next(in: 0..<8)]
        let total = voters + random.next(in: 0..<3)
        lossOneIn = [1_000_000, 50, 10][random.next(in: 0..<3)]
        duplicateOneIn = [1_000_000, 20][random.next(in: 0..<2)]
        reorderOneIn = [1_000_000, 10, 2][random.next(in: 0..<3)]
        crashOneIn = [1_000_000, 1000, 200][random.next(in: 0..<3)]
        changesMembership = random.chance(oneIn: 2)
        compacts = random.chance(oneIn: 2)
        redrawOneIn = [400, 1000, 3000][random.next(in: 0..<3)]
        tickWeight = [2, 4, 10][random.next(in: 0..<3)]
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
            if random.chance(oneIn: redrawOneIn) { redrawCuts() }
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
        switch random.next(in: 0..<100 + tickWeight) {
        case 0..<42: deliverOne(to: node)
        case 42..<60: if node.raft.hasReady { node.takeReady() }
        case 60..<70: if !node.writing.isEmpty { node.finishWrites(random.next(in: 1..<node.writing.count + 1)) }
        case 70..<77: if !node.applying.isEmpty { node.apply(random.next(in: 1..<node.applying.count + 1)) }
        case 77..<87: _ = try? node.raft.propose((0...random.next(in: 0..<3)).map { _ in nextPayload() })
        case 87..<89: ask(node)
        case 89..<97: housekeep(node)
        case 97: if changesMembership { proposeChange(node) }
        case 98, 99: disturb(node)
        default: node.raft.tick()
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
        switch random.next(in: 0..<9) {
        case 0...2: node.persist()
        case 3...5: node.raft.evict(through: node.disk.image.last.index)
        case 6, 7:
            guard compacts else { return }
            node.persist()
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
        if random.chance(oneIn: 3) { return }
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
