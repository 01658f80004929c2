import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import StateMachine
import Synchronization
import Testing
import WriteAheadLog

/// Anything may happen to anybody; in the end all agree, and nothing that was applied anywhere is lost. `ClusterWorld`
/// compares every applied entry, the state's hash and the configuration after each step.
@Suite struct ClusterChaosTests {
    private struct Run {
        let world: ClusterWorld
        var nextMember: UInt64 = 10
        var proposed = 0

        init(seed: UInt64) throws {
            var random = PRNG(seed: seed)
            let recent = [0, 2000, 32 << 20][random.next(in: 0..<3)]
            let retained = [0, 8 << 10, 1 << 20][random.next(in: 0..<3)]
            world = try ClusterWorld(seed: random.next(), count: random.next(in: 1..<5)) { options in
                options.replica.recentEntriesBytesMax = recent
                options.replica.logReadBytesMax = 1000
                options.log.segmentBytes = 4096
                options.log.retainedBytes = retained
            }
            world.isNetworkBad = random.chance(oneIn: 2)
        }

        mutating func step() throws {
            let node = world.nodes[world.random.next(in: 0..<world.nodes.count)]
            switch world.random.next(in: 0..<30) {
            case 0..<8:
                for _ in 0..<world.random.next(in: 1..<6) {
                    let key = Bytes(utf8: "k\(world.random.next(in: 0..<20))")
                    world.put(node, key, Bytes([UInt8](repeating: 1, count: 99)))
                    proposed += 1
                }
            case 8: _ = world.read(node)
            case 9..<14: try world.tick(world.random.next(in: 1..<4))
            case 14: try world.tick(world.random.next(in: 10..<30))
            case 15: try world.persist(node)
            case 16: world.isolate(node)
            case 17: world.cutLinks.insert([node.id, world.nodes[world.random.next(in: 0..<world.nodes.count)].id])
            case 18..<20: world.cutLinks = []
            case 20, 21: if node.driver != nil { world.crash(node, losesPower: world.random.chance(oneIn: 2)) }
            case 22..<25:
                for node in world.nodes where node.driver == nil && world.random.chance(oneIn: 2) {
                    try world.open(node)
                }
            case 25:
                let target = world.nodes[world.random.next(in: 0..<world.nodes.count)]
                node.driver?.deliver(.transferLeadership(to: target.id))
            case 26: node.driver?.deliver(.abdicate)
            case 27: world.installCrash = world.random.chance(oneIn: 2) ? .afterRename : .beforeRename
            case 28: try changeMembers(node)
            default:
                if world.random.chance(oneIn: 3) { node.driver?.isLogStalled.toggle() }
            }
            if world.random.chance(oneIn: 2) { try world.run() }
            buryRemoved()
        }

        private mutating func changeMembers(_ node: ClusterWorld.Node) throws {
            guard node.driver?.isLeader == true else { return }
            let others = world.nodes.map(\.id).filter { $0 != node.id }
            switch world.random.next(in: 0..<3) {
            case 0 where world.nodes.count < 6:
                let member = ClusterWorld.member(nextMember, isLearner: world.random.chance(oneIn: 2))
                nextMember += 1
                _ = world.change(node, .add(member, learnersMax: 0))
                try world.add(member.id, .joining(clusterID: ClusterWorld.clusterID, members: []))
            case 1: for other in others { _ = world.change(node, .promote(other)) }
            default:
                guard others.count > 2, let victim = others.randomElement(using: &world.random) else { return }
                _ = world.change(node, .remove(victim))
            }
        }

        /// Stops members that know themselves, or are known, to be removed.
        private func buryRemoved() {
            var removed: Set<MemberID> = []
            for node in world.nodes {
                let state = node.core?.stateMachine.published.withLock { $0 }
                removed.formUnion(state?.removed ?? [])
            }
            for node in world.nodes where removed.contains(node.id) { world.forget(node) }
        }

        mutating func heal() throws {
            world.cutLinks = []
            world.isNetworkBad = false
            world.installCrash = .none
            for node in world.nodes {
                node.driver?.isLogStalled = false
                if node.driver == nil { try world.open(node) }
            }
            // A member whose addition never came through waits for ever.
            try world.elect()
            try world.tick(30)
            try world.elect()
            let members = Set(world.leader!.core!.stateMachine.published.withLock { $0.members.map(\.id) })
            for node in world.nodes where !members.contains(node.id) { world.forget(node) }
            try world.persist(world.leader!)
            try world.settle(ticksMax: 300)
        }
    }

    @Test("Whatever happens, members agree in the end", arguments: 0..<60 as Range<UInt64>)
    func chaos(seed: UInt64) throws {
        var run = try Run(seed: seed)
        for _ in 0..<250 { try run.step() }
        try run.heal()
        let world = run.world
        let put = world.put(world.nodes[0])
        try world.settle()
        let outcome = world.outcome(put, at: world.leader!)
        #expect(outcome != nil)
        #expect(Set(world.nodes.map { $0.store!.stateHash }).count == 1)
        let tables = world.nodes.map { node in node.core!.stateMachine.published.withLock { $0.members } }
        #expect(tables.allSatisfy { $0 == tables[0] })
    }
}
