import Primitives
import RaftCore
import Testing

/// Elections. Tests are named by the section of the paper (p) or the thesis (t) whose rule they check.
@Suite struct ElectionTests {
    @Test func p52_followersStartCampaignsAfterARandomTimeout() {
        var timeouts: Set<Int> = []
        for seed in 0..<200 as Range<UInt64> {
            let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: threeVoterDisk(), seed: seed)
            var ticks = 0
            while node.raft.role == .follower {
                node.raft.tick()
                ticks += 1
            }
            timeouts.insert(ticks)
        }
        #expect(timeouts == Set(10..<20))
    }

    /// Else one that dies as a leader, its term forgotten, is voted for again and leads the term twice.
    @Test func t38_candidatesAskOnceTheirVoteIsDurable() {
        let options = RaftConfiguration(id: MemberID(1), preVote: false)
        let node = TestNode(options: options, disk: threeVoterDisk(), seed: 1)
        node.raft.campaign()
        node.takeReady()
        #expect(node.outgoing.isEmpty)
        node.run()
        #expect(node.outgoing.map(\.message.type) == [.vote, .vote])
        #expect(node.disk.hardState.vote == MemberID(1) && node.disk.hardState.term == Term(1))
    }

    private func threeVoterDisk() -> TestDisk {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [MemberID(1), MemberID(2), MemberID(3)])
        return disk
    }

    @Test(arguments: [1, 2, 3, 5, 7]) func p52_majorityElects(_ voters: Int) {
        let cluster = TestCluster(voters: voters)
        cluster.elect(1)
        #expect(cluster.leaders == [1])
        for node in cluster.nodes {
            #expect(node.raft.term == Term(1))
            #expect(node.raft.leader == MemberID(1))
            #expect(node.raft.commit == LogIndex(1))
        }
    }

    @Test func p52_minorityDoesNotElect() {
        let cluster = TestCluster(voters: 5) { $0.preVote = false }
        cluster.partition([1, 2], [3, 4, 5])
        cluster.elect(1)
        #expect(cluster.leaders == [])
        #expect(cluster[1].raft.role == .candidate)
    }

    @Test func p52_oneVotePerTerm() throws {
        let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: threeVoterDisk(), seed: 1)
        func ask(_ from: UInt64) throws -> Message {
            try node.step(
                Envelope(message: Message(type: .vote, to: MemberID(1), from: MemberID(from), term: Term(3))))
            node.run()
            defer { node.outgoing = [] }
            return try #require(node.outgoing.last?.message)
        }
        #expect(try ask(2).reject == false)
        #expect(try ask(3).reject)
        #expect(try ask(2).reject == false)
        #expect(node.disk.hardState.vote == MemberID(2))
    }

    @Test func t38_voteLeavesOnlyOnceItIsDurable() throws {
        let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: threeVoterDisk(), seed: 1)
        try node.step(Envelope(message: Message(type: .vote, to: MemberID(1), from: MemberID(2), term: Term(3))))
        node.takeReady()
        #expect(node.outgoing.isEmpty)
        node.finishWrites(1)
        #expect(node.outgoing.map(\.message.type) == [.voteResponse])
    }

    @Test func t38_voteSurvivesARestart() throws {
        let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: threeVoterDisk(), seed: 1)
        try node.step(Envelope(message: Message(type: .vote, to: MemberID(1), from: MemberID(2), term: Term(3))))
        node.run()
        node.crash(survivors: 0)
        node.restart(keepAll: true, seed: 2)
        try node.step(Envelope(message: Message(type: .vote, to: MemberID(1), from: MemberID(3), term: Term(3))))
        node.run()
        #expect(node.outgoing.map(\.message.reject) == [true])
    }

    @Test func p52_candidateReturnsToFollowerWhenALeaderAppears() throws {
        let cluster = TestCluster(voters: 3) { $0.preVote = false }
        cluster.partition([1], [2, 3])
        cluster.elect(1)
        cluster.elect(2)
        #expect(cluster[1].raft.role == .candidate)
        cluster.heal()
        cluster.tick([2])
        #expect(cluster[1].raft.role == .follower)
        #expect(cluster[1].raft.leader == MemberID(2))
    }

    @Test func p51_staleTermIsRefusedAndNewerTermFollowed() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        cluster.tick([2, 3], times: 40)
        let newLeader = cluster.leaders.last { $0 != 1 }
        #expect(newLeader != nil)
        #expect(cluster.leaders.contains(1))
        cluster.heal()
        cluster.tick([1])
        #expect(cluster.leaders == [newLeader])
        #expect(cluster[1].raft.term == cluster[2].raft.term)
    }

    @Test(arguments: [
        ([1, 1] as [UInt64], [1] as [UInt64], true), ([1], [1, 1], false), ([1, 2], [1, 1, 1], true),
        ([1, 1, 1], [1, 2], false), ([1, 2], [1, 2], true),
    ])
    func p541_onlyAnUpToDateLogIsVotedFor(_ candidate: [UInt64], _ voter: [UInt64], _ wins: Bool) {
        let cluster = TestCluster(voters: 2, logs: [candidate, voter]) { $0.preVote = false }
        // The voter's term is reached first.
        for _ in 0..<3 { cluster.elect(1) }
        #expect(cluster.leaders == (wins ? [1] : []))
    }

    @Test func t96_preVoteKeepsAnIsolatedMemberFromRaisingTheTerm() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 2], [3])
        cluster.tick(times: 60)
        #expect(cluster[3].raft.term == Term(1))
        #expect(cluster[3].raft.role == .preCandidate)
        cluster.heal()
        cluster.tick(times: 3)
        #expect(cluster.leaders == [1])
        #expect(cluster[3].raft.role == .follower)
        #expect(cluster[1].raft.term == Term(1))
    }

    @Test func t423_candidatesAreIgnoredWhileALeaderIsHeardFrom() {
        let cluster = TestCluster(voters: 3) { $0.preVote = false }
        cluster.elect(1)
        cluster.elect(2)
        #expect(cluster.leaders == [1])
        #expect(cluster[3].raft.term == Term(1))
        // The leader learns the term from the candidate's answer, and a member that forgot its leader votes.
        cluster[3].raft.forgetLeader()
        cluster.tick([1], times: 2)
        cluster.elect(2)
        #expect(cluster[2].raft.term > Term(1))
    }

    @Test func t62_leaderWithoutAQuorumStepsDown() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        cluster.tick([1], times: 9)
        #expect(cluster.leaders == [1])
        cluster.tick([1], times: 11)
        #expect(cluster.leaders == [])
    }

    @Test func leaderWithAQuorumStays() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 2], [3])
        cluster.tick([1, 2], times: 50)
        #expect(cluster.leaders == [1])
    }

    @Test func ownVoteCountsOnlyOnceDurable() throws {
        let node = TestNode(
            options: RaftConfiguration(id: MemberID(1), preVote: false), disk: threeVoterDisk(), seed: 1)
        node.raft.campaign()
        node.takeReady()
        try node.step(
            Envelope(message: Message(type: .voteResponse, to: MemberID(1), from: MemberID(2), term: Term(1))))
        #expect(node.raft.role == .candidate)
        node.finishWrites(1)
        #expect(node.raft.role == .leader)
    }

    @Test func doubledVoteCountsOnce() throws {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: (1...5).map { MemberID($0) })
        let node = TestNode(options: RaftConfiguration(id: MemberID(1), preVote: false), disk: disk, seed: 1)
        node.raft.campaign()
        node.run()
        for _ in 0..<3 {
            try node.step(
                Envelope(message: Message(type: .voteResponse, to: MemberID(1), from: MemberID(2), term: Term(1))))
        }
        #expect(node.raft.role == .candidate)
    }

    @Test func strangersVotesDoNotCount() throws {
        let node = TestNode(
            options: RaftConfiguration(id: MemberID(1), preVote: false), disk: threeVoterDisk(), seed: 1)
        node.raft.campaign()
        node.run()
        for id in 7...9 as ClosedRange<UInt64> {
            try node.step(
                Envelope(message: Message(type: .voteResponse, to: MemberID(1), from: MemberID(id), term: Term(1))))
        }
        #expect(node.raft.role == .candidate)
    }

    @Test func learnerNeverCampaigns() {
        let cluster = TestCluster(voters: 1, learners: 1)
        cluster.tick([2], times: 100)
        cluster[2].raft.campaign()
        #expect(cluster[2].raft.role == .follower)
        #expect(cluster[2].raft.term == .zero)
    }

    @Test func noCampaignWithUnappliedMembershipChange() throws {
        let cluster = TestCluster(voters: 2, spares: 1)
        cluster.elect(1)
        // Member 2 gets the change committed but does not apply it.
        let change = ConfigurationChange([.init(.addLearner, MemberID(3))])
        try cluster[1].raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
        for _ in 0..<4 {
            cluster[1].run()
            for envelope in cluster[1].outgoing where envelope.message.to == MemberID(2) {
                try cluster[2].step(envelope)
            }
            cluster[1].outgoing = []
            while cluster[2].raft.hasReady { cluster[2].takeReady() }
            cluster[2].finishWrites(9)
            for envelope in cluster[2].outgoing { try cluster[1].step(envelope) }
            cluster[2].outgoing = []
        }
        #expect(cluster[2].raft.commit == LogIndex(2))
        #expect(cluster[2].raft.applied < LogIndex(2))
        cluster[2].raft.campaign()
        #expect(cluster[2].raft.role == .follower)
        while cluster[2].raft.hasReady { cluster[2].takeReady() }
        cluster[2].apply(9)
        cluster[2].raft.campaign()
        #expect(cluster[2].raft.role == .preCandidate)
    }
}
