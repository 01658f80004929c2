import Primitives
import RaftCore
import Testing

/// Linearizable reads. Source: the thesis, section 6.4.
@Suite struct ReadIndexTests {
    private func heartbeats(_ node: TestNode) -> Int { node.outgoing.count { $0.message.type == .heartbeat } }

    @Test func t64_leaderAsksAQuorum() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        try cluster[1].raft.readIndex(context: 7)
        cluster[1].run()
        #expect(cluster[1].readStates.isEmpty)
        cluster.settle()
        cluster[1].run()
        #expect(cluster[1].readStates == [ReadState(context: 7, index: LogIndex(2))])
    }

    @Test func t64_leaderWithoutAQuorumAnswersNothing() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        try cluster[1].raft.readIndex(context: 7)
        cluster.tick([1], times: 5)
        #expect(cluster[1].readStates.isEmpty)
        cluster.tick([1], times: 20)
        #expect(cluster[1].abortedReads == [7])
    }

    @Test func t64_oneRoundServesAllThatArrivedBefore() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        for context in 1...50 as ClosedRange<UInt64> { try cluster[1].raft.readIndex(context: context) }
        cluster[1].run()
        #expect(heartbeats(cluster[1]) == 2)
        // Those that arrive later wait for rounds of their own, of which few are in flight.
        for context in 51...90 as ClosedRange<UInt64> {
            try cluster[1].raft.readIndex(context: context)
            cluster[1].run()
        }
        #expect(heartbeats(cluster[1]) == 4)
        cluster.settle()
        cluster[1].run()
        #expect(cluster[1].readStates.map(\.context) == Array(1...90))
    }

    @Test func t64_lostHeartbeatsAreRepeated() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1], [2], [3])
        try cluster[1].raft.readIndex(context: 1)
        cluster.settle()
        cluster.heal()
        cluster.tick([1])
        #expect(cluster[1].readStates.map(\.context) == [1])
    }

    @Test func t64_waitsForAnEntryOfTheOwnTerm() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.filter = { $0.type != .append }
        cluster[2].raft.forgetLeader()
        cluster[3].raft.forgetLeader()
        cluster.elect(2)
        #expect(cluster.leaders.contains(2))
        try cluster[2].raft.readIndex(context: 1)
        cluster.tick([2, 3], times: 3)
        #expect(cluster[2].readStates.isEmpty)
        cluster.heal()
        cluster.tick([2], times: 3)
        #expect(cluster[2].readStates == [ReadState(context: 1, index: LogIndex(3))])
    }

    @Test func t64_followersAskTheLeader() throws {
        let cluster = TestCluster(voters: 3, learners: 1)
        #expect(throws: ReadIndexError.noLeader) { try cluster[2].raft.readIndex(context: 1) }
        cluster.elect(1)
        cluster.propose(1, "a")
        for id in 2...4 as ClosedRange<UInt64> { try cluster[id].raft.readIndex(context: 40 + id) }
        cluster.settle()
        for id in 2...4 as ClosedRange<UInt64> {
            cluster[id].run()
            #expect(cluster[id].readStates == [ReadState(context: 40 + id, index: LogIndex(2))])
        }
    }

    @Test func learnersDoNotConfirm() throws {
        let cluster = TestCluster(voters: 3, learners: 2)
        cluster.elect(1)
        cluster.partition([1, 4, 5], [2, 3])
        try cluster[1].raft.readIndex(context: 1)
        cluster.tick([1], times: 3)
        #expect(cluster[1].readStates.isEmpty)
    }

    @Test func singleVoterAnswersWithoutARound() throws {
        let cluster = TestCluster(voters: 1, learners: 1)
        cluster.elect(1)
        cluster.partition([1], [2])
        cluster[1].outgoing = []
        try cluster[1].raft.readIndex(context: 1)
        cluster[1].run()
        #expect(cluster[1].readStates.map(\.context) == [1])
        #expect(heartbeats(cluster[1]) == 0)
    }

    @Test func waitingReadsAreBounded() throws {
        let cluster = TestCluster(voters: 3) { $0.pendingReadsMax = 2 }
        cluster.elect(1)
        try cluster[1].raft.readIndex(context: 1)
        try cluster[1].raft.readIndex(context: 2)
        #expect(throws: ReadIndexError.tooManyPending) { try cluster[1].raft.readIndex(context: 3) }
        cluster.settle()
        try cluster[1].raft.readIndex(context: 3)
    }

    @Test func aRoundOfTheFutureIsNotConfirmed() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        let lie = Message(
            type: .heartbeatResponse, to: MemberID(1), from: MemberID(2), term: Term(1),
            context: Bytes([0, 0, 0, 0, 0, 0, 0, 9]))
        try cluster[1].step(Envelope(message: lie))
        try cluster[1].raft.readIndex(context: 1)
        cluster[1].run()
        #expect(cluster[1].readStates.isEmpty)
    }

    @Test func readsAreConfirmedWhenTheQuorumShrinks() throws {
        let cluster = TestCluster(voters: 2)
        cluster.elect(1)
        let change = ConfigurationChange([.init(.removeMember, MemberID(2))])
        cluster.filter = { $0.type != .heartbeat }
        try cluster[1].raft.readIndex(context: 1)
        cluster.settle()
        #expect(cluster[1].readStates.isEmpty)
        try cluster[1].raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
        cluster.settle()
        #expect(cluster[1].raft.configurationState.voters == [MemberID(1)])
        #expect(cluster[1].readStates.map(\.context) == [1])
    }
}
