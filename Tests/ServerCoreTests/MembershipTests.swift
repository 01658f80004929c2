import IOInterfaces
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

@Suite struct MembershipTests {
    private static func refusal(_ outcome: ApplyOutcome?) -> MembershipError? {
        if case .refused(.membership(let error)) = outcome { error } else { nil }
    }

    /// Adds member `id` to the table and starts it.
    private static func join(
        _ world: ClusterWorld, _ id: UInt64, isLearner: Bool = true
    ) throws -> ClusterWorld.Node {
        let leader = try world.elect()
        let member = ClusterWorld.member(id, isLearner: isLearner)
        let request = world.change(leader, .add(member, learnersMax: 1))
        try world.wait("the member is added") { world.outcome(request, at: leader) != nil }
        guard case .response = world.outcome(request, at: leader) else { throw Mismatch("member \(id) was refused") }
        // A snapshot holds what is persisted.
        try world.persist(leader)
        return try world.add(member.id, .joining(clusterID: ClusterWorld.clusterID, members: [member]))
    }

    @Test("A learner joins by an image, is promoted, and the leader is removed", arguments: 0..<10 as Range<UInt64>)
    func grow(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 3)
        var leader = try world.elect()
        for number in 0..<30 { world.put(leader, Bytes(utf8: "k\(number)")) }
        try world.settle()
        let learner = try Self.join(world, 4)
        #expect(learner.store?.appliedIndex == .zero && learner.core?.replica.configuration.voters == [])
        try world.settle()
        #expect(learner.installs == 1 && learner.store?.currentRevision == 31)
        #expect(learner.core?.replica.configuration.learners == [MemberID(4)])
        try world.restart(learner)
        try world.settle()
        leader = try world.elect()
        let promotion = world.change(leader, .promote(MemberID(4)))
        try world.settle()
        guard case .response = world.outcome(promotion, at: leader) else { throw Mismatch("no promotion") }
        #expect(learner.core?.replica.configuration.voters.count == 4)
        // The leader goes; the others go on, with a follower's proposal.
        let removal = world.change(leader, .remove(leader.id))
        try world.wait("another leader") { world.leader.map { $0 !== leader } ?? false }
        #expect(world.outcome(removal, at: leader) != nil)
        world.crash(leader)
        let follower = world.nodes.first { $0.driver != nil && $0 !== world.leader }!
        let put = world.put(follower)
        try world.settle()
        #expect(world.outcome(put, at: follower) != nil)
        let published = follower.core!.stateMachine.published.withLock { $0 }
        #expect(published.removed == [leader.id] && published.members.count == 3)
        for node in world.nodes where node !== leader { try world.restart(node) }
        try world.settle()
        let again = follower.core!.stateMachine.published.withLock { $0 }
        #expect(again.removed == [leader.id] && again.members == published.members)
    }

    @Test("From one voter to two and back, with writes all the while", arguments: 0..<20 as Range<UInt64>)
    func oneTwoOne(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 1)
        let sole = world.nodes[0]
        try world.run()
        var ids: [UInt64] = []
        for round in 0..<3 {
            for _ in 0..<3 { ids.append(world.put(sole)) }
            let id = UInt64(10 + round)
            let member = ClusterWorld.member(id, isLearner: world.random.chance(oneIn: 2))
            let added = world.change(sole, .add(member, learnersMax: 0))
            for _ in 0..<5 {
                ids.append(world.put(sole))
                // Turns as they come: some entries are durable before the change is applied, some not.
                for turn in [MemberTurn.replica, .log, .apply] where world.random.chance(oneIn: 2) {
                    if sole.driver!.hasWork(turn) { try sole.driver!.take(turn, itemsMax: 1) }
                }
            }
            try world.run()
            #expect(world.outcome(added, at: sole) != nil)
            #expect(sole.core?.replica.hasPeers == true)
            #expect(sole.core?.replica.isSoleVoter == member.isLearner)
            try world.persist(sole)
            let other = try world.add(member.id, .joining(clusterID: ClusterWorld.clusterID, members: []))
            try world.settle()
            ids.append(world.put(other))
            try world.settle()
            #expect(sole.core?.replica.isLeader == true)
            let removed = world.change(sole, .remove(member.id))
            for _ in 0..<5 { ids.append(world.put(sole)) }
            try world.wait("the removal") { world.outcome(removed, at: sole) != nil }
            world.crash(other)
            try world.run()
            #expect(sole.core?.replica.isSoleVoter == true && sole.core?.replica.hasPeers == false)
            for _ in 0..<3 { ids.append(world.put(sole)) }
            try world.run()
        }
        for id in ids { #expect(world.outcome(id, at: sole) != nil, "\(id)") }
        try world.restart(sole)
        try world.settle()
        #expect(sole.store?.currentRevision == Int64(ids.count + 1))
    }

    @Test("Changes are refused with etcd's reasons, alike on all members")
    func refusals() throws {
        let world = try ClusterWorld(seed: 1, count: 3)
        let leader = try world.elect()
        func refused(_ change: MemberTable.Change) throws -> MembershipError? {
            let id = world.change(leader, change)
            try world.settle()
            return Self.refusal(world.outcome(id, at: leader))
        }
        var member = ClusterWorld.member(2)
        #expect(try refused(.add(member, learnersMax: 1)) == .memberExists)
        member.id = MemberID(9)
        #expect(try refused(.add(member, learnersMax: 1)) == .peerURLExists)
        #expect(try refused(.update(MemberID(1), peerURLs: ["http://p:2"])) == .peerURLExists)
        #expect(try refused(.update(MemberID(7), peerURLs: [])) == .memberNotFound)
        #expect(try refused(.remove(MemberID(7))) == .memberNotFound)
        #expect(try refused(.promote(MemberID(7))) == .memberNotFound)
        #expect(try refused(.promote(MemberID(1))) == .notLearner)
        #expect(try refused(.add(ClusterWorld.member(8, isLearner: true), learnersMax: 1)) == nil)
        #expect(try refused(.add(ClusterWorld.member(9, isLearner: true), learnersMax: 1)) == .tooManyLearners)
        #expect(try refused(.update(MemberID(2), peerURLs: ["http://new:1"])) == nil)
        #expect(try refused(.remove(MemberID(8))) == nil)
        // A removed identity never comes back.
        #expect(try refused(.add(ClusterWorld.member(8), learnersMax: 1)) == .memberNotFound)
        for node in world.nodes {
            let state = node.core!.stateMachine.published.withLock { $0 }
            #expect(state.members[1].peerURLs == ["http://new:1"] && state.removed == [MemberID(8)])
        }
    }

    @Test("Bytes that are no change of one member have no effect")
    func malformed() throws {
        let world = try ClusterWorld(seed: 2, count: 3)
        let leader = try world.elect()
        let changes = ConfigurationChange([.init(.removeMember, MemberID(3))])
        for payload in [Bytes([0xff]), Bytes(), Bytes([0x12, 0x04, 0x08, 0x01, 0x10, 0x03])] {
            leader.driver?.deliver(
                .proposeChange(id: 5, change: changes, kind: .configurationChangeV2, payload: payload))
            try world.settle()
        }
        #expect(leader.core?.replica.configuration.voters.count == 3)
    }

    @Test("An image is installed, or not, whatever is cut short", arguments: 0..<10 as Range<UInt64>)
    func installCrashes(seed: UInt64) throws {
        for crash in ClusterWorld.InstallCrash.allCases {
            let world = try ClusterWorld(seed: seed, count: 3) { options in
                options.log.retainedBytes = 0
                options.log.segmentBytes = 4096
                options.replica.recentEntriesBytesMax = 0
            }
            let leader = try world.elect()
            let lagging = world.nodes.first { $0 !== leader }!
            world.put(leader)
            try world.settle()
            world.isolate(lagging)
            for number in 0..<150 {
                world.put(leader, Bytes(utf8: "k\(number)"), Bytes([UInt8](repeating: 1, count: 100)))
                try world.run()
            }
            for node in world.nodes where node !== lagging { try world.persist(node) }
            world.installCrash = crash
            world.isolate(lagging, false)
            try world.tick(2)
            if crash != .none {
                #expect(lagging.driver == nil)
                let attempts = try Self.openWithFaults(world, lagging)
                // An attempt that failed may have got as far.
                if attempts == 1 { #expect(lagging.core?.recovery.hasInstalledImage == (crash == .afterRename)) }
            }
            try world.settle()
            #expect(lagging.installs == (crash == .afterRename ? 0 : 1))
            #expect(lagging.store?.currentRevision == 152)
            try world.restart(lagging)
            #expect(lagging.core?.recovery.hasInstalledImage == false)
            try world.settle()
        }
    }

    /// Opens a member, failing at every operation of the file system in turn, and losing power each time. Returns the
    /// number of attempts.
    private static func openWithFaults(_ world: ClusterWorld, _ node: ClusterWorld.Node) throws -> Int {
        if world.random.chance(oneIn: 2) {
            try world.open(node)
            return 1
        }
        for number in 1...40 {
            node.fileSystem.inject(MemoryFault(after: number, errno: MemoryFault.inputOutputError))
            do {
                try world.open(node)
                // The fault is still ahead: nothing has failed.
                node.fileSystem.clearFaults()
                return number
            } catch let error where error is StartError || error is IOError {
                world.crash(node)
            }
        }
        throw Mismatch("never opened")
    }

    @Test("An image whose last entry the log holds leaves the log as it is")
    func installKeepsLog() throws {
        let world = try ClusterWorld(seed: 4, count: 3)
        let leader = try world.elect()
        for _ in 0..<10 { world.put(leader) }
        try world.settle()
        try world.persist(leader)
        let follower = world.nodes.first { $0 !== leader }!
        for _ in 0..<10 { world.put(leader) }
        try world.settle()
        let last = follower.core!.replica.lastIndex
        // The image of ten puts ago, as if it had come just now.
        world.crash(follower)
        follower.backend = leader.backend
        let store = try #require(leader.store).numbers().persistedIndex
        #expect(store < last)
        try world.open(follower)
        #expect(follower.core?.recovery.hasInstalledImage == false && follower.core?.replica.lastIndex == last)
        follower.backend = MemoryBackend()
    }

    @Test("A joiner whose start is interrupted joins all the same; founders found once")
    func interruptedStarts() throws {
        let world = try ClusterWorld(seed: 5, count: 3)
        let learner = try Self.join(world, 4)
        for _ in 0..<3 { try world.restart(learner) }
        // Its flags are of no account any more.
        learner.options.founding = .new(clusterID: 7, members: [ClusterWorld.member(4)])
        try world.restart(learner)
        #expect(learner.core?.identity.clusterID == ClusterWorld.clusterID)
        try world.settle()
        #expect(learner.installs == 1)
        // A founder that dies between its log and its store.
        let node = world.node(1)
        for number in 1...60 {
            let options = node.options
            let fresh = ClusterWorld.Node(id: MemberID(1), seed: UInt64(number), options: options)
            fresh.fileSystem.inject(MemoryFault(after: number, errno: MemoryFault.inputOutputError))
            try? world.open(fresh)
            fresh.backend.failCommit(number: 1, outcome: number % 2 == 0 ? .lost : .stored)
            try? world.open(fresh)
            world.crash(fresh)
            try world.open(fresh)
            #expect(fresh.store?.appliedIndex == LogIndex(1) && fresh.core?.replica.configuration.voters.count == 3)
        }
    }

    @Test("One member makes a new cluster of what it has", arguments: 0..<10 as Range<UInt64>)
    func forceNewCluster(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 3)
        let leader = try world.elect()
        var survivor = world.nodes[Int(seed % 3)]
        if seed % 2 == 0 {
            survivor = try Self.join(world, 4)
            try world.settle()
        }
        let count: Int64 = 12
        var last: UInt64 = 0
        for _ in 0..<count { last = world.put(leader) }
        try world.settle()
        #expect(world.outcome(last, at: survivor) != nil)
        if seed % 4 < 2 { try world.persist(survivor) }
        for node in world.nodes { world.crash(node) }
        survivor.options.forceNewCluster = true
        // Twice: the second time there is nothing left to do.
        for round in 0..<2 {
            try world.open(survivor)
            #expect(survivor.core!.recovery.membersForcedOut.isEmpty == (round == 1))
            try world.run()
            #expect(survivor.core?.replica.isReadyLeader == true && survivor.core?.replica.isSoleVoter == true)
            #expect(survivor.store?.currentRevision == count + 1)
            if round == 0 { world.crash(survivor) }
        }
        let put = world.put(survivor)
        try world.run()
        #expect(world.outcome(put, at: survivor) != nil)
        let state = survivor.core!.stateMachine.published.withLock { $0 }
        #expect(state.members.map(\.id) == [survivor.id] && state.members[0].isLearner == false)
        #expect(state.removed.count == (seed % 2 == 0 ? 3 : 2))
        survivor.options.forceNewCluster = false
        try world.restart(survivor)
        try world.run()
        #expect(survivor.store?.currentRevision == count + 2)
    }
}
