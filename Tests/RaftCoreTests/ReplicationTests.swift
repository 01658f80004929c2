import Primitives
import RaftCore
import Testing

/// Log replication. Named by the section of the paper (p) or the thesis (t) whose rule they check.
@Suite struct ReplicationTests {
    @Test func p53_aMajorityCommitsAndAllApplyInOrder() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 2], [3])
        for payload in ["a", "b", "c"] as [Bytes] { cluster.propose(1, payload) }
        #expect(cluster[1].image.payloads == ["a", "b", "c"])
        #expect(cluster[2].raft.commit == LogIndex(4))
        #expect(cluster[3].image.payloads == [])
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(cluster[3].image.payloads == ["a", "b", "c"])
    }

    @Test func p53_aMinorityCommitsNothing() {
        let cluster = TestCluster(voters: 5)
        cluster.elect(1)
        cluster.partition([1, 2], [3, 4, 5])
        cluster.propose(1, "x")
        #expect(cluster[1].raft.commit == LogIndex(1))
        #expect(cluster[1].raft.lastIndex == LogIndex(2))
    }

    /// Figure 7 of the paper: whatever a follower's log looks like, it ends up as the leader's.
    @Test(
        arguments: [
            [1, 1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 1, 4], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
            [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], [1, 1, 1, 4, 4, 4, 4], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], [],
        ] as [[UInt64]])
    func p53_figure7(_ log: [UInt64]) {
        let leader: [UInt64] = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
        let cluster = TestCluster(voters: 3, logs: [leader, log, leader], term: 7)
        cluster.partition([1, 3], [2])
        cluster.elect(1)
        #expect(cluster[1].raft.term == Term(8))
        cluster.heal()
        cluster.tick(times: 20)
        cluster.propose(cluster.leaders[0], "end")
        cluster.tick(times: 3)
        #expect(cluster[2].disk.entries == cluster[1].disk.entries)
        #expect(cluster[2].disk.entries.prefix(10).map(\.term.rawValue) == leader)
    }

    @Test func p53_conflictsAreFoundTermByTermNotEntryByEntry() throws {
        let long = [UInt64](repeating: 2, count: 200)
        let cluster = TestCluster(voters: 3, logs: [[1] + [UInt64](repeating: 3, count: 300), [1] + long, [1]])
        cluster.elect(1)
        cluster.elect(1)
        cluster.tick([1], times: 5)
        #expect(cluster[2].disk.entries == cluster[1].disk.entries)
        let rejections = cluster.delivered.count { $0.type == .appendResponse && $0.reject && $0.from == MemberID(2) }
        #expect(rejections > 0 && rejections <= 3)
    }

    /// Figure 8: an entry of an older term is not committed by counting, only behind one of the leader's own.
    @Test func p542_onlyTheOwnTermIsCommittedByCounting() throws {
        let cluster = TestCluster(voters: 3, logs: [[1, 2], [1], [1]])
        cluster.filter = { message in
            // Everything but the new leader's own entry gets through.
            message.type != .append || message.entries.allSatisfy { $0.term < Term(3) }
        }
        cluster.elect(1)
        let leader = cluster[1].raft.term
        #expect(leader == Term(3))
        // Entry 2 is put on a majority by hand, and acknowledged.
        try cluster[1].step(
            Envelope(
                message: Message(
                    type: .appendResponse, to: MemberID(1), from: MemberID(2), term: leader, index: LogIndex(2))))
        cluster[1].run()
        #expect(cluster[1].raft.commit == .zero)
        try cluster[1].step(
            Envelope(
                message: Message(
                    type: .appendResponse, to: MemberID(1), from: MemberID(2), term: leader, index: LogIndex(3))))
        #expect(cluster[1].raft.commit == LogIndex(3))
    }

    @Test func t1021_appendsLeaveBeforeTheLeadersOwnDiskAnswers() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        try cluster[1].raft.propose(["x"])
        cluster[1].takeReady()
        #expect(cluster[1].outgoing.map(\.message.type) == [.append, .append])
        #expect(cluster[1].raft.durableIndex == LogIndex(1))
        // Followers alone commit it, even before the leader's disk has it; the leader applies it only then.
        for envelope in cluster[1].outgoing { try cluster[envelope.message.to.rawValue].step(envelope) }
        cluster[1].outgoing = []
        for id in [2, 3] as [UInt64] {
            cluster[id].run()
            for envelope in cluster[id].outgoing { try cluster[1].step(envelope) }
            cluster[id].outgoing = []
        }
        #expect(cluster[1].raft.commit == LogIndex(2))
        #expect(cluster[1].raft.ready().committed.isEmpty)
        cluster[1].finishWrites(9)
        #expect(cluster[1].raft.ready().committed.map(\.payload) == ["x"])
    }

    @Test func followerAcknowledgesOnlyWhatIsDurable() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        try cluster[1].raft.propose(["x"])
        cluster[1].takeReady()
        try cluster[2].step(cluster[1].outgoing[0])
        cluster[2].takeReady()
        // A doubled append: its acknowledgement waits for the same write.
        try cluster[2].step(cluster[1].outgoing[0])
        cluster[2].takeReady()
        #expect(cluster[2].outgoing.isEmpty)
        #expect(cluster[2].writing.count == 2)
        cluster[2].finishWrites(1)
        #expect(cluster[2].outgoing.map(\.message.index) == [LogIndex(2)])
    }

    @Test func proposalsOfOneBatchShareOneMessage() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        for payload in ["a", "b", "c"] as [Bytes] { try cluster[1].raft.propose([payload]) }
        cluster[1].takeReady()
        #expect(cluster[1].outgoing.map(\.message.entries.count) == [3, 3])
    }

    @Test func messagesAreBoundedInBytes() throws {
        let cluster = TestCluster(voters: 2) { $0.messageBytesMax = 100 }
        cluster.elect(1)
        try cluster[1].raft.propose([Bytes([UInt8](repeating: 1, count: 300))] + [Bytes](repeating: "abc", count: 9))
        cluster.settle()
        let appends = cluster.delivered.filter { $0.type == .append && !$0.entries.isEmpty }.dropFirst()
        #expect(appends.map(\.entries.count) == [1, 2, 2, 2, 2, 1])
        #expect(cluster[2].raft.commit == LogIndex(11))
    }

    @Test func windowBoundsMessagesInFlightAndRecoversFromLosingThemAll() throws {
        let cluster = TestCluster(voters: 2) {
            $0.messageBytesMax = 1
            $0.inflightMessagesMax = 3
        }
        cluster.elect(1)
        cluster.partition([1], [2])
        for _ in 0..<10 { try cluster[1].raft.propose(["x"]) }
        cluster[1].run()
        #expect(cluster[1].outgoing.count { !$0.message.entries.isEmpty } == 3)
        cluster[1].outgoing = []
        cluster.heal()
        cluster.tick([1], times: 4)
        #expect(cluster[2].raft.commit == LogIndex(11))
    }

    @Test func windowBoundsBytesInFlight() throws {
        let cluster = TestCluster(voters: 2) {
            $0.messageBytesMax = 50
            $0.inflightBytesMax = 100
        }
        cluster.elect(1)
        for _ in 0..<10 { try cluster[1].raft.propose(["payload"]) }
        cluster[1].takeReady()
        // 39 bytes each: the third passes the limit and is the last.
        #expect(cluster[1].outgoing.count == 3)
    }

    @Test func uncommittedBytesAreBounded() throws {
        let cluster = TestCluster(voters: 2) { $0.uncommittedBytesMax = 10 }
        cluster.elect(1)
        cluster.partition([1], [2])
        try cluster[1].raft.propose([Bytes([UInt8](repeating: 0, count: 30))])
        #expect(throws: ProposalError.uncommittedBytesExceeded) { try cluster[1].raft.propose(["x"]) }
        try cluster[1].raft.propose([Bytes()])
        cluster.heal()
        cluster.tick([1], times: 3)
        try cluster[1].raft.propose(["x"])
    }

    @Test func followerForwardsProposals() throws {
        let cluster = TestCluster(voters: 3)
        #expect(throws: ProposalError.noLeader) { try cluster[2].raft.propose(["x"]) }
        cluster.elect(1)
        #expect(try cluster[2].raft.propose(["x"]) == .forwarded(to: MemberID(1)))
        cluster.settle()
        #expect(cluster[3].image.payloads == ["x"])
    }

    @Test func unreachableFollowerIsProbed() throws {
        let cluster = TestCluster(voters: 2)
        cluster.elect(1)
        cluster.partition([1], [2])
        cluster.propose(1, "a")
        cluster[1].raft.reportUnreachable(MemberID(2))
        #expect(cluster[1].raft.progress[1].progress.state == .probe)
        for _ in 0..<5 { cluster.propose(1, "b") }
        cluster[1].run()
        cluster.heal()
        cluster.tick([1], times: 2)
        #expect(cluster[2].raft.commit == LogIndex(7))
        #expect(cluster[1].raft.progress[1].progress.state == .replicate)
    }

    @Test func crashLosesWhatWasNotDurableAndNothingElse() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "kept")
        try cluster[1].raft.propose(["lost"])
        cluster[1].takeReady()
        cluster[1].crash(survivors: 0)
        cluster[1].restart(keepAll: true, seed: 5)
        #expect(cluster[1].raft.lastIndex == LogIndex(2))
        cluster.tick(times: 40)
        #expect(cluster.nodes.allSatisfy { $0.image.payloads == ["kept"] })
    }

    @Test func applyingIsBatchedAndBounded() throws {
        var options = RaftConfiguration(id: MemberID(1))
        options.applyBatchBytesMax = 70
        options.applyOutstandingBytesMax = 100
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [MemberID(1)])
        let node = TestNode(options: options, disk: disk, seed: 1)
        node.raft.campaign()
        node.run()
        try node.raft.propose((0..<10).map { Bytes([$0]) })
        node.takeReady()
        node.finishWrites(1)
        var batches: [Int] = []
        while node.raft.hasReady {
            let before = node.applying.count
            node.takeReady()
            batches.append(node.applying.count - before)
        }
        // 33 bytes each: two to a batch, and a second batch because the first left the limit unreached.
        #expect(batches.filter { $0 > 0 } == [2, 2])
        node.apply(2)
        #expect(node.raft.hasReady == true)
        node.run()
        #expect(node.image.payloads.count == 10)
    }
}
