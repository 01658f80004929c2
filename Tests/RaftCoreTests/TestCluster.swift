import Primitives
import RaftCore

/// Members with a network under the test's control: messages are delivered in order, unless the test filters them.
final class TestCluster {
    var nodes: [TestNode] = []
    var network: [Envelope] = []
    /// Returns false for messages to lose.
    var filter: (Message) -> Bool = { _ in true }
    var errors: [RaftError] = []
    /// Every message that was delivered.
    var delivered: [Message] = []

    /// Members 1 to `voters` vote, the next `learners` learn, `spares` more know nothing yet.
    /// `logs` are the terms of the entries that the first members have; `term` is the least those have reached.
    init(
        voters: Int, learners: Int = 0, spares: Int = 0, logs: [[UInt64]] = [], term: UInt64 = 0,
        _ adjust: (inout RaftConfiguration) -> Void = { _ in }
    ) {
        let ids = (1...UInt64(voters + learners + spares)).map { MemberID($0) }
        let configuration = ConfigurationState(
            voters: Array(ids.prefix(voters)), learners: Array(ids.dropFirst(voters).prefix(learners)))
        for (position, id) in ids.enumerated() {
            var options = RaftConfiguration(id: id)
            adjust(&options)
            let disk = TestDisk()
            if position < voters + learners { disk.image.configuration = configuration }
            if position < logs.count {
                for (offset, term) in logs[position].enumerated() {
                    disk.entries.append(
                        Entry(term: Term(term), index: LogIndex(UInt64(offset + 1)), payload: Bytes([UInt8(term)])))
                }
                disk.hardState.term = Term(max(term, logs[position].last ?? 0))
            }
            nodes.append(TestNode(options: options, disk: disk, seed: id.rawValue))
        }
    }

    subscript(id: UInt64) -> TestNode { nodes[Int(id) - 1] }

    var leaders: [UInt64] { nodes.filter { $0.raft.role == .leader }.map(\.id.rawValue) }

    /// Cuts every link between members of different groups; members in no group are alone.
    func partition(_ groups: [UInt64]...) {
        filter = { message in
            groups.contains { $0.contains(message.from.rawValue) && $0.contains(message.to.rawValue) }
        }
    }

    func heal() { filter = { _ in true } }

    /// Lets everybody work and delivers messages until nothing is left to do.
    func settle() {
        repeat {
            for node in nodes {
                node.run()
                network += node.outgoing
                node.outgoing = []
            }
            let batch = network
            network = []
            for envelope in batch { deliver(envelope) }
        } while !network.isEmpty || nodes.contains { $0.raft.hasReady || !$0.outgoing.isEmpty }
    }

    func deliver(_ envelope: Envelope) {
        let message = envelope.message
        let passes = filter(message)
        if message.type == .snapshot {
            self[message.from.rawValue].raft.reportSnapshot(to: message.to, succeeded: passes)
        }
        guard passes else { return }
        delivered.append(message)
        do throws(RaftError) { try self[message.to.rawValue].step(envelope) } catch { errors.append(error) }
    }

    func tick(_ ids: [UInt64]? = nil, times: Int = 1) {
        for _ in 0..<times {
            for node in nodes where ids?.contains(node.id.rawValue) ?? true {
                node.raft.tick()
                node.check()
            }
            settle()
        }
    }

    func elect(_ id: UInt64) {
        self[id].raft.campaign()
        settle()
    }

    func propose(_ id: UInt64, _ payload: Bytes) {
        _ = try? self[id].raft.propose([payload])
        settle()
    }

    func change(
        _ id: UInt64, _ changes: [ConfigurationChange.Single],
        transition: ConfigurationChange.Transition = .automatic
    ) throws(ProposalError) {
        let change = ConfigurationChange(changes, transition: transition)
        try self[id].raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
        settle()
    }
}
