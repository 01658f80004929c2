import Primitives
import RaftCore

/// The members of one script and the network between them. Everything that happens is written down in `trace`, in the
/// words of the scripts. A member's disk and state machine work at once, unless a script makes one wait.
final class ScriptCluster {
    /// What is told of a member when it changes.
    private struct View: Equatable {
        var role: Role
        var term: Term
        var vote: MemberID
        var leader: MemberID
        var commit: LogIndex
    }

    let nodes: [TestNode]
    /// Messages under way, oldest first.
    private(set) var network: [Envelope] = []
    /// A message that one of these matches is lost when its turn comes.
    var cuts: [(Message) -> Bool] = []
    /// Lines, each with its end; emptied by whoever reads it.
    var trace = ""
    /// For the messages of invariants: file and line.
    var label = ""
    /// Whether messages delivered are written down, or only what comes of them.
    var showsMessages = true
    /// Members whose writes end by `persist` only, and members that apply by `apply` only.
    private var slowDisks: Set<UInt64> = []
    private var heldAppliers: Set<UInt64> = []
    private var checker: SafetyChecker
    private var views: [View]
    private var restarts: UInt64 = 0

    /// Members 1 to `voters` vote, the next `learners` learn, and `spares` more are in no configuration yet. The founding
    /// configuration stands in no entry: where members may join, the founders' logs begin behind a snapshot with it.
    init(voters: Int, learners: Int, spares: Int, options: RaftConfiguration) {
        let ids = (1...UInt64(voters + learners + spares)).map { MemberID($0) }
        let founders = ConfigurationState(
            voters: Array(ids.prefix(voters)), learners: Array(ids.dropFirst(voters).prefix(learners)))
        let start = spares == 0 ? EntryID.zero : SafetyChecker.foundation
        checker = SafetyChecker(foundation: start)
        nodes = ids.enumerated().map { position, id in
            var options = options
            options.id = id
            let disk = TestDisk()
            if position < voters + learners {
                disk.image.configuration = founders
                disk.image.last = start
                disk.compacted = start
                disk.hardState = HardState(term: start.term, commit: start.index)
            }
            return TestNode(options: options, disk: disk, seed: id.rawValue)
        }
        views = nodes.map(ScriptCluster.view)
    }

    subscript(id: UInt64) -> TestNode { nodes[Int(id) - 1] }

    private static func view(_ node: TestNode) -> View {
        View(
            role: node.raft.role, term: node.raft.term, vote: node.raft.vote, leader: node.raft.leader,
            commit: node.raft.commit)
    }

    private func tell(_ node: TestNode, _ text: String) { trace += "  \(node.id.rawValue): \(text)\n" }

    // MARK: One member

    /// Gives a member that has not begun yet the log and the term it begins with.
    func prepare(_ node: TestNode, terms: [UInt64], term: UInt64) {
        node.disk.entries = terms.enumerated().map { offset, term in
            Entry(term: Term(term), index: LogIndex(UInt64(offset + 1)))
        }
        node.disk.hardState.term = Term(max(term, terms.last ?? 0))
        node.restart(keepAll: true, seed: node.id.rawValue)
        views[Int(node.id.rawValue) - 1] = ScriptCluster.view(node)
    }

    /// Runs `action` on a member that is up, and lets the member do what follows from it.
    func act(_ node: TestNode, _ action: (TestNode) -> Void) {
        guard node.isUp else { return tell(node, "is down") }
        action(node)
        work(node)
    }

    /// Time passes until the member campaigns: two election timeouts at most.
    func tickUntilCampaign(_ node: TestNode) {
        guard node.isUp else { return tell(node, "is down") }
        for _ in 0..<2 * node.options.electionTicks {
            let before = (ScriptCluster.view(node), network.count)
            node.raft.tick()
            work(node)
            let asks = network.dropFirst(before.1).contains { [.vote, .preVote].contains($0.message.type) }
            if asks || before.0 != ScriptCluster.view(node) { return }
        }
        tell(node, "does not campaign")
    }

    func setDisk(_ node: TestNode, slow: Bool) {
        if slow { slowDisks.insert(node.id.rawValue) } else { slowDisks.remove(node.id.rawValue) }
        work(node)
    }

    func setApplier(_ node: TestNode, held: Bool) {
        if held { heldAppliers.insert(node.id.rawValue) } else { heldAppliers.remove(node.id.rawValue) }
        work(node)
    }

    /// The disk answers: `count` writes, oldest first, are reported durable together.
    func finishWrites(_ node: TestNode, _ count: Int) {
        let images = node.writing.prefix(count).compactMap(\.snapshot)
        let before = node.raft.durableIndex
        node.finishWrites(count)
        if slowDisks.contains(node.id.rawValue), node.raft.durableIndex != before || images.isEmpty {
            tell(node, "durable through \(node.raft.durableIndex.rawValue)")
        }
        for image in images { tell(node, "installs the snapshot \(Describe.entry(image.entryID))") }
        check(node)
    }

    /// The state machine applies up to `count` entries, one by one.
    func apply(_ node: TestNode, _ count: Int) {
        for _ in 0..<min(count, node.applying.count) {
            let entry = node.applying[0]
            node.apply(1)
            if entry.kind.changesConfiguration {
                tell(node, "configuration \(Describe.configuration(node.raft.configurationState))")
            } else if heldAppliers.contains(node.id.rawValue) || slowDisks.contains(node.id.rawValue) {
                tell(node, "applies \(Describe.entry(entry))")
            }
            // Applying a change of members may commit, or end leadership.
            check(node)
            note(node)
        }
    }

    func crash(_ node: TestNode, survivors: Int) {
        node.crash(survivors: survivors)
        tell(node, "is down")
    }

    func restart(_ node: TestNode) {
        restarts += 1
        node.restart(keepAll: true, seed: node.id.rawValue + 100 * restarts)
        views[Int(node.id.rawValue) - 1] = ScriptCluster.view(node)
        tell(node, Describe.role(node))
        work(node)
    }

    /// Does all that a member has to do, but for what waits for the script.
    func work(_ node: TestNode) {
        guard node.isUp else { return }
        let id = node.id.rawValue
        check(node)
        note(node)
        var isDone = false
        while !isDone {
            isDone = true
            network += node.outgoing
            node.outgoing = []
            if node.raft.hasReady {
                takeReady(node)
                isDone = false
            }
            if !slowDisks.contains(id), !node.writing.isEmpty {
                finishWrites(node, node.writing.count)
                isDone = false
            }
            note(node)
            if !heldAppliers.contains(id), !node.applying.isEmpty {
                apply(node, node.applying.count)
                isDone = false
            }
        }
    }

    private func takeReady(_ node: TestNode) {
        let before = node.writing.count
        node.takeReady()
        if slowDisks.contains(node.id.rawValue), node.writing.count > before, let ready = node.writing.last {
            if ready.needsAppend { tell(node, "writes \(Describe.write(ready))") }
        }
        for state in node.readStates { tell(node, "read \(state.context) at \(state.index.rawValue)") }
        for context in node.abortedReads { tell(node, "read \(context) aborted") }
        node.readStates = []
        node.abortedReads = []
        check(node)
    }

    /// Writes down what has changed since the last look.
    private func note(_ node: TestNode) {
        let position = Int(node.id.rawValue) - 1
        let (before, now) = (views[position], ScriptCluster.view(node))
        if before == now { return }
        views[position] = now
        var parts: [String] = []
        if (before.role, before.term, before.leader) != (now.role, now.term, now.leader) {
            parts.append(Describe.role(node))
        }
        if now.vote != before.vote, now.vote != .none, now.vote != node.id {
            parts.append("votes for \(now.vote.rawValue)")
        }
        if now.commit != before.commit { parts.append("commits \(now.commit.rawValue)") }
        if !parts.isEmpty { tell(node, parts.joined(separator: "; ")) }
    }

    private func check(_ node: TestNode) {
        node.check()
        checker.check(node, among: nodes, label)
    }

    /// All invariants, between any two commands.
    func checkAll() {
        for node in nodes where node.isUp { check(node) }
        SafetyChecker.checkLogMatching(nodes.filter(\.isUp), label)
    }

    // MARK: The network

    /// Delivers, or loses, the messages that match and are under way now.
    func deliver(where matches: (Message) -> Bool) {
        let batch = network.filter { matches($0.message) }
        network.removeAll { matches($0.message) }
        for envelope in batch { deliver(envelope) }
    }

    /// Delivers until nothing is under way.
    func deliverAll() {
        var count = 0
        while !network.isEmpty {
            deliver(network.removeFirst())
            count += 1
            invariant(count < 10_000, "members never stop talking: \(label)")
        }
    }

    /// Messages under way that match arrive twice, the second time after all others.
    func double(where matches: (Message) -> Bool) { network += network.filter { matches($0.message) } }

    /// The oldest messages under way go to the end.
    func delay(_ count: Int) { network = Array(network.dropFirst(count) + network.prefix(count)) }

    func lose(where matches: (Message) -> Bool) {
        let lost = network.filter { matches($0.message) }
        network.removeAll { matches($0.message) }
        for envelope in lost { lose(envelope) }
    }

    private func lose(_ envelope: Envelope) {
        if showsMessages { trace += "\(Describe.message(envelope.message)) (lost)\n" }
        reportSnapshot(envelope, succeeded: false)
    }

    private func reportSnapshot(_ envelope: Envelope, succeeded: Bool) {
        guard envelope.message.type == .snapshot else { return }
        let sender = self[envelope.message.from.rawValue]
        guard sender.isUp else { return }
        sender.raft.reportSnapshot(to: envelope.message.to, succeeded: succeeded)
        work(sender)
    }

    private func deliver(_ envelope: Envelope) {
        let message = envelope.message
        let receiver = nodes.first { $0.id == message.to && $0.isUp }
        guard let receiver, !cuts.contains(where: { $0(message) }) else { return lose(envelope) }
        if showsMessages { trace += Describe.message(message) + "\n" }
        reportSnapshot(envelope, succeeded: true)
        do throws(RaftError) {
            try receiver.step(envelope)
        } catch {
            tell(receiver, "drops it: \(Describe.error(error))")
        }
        work(receiver)
    }
}
