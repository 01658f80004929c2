import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import StateMachine
import Testing
import WriteAheadLog

@Suite struct ClusterTests {
    @Test("Three members elect, replicate, and answer at every one of them", arguments: 0..<20 as Range<UInt64>)
    func replicates(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 3)
        let leader = try world.elect()
        let ids = world.nodes.map { world.put($0, Bytes(utf8: "k\($0.id.rawValue)")) }
        try world.settle()
        for node in world.nodes {
            #expect(node.store?.currentRevision == 4)
            for id in ids { #expect(world.outcome(id, at: node) != nil) }
        }
        let reads = world.nodes.map { world.read($0) }
        try world.run()
        for (node, read) in zip(world.nodes, reads) { #expect(node.readable == [read]) }
        #expect(world.leader === leader && !leader.core!.replica.isSoleVoter && leader.core!.replica.hasPeers)
    }

    @Test("A follower's read waits for the leader's index, and is asked again when the answer is lost")
    func readsAtFollower() throws {
        let world = try ClusterWorld(seed: 3, count: 3)
        let leader = try world.elect()
        let follower = world.nodes.first { $0 !== leader }!
        world.cutLinks = [[leader.id, follower.id]]
        let read = world.read(follower)
        let others = (0..<3).map { _ in world.read(follower) }
        try world.run()
        #expect(follower.readable.isEmpty)
        world.put(leader)
        try world.run()
        world.cutLinks = []
        try world.tick(6)
        #expect(follower.readable == [read] + others && follower.refused.isEmpty)
        #expect(follower.store!.currentRevision == 2)
    }

    @Test("Without a leader proposals and reads wait, and go through when there is one", arguments: [false, true])
    func held(comesBack: Bool) throws {
        let world = try ClusterWorld(seed: 5, count: 3)
        let old = try world.elect()
        world.crash(old)
        let node = world.nodes.first { $0.driver != nil }!
        let other = world.nodes.last { $0.driver != nil }!
        world.isolate(node)
        // The old leader is thought to lead until an election timeout has passed; what goes to it then is lost.
        try world.wait("the leader is missed") { node.core!.replica.leader == .none }
        let put = world.put(node)
        let read = world.read(node)
        try world.tick(5)
        if comesBack { world.isolate(node, false) } else { world.crash(other) }
        try world.wait(ticksMax: 200, "an answer") {
            world.outcome(put, at: node) != nil && !node.readable.isEmpty || !node.dropped.isEmpty
        }
        if comesBack {
            #expect(node.dropped.isEmpty && node.readable == [read])
        } else {
            #expect(node.dropped.map(\.id) == [put] && node.dropped.first?.error == .noLeader)
            #expect(node.refused == [read])
            // It is not forwarded later.
            world.isolate(node, false)
            try world.open(old)
            try world.open(other)
            try world.settle()
            #expect(world.outcome(put, at: node) == nil)
        }
    }

    @Test("Proposals during a transfer go to the next leader; what only a leader may propose does not")
    func transfer() throws {
        let world = try ClusterWorld(seed: 6, count: 3)
        let old = try world.elect()
        let target = world.nodes.first { $0 !== old }!
        old.driver?.deliver(.transferLeadership(to: target.id))
        let put = world.put(old)
        let payload = Operation.put(PutOperation(key: "x", value: "v")).payload(id: 99)
        old.driver?.propose(Proposal(id: 99, payload: payload, isLeaderOnly: true))
        try world.settle()
        #expect(world.leader === target)
        #expect(world.outcome(put, at: old) != nil && world.outcome(put, at: target) != nil)
        #expect(old.dropped.map(\.id) == [99] && world.outcome(99, at: target) == nil)
    }

    @Test("Members restart one by one and all at once", arguments: 0..<10 as Range<UInt64>)
    func restarts(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 3)
        for round in 0..<6 {
            let leader = try world.elect()
            for number in 0..<20 { world.put(leader, Bytes(utf8: "k\(number)"), Bytes(utf8: "\(round)")) }
            try world.settle()
            if round % 2 == 0 { try world.persist(leader) }
            if round % 3 == 2 {
                for node in world.nodes { world.crash(node) }
                for node in world.nodes { try world.open(node) }
                #expect(world.leader == nil)
            } else {
                try world.restart(world.nodes[round % 3])
            }
        }
        try world.settle()
        #expect(world.nodes.allSatisfy { $0.store?.currentRevision == 121 })
    }

    @Test("A follower that lags is served from memory, then from the log on disk, then with an image")
    func lagging() throws {
        for (bytes, retained) in [(32 << 20, 1 << 20), (2000, 1 << 20), (2000, 0)] {
            let world = try ClusterWorld(seed: 7, count: 3) { options in
                options.replica.recentEntriesBytesMax = bytes
                options.replica.logReadBytesMax = 3000
                options.log.segmentBytes = 4096
                options.log.retainedBytes = retained
            }
            let leader = try world.elect()
            let lagging = world.nodes.first { $0 !== leader }!
            world.isolate(lagging)
            for number in 0..<100 {
                world.put(leader, Bytes(utf8: "k\(number)"), Bytes([UInt8](repeating: 7, count: 200)))
                try world.run()
            }
            for node in world.nodes where node !== lagging { try world.persist(node) }
            try world.tick(2)
            world.isolate(lagging, false)
            try world.settle()
            let reads = world.nodes.reduce(0) { $0 + $1.logReads }
            #expect((reads > 0) == (bytes == 2000 && retained > 0), "\(reads) reads")
            #expect(lagging.installs == (retained == 0 ? 1 : 0))
            #expect(lagging.store?.currentRevision == 101)
        }
    }

    @Test("A leader whose disk hangs hands leadership over, or steps down")
    func stalledDisk() throws {
        let world = try ClusterWorld(seed: 8, count: 3)
        let old = try world.elect()
        world.put(old)
        try world.settle()
        old.driver?.isLogStalled = true
        let id = world.put(old)
        try world.run()
        old.driver?.deliver(.abdicate)
        try world.wait(ticksMax: 5, "another leader") { world.leader !== old && world.leader != nil }
        #expect(world.outcome(id, at: world.leader!) != nil || world.leader!.core!.replica.commit >= LogIndex(3))
        old.driver?.isLogStalled = false
        try world.settle()
        #expect(world.outcome(id, at: old) != nil)
        // Nobody can take over: two members, and the other one is away.
        let two = try ClusterWorld(seed: 9, count: 2)
        let leader = try two.elect()
        two.isolate(leader)
        leader.driver?.isLogStalled = true
        leader.driver?.deliver(.abdicate)
        try two.tick(12)
        #expect(leader.driver?.isLeader == false)
        // The only voter has nobody to give it to.
        let one = try ClusterWorld(seed: 10, count: 1)
        let sole = try one.elect()
        sole.driver?.deliver(.abdicate)
        try one.tick(30)
        #expect(sole.driver?.isLeader == true)
    }

    @Test("A member whose disk hangs never leads: it would forget its term and lead it twice")
    func stalledCandidate() throws {
        let world = try ClusterWorld(seed: 14, count: 3)
        let old = try world.elect()
        world.crash(old)
        let node = world.nodes.first { $0.driver != nil }!
        node.driver?.isLogStalled = true
        // Nobody else is elected, and nobody is in the old leader's lease.
        world.isolate(node)
        try world.tick(25)
        world.isolate(node, false)
        try node.driver?.campaign()
        try world.run()
        #expect(node.core?.replica.role == .candidate && node.core?.replica.term == Term(3))
        node.driver?.isLogStalled = false
        try world.settle()
    }

    @Test("A restart starts no election at once, except of the only voter")
    func quietStart() throws {
        for advances in [false, true] {
            let world = try ClusterWorld(seed: 11, count: 3) { $0.advancesFirstElection = advances }
            try world.run()
            #expect(world.nodes.allSatisfy { $0.core?.replica.term == Term(1) && $0.core?.replica.role == .follower })
            var ticks = 0
            while world.leader == nil {
                try world.tick()
                ticks += 1
            }
            #expect(advances ? ticks <= 10 : ticks >= 10, "\(ticks) ticks")
        }
        let sole = try ClusterWorld(seed: 12, count: 1)
        try sole.run()
        #expect(sole.leader != nil)
    }

    @Test("A lease that was renewed runs its full time after a change of leaders, checkpoint or not")
    func leases() throws {
        let second: UInt64 = 1_000_000_000
        let world = try ClusterWorld(seed: 15, count: 3) { options in
            options.leases.checkpointIntervalNanoseconds = 5 * second
        }
        let old = try world.elect()
        world.propose(old, .grant(id: 7, ttlSeconds: 20))
        try world.settle()
        // Long enough for a checkpoint.
        try world.tick(60)
        #expect(world.nodes.allSatisfy { $0.core?.lessor.record(of: LeaseID(7))?.remainingSeconds ?? 0 > 0 })
        #expect(world.nodes.filter { $0.core?.lessor.isPrimary == true }.map(\.id) == [old.id])
        #expect(try old.core?.lessor.renew(id: LeaseID(7), now: world.now) == .pending)
        try world.tick(1)
        let renewal = try old.core?.lessor.renew(id: LeaseID(7), now: world.now)
        #expect(renewal == .renewed(ttlSeconds: 20))
        let renewedAt = world.now
        world.crash(old)
        let leader = try world.elect()
        #expect(leader !== old)
        let left = try #require(try leader.core?.lessor.timeToLive(id: LeaseID(7), now: world.now))
        let promised = 20 - Int64((world.now - renewedAt) / second)
        #expect(left.remainingSeconds >= promised && left.remainingSeconds <= 21)
        // It ends, through the log, on all members.
        try world.tick(250)
        #expect(world.nodes.allSatisfy { $0.core.map { $0.lessor.record(of: LeaseID(7)) == nil } ?? true })
    }

    @Test("Hashes of the state are equal on all members, after restarts and images too")
    func hashes() throws {
        let world = try ClusterWorld(seed: 13, count: 3) { options in
            options.log.retainedBytes = 0
            options.log.segmentBytes = 4096
            options.replica.recentEntriesBytesMax = 0
        }
        let leader = try world.elect()
        let lagging = world.nodes.first { $0 !== leader }!
        for number in 0..<600 {
            if number == 50 { world.isolate(lagging) }
            world.put(leader, Bytes(utf8: "k\(number % 7)"), Bytes(utf8: "\(number)"))
            if number % 10 == 0 { try world.run() }
            if number == 400 {
                try world.persist(leader)
                world.isolate(lagging, false)
                try world.settle()
            }
        }
        try world.settle()
        #expect(lagging.installs == 1)
        let marks = world.nodes.map { $0.core!.stateMachine.hashes.marks }
        #expect(marks.contains { $0.map(\.index.rawValue) == [256, 512] })
        #expect(lagging.core!.stateMachine.hashes.marks.map(\.index.rawValue) == [512])
        for mark in marks { #expect(StateHashes.firstDifference(marks[0], mark) == nil) }
        let other = [StateHashMark(index: LogIndex(256), hash: marks[0][0].hash &+ 1)]
        #expect(StateHashes.firstDifference(marks.first { $0.count == 2 }!, other) == LogIndex(256))
    }
}
