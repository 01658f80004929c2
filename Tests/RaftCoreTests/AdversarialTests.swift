import Primitives
import RaftCore
import Testing

/// Doubts that somebody had, each with the case that would have shown it right.
@Suite struct AdversarialTests {
    private let one = MemberID(1)
    private let two = MemberID(2)
    private let three = MemberID(3)

    private func node(
        _ id: UInt64, voters: [UInt64], learners: [UInt64] = [], terms: [UInt64] = [], term: UInt64,
        _ adjust: (inout RaftConfiguration) -> Void = { _ in }
    ) -> TestNode {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(
            voters: voters.map { MemberID($0) }, learners: learners.map { MemberID($0) })
        disk.entries = terms.enumerated().map { Entry(term: Term($1), index: LogIndex(UInt64($0 + 1))) }
        disk.hardState.term = Term(term)
        var options = RaftConfiguration(id: MemberID(id))
        adjust(&options)
        return TestNode(options: options, disk: disk, seed: id)
    }

    // MARK: Terms

    /// Seed 800642 of the simulator: voters 3 and 4, of which 3 lags and knows only of 1 and 2, that are gone, and has
    /// campaigned among them for long. 4 alone can win, and has to learn of a term that only its own request can ask for.
    @Test func p51_aVoteRequestOfAnOldTermIsAnsweredWithTheTerm() {
        let cluster = TestCluster(voters: 4) { $0.preVote = false }
        cluster.nodes[2] = node(3, voters: [1, 2, 3], terms: [1], term: 100) { $0.preVote = false }
        cluster.nodes[3] = node(4, voters: [3, 4], terms: [1, 2, 2], term: 5) { $0.preVote = false }
        cluster.partition([3, 4])
        // Chance says who campaigns first after 4 has caught up with the term; alone it would need a thousand ticks.
        cluster.tick([3, 4], times: 300)
        #expect(cluster.leaders == [4])
        #expect(cluster[3].raft.leader == MemberID(4))
        #expect(cluster.errors.isEmpty)
    }

    /// An answer of that kind is no vote, and takes no leader of the same term down.
    @Test func aLateRefusalDisturbsNobody() throws {
        let cluster = TestCluster(voters: 3) { $0.preVote = false }
        cluster.elect(1)
        let refusal = Message(
            type: .voteResponse, to: one, from: two, term: Term(1), logTerm: Term(1), commit: LogIndex(1), reject: true)
        try cluster[1].step(Envelope(message: refusal))
        cluster.settle()
        #expect(cluster.leaders == [1])
    }

    // MARK: Transfer

    @Test func t62_wishesForAnotherLeaderDoNotPutOffTheQuorumCheck() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        for tick in 0..<20 {
            cluster[1].raft.transferLeadership(to: tick.isMultiple(of: 2) ? two : three)
            cluster.tick([1])
        }
        #expect(cluster.leaders == [])
    }

    @Test func wishesDoNotPutOffTheEndOfAnAbdication() {
        let cluster = TestCluster(voters: 3) { $0.checkQuorum = false }
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        cluster[1].raft.abdicate()
        for tick in 0..<10 {
            cluster[1].raft.transferLeadership(to: tick.isMultiple(of: 2) ? two : three)
            cluster.tick([1])
        }
        #expect(cluster.leaders == [])
    }

    /// A transfer has a whole election timeout, wherever in the quorum check's it begins.
    @Test(arguments: 0..<10) func aTransferHasItsTime(_ ticksBefore: Int) {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.tick([1], times: ticksBefore)
        cluster.partition([1, 2], [3])
        cluster.propose(1, "a")
        cluster[1].raft.transferLeadership(to: three)
        cluster.tick([1], times: 9)
        #expect(cluster[1].raft.transferTarget == three)
        cluster.tick([1])
        #expect(cluster[1].raft.transferTarget == .none)
        #expect(cluster.leaders == [1])
    }

    /// Confirmations of a round that are on their way while leadership is handed over come too late.
    @Test func t64_aReadIsNotConfirmedAfterATransfer() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "old")
        var late: [Message] = []
        cluster.filter = { message in
            if message.type == .heartbeatResponse, message.to == MemberID(1) { late.append(message) }
            return message.type != .heartbeatResponse
        }
        try cluster[1].raft.readIndex(context: 7)
        cluster.settle()
        #expect(late.count == 2)
        cluster[1].raft.transferLeadership(to: three)
        cluster.settle()
        #expect(cluster.leaders == [3])
        cluster.propose(3, "new")
        for message in late { try cluster[1].step(Envelope(message: message)) }
        cluster.settle()
        #expect(cluster[1].readStates.isEmpty)
        #expect(cluster[1].abortedReads == [7])
    }

    /// The one that took over answers no read before an entry of its own term is committed.
    @Test func t64_theNextLeaderReadsWhatTheLastOneCommitted() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.filter = { $0.type != .append || $0.to != MemberID(3) || $0.commit < LogIndex(2) }
        cluster.propose(1, "a")
        let commit = cluster[1].raft.commit
        #expect(cluster[3].raft.commit < commit)
        cluster.filter = { $0.type != .append || $0.from != MemberID(3) }
        cluster[1].raft.transferLeadership(to: three)
        cluster.settle()
        #expect(cluster.leaders == [3])
        try cluster[3].raft.readIndex(context: 9)
        cluster.settle()
        #expect(cluster[3].readStates.isEmpty)
        cluster.heal()
        cluster.tick([3], times: 3)
        #expect(cluster[3].readStates.map(\.context) == [9])
        #expect(cluster[3].readStates.allSatisfy { $0.index > commit })
    }

    // MARK: Membership

    /// A torn write kept two changes and lost the commit index that came with the second: the first is committed, or the
    /// second would not be there, and no campaign counts with a quorum from before it.
    @Test func aChangeIsCommittedWhenAnotherFollowsIt() throws {
        let changes = [4, 5].map { ChangeCodec.encode(ConfigurationChange([.init(.addVoter, MemberID($0))])) }
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [one, two, three])
        disk.hardState.term = Term(1)
        disk.entries =
            [Entry(term: Term(1), index: LogIndex(1))]
            + changes.enumerated().map {
                Entry(term: Term(1), index: LogIndex(UInt64($0 + 2)), kind: .configurationChangeV2, payload: $1)
            }
        let node = TestNode(options: RaftConfiguration(id: two, preVote: false), disk: disk, seed: 1)
        #expect(node.raft.commit == LogIndex(2))
        node.raft.campaign()
        #expect(node.raft.role == .follower)
        node.run()
        #expect(node.raft.configurationState.voters.count == 4)
        node.raft.campaign()
        node.run()
        // Two of four do not elect.
        try node.step(Envelope(message: Message(type: .voteResponse, to: two, from: three, term: Term(2))))
        #expect(node.raft.role == .candidate)
    }

    /// One that may not campaign yet does not refuse others in the name of a leader that it does not hear.
    @Test func t423_aLeaseEndsAlsoForThoseWhoMayNotCampaign() throws {
        let change = ChangeCodec.encode(ConfigurationChange([.init(.addLearner, MemberID(4))]))
        let member = node(2, voters: [1, 2, 3], term: 1)
        let append = Message(
            type: .append, to: two, from: one, term: Term(1), commit: LogIndex(1),
            entries: [Entry(term: Term(1), index: LogIndex(1), kind: .configurationChangeV2, payload: change)])
        try member.step(Envelope(message: append))
        while member.raft.hasReady { member.takeReady() }
        member.finishWrites(9)
        member.outgoing = []
        for _ in 0..<20 { member.raft.tick() }
        #expect(member.raft.role == .follower)
        let request = Message(
            type: .preVote, to: two, from: three, term: Term(2), logTerm: Term(1), index: LogIndex(1))
        try member.step(Envelope(message: request))
        while member.raft.hasReady { member.takeReady() }
        #expect(member.outgoing.map(\.message.type) == [.preVoteResponse])
        #expect(member.outgoing.allSatisfy { !$0.message.reject })
    }

    /// Only voters' votes count, whoever else answers.
    @Test(arguments: [4, 5] as [UInt64]) func learnersAndRemovedMembersElectNobody(_ voter: UInt64) throws {
        let candidate = node(1, voters: [1, 2, 3], learners: [4], term: 1) { $0.preVote = false }
        candidate.raft.campaign()
        candidate.run()
        try candidate.step(
            Envelope(message: Message(type: .voteResponse, to: one, from: MemberID(voter), term: Term(2))))
        #expect(candidate.raft.role == .candidate)
        try candidate.step(Envelope(message: Message(type: .voteResponse, to: one, from: two, term: Term(2))))
        #expect(candidate.raft.role == .leader)
    }

    /// A snapshot's membership counts, also where the log, which the snapshot replaces, had a later one.
    @Test func p7_aSnapshotBringsItsMembership() throws {
        let change = ChangeCodec.encode(ConfigurationChange([.init(.addVoter, MemberID(4))]))
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [one, two, three])
        disk.hardState.term = Term(2)
        disk.entries = (1...9).map {
            Entry(
                term: Term(2), index: LogIndex($0), kind: $0 == 8 ? .configurationChangeV2 : .normal,
                payload: $0 == 8 ? change : Bytes())
        }
        let member = TestNode(options: RaftConfiguration(id: two, preVote: false), disk: disk, seed: 1)
        let snapshot = SnapshotMetadata(
            configurationState: ConfigurationState(voters: [one, two]), index: LogIndex(5), term: Term(1))
        var image = Image()
        image.last = snapshot.entryID
        image.configuration = snapshot.configurationState
        try member.step(
            Envelope(
                message: Message(type: .snapshot, to: two, from: one, term: Term(3), snapshot: snapshot), image: image))
        member.raft.campaign()
        #expect(member.raft.role == .follower, "its state machine is not in place yet")
        member.run()
        #expect(member.raft.configurationState.voters == [one, two])
        #expect(member.raft.lastIndex == LogIndex(5))
        for _ in 0..<20 { member.raft.tick() }
        member.run()
        #expect(Set(member.outgoing.map(\.message).filter { $0.type == .vote }.map(\.to)) == [one])
    }

    // MARK: Accounts

    /// Whatever ends a window, refusal, unreachability or a new term, its bytes are free again.
    @Test func t102_aWindowThatEndsIsEmpty() {
        let cluster = TestCluster(voters: 3) {
            $0.messageBytesMax = 100
            $0.inflightBytesMax = 300
        }
        func window() -> Inflights? { cluster[1].raft.progress.first { $0.member == MemberID(3) }?.progress.inflights }
        cluster.elect(1)
        cluster.tick([1])
        cluster.partition([1, 2], [3])
        for _ in 0..<10 { cluster.propose(1, Bytes(Array(repeating: 7, count: 80))) }
        #expect(window()?.isFull == true)
        cluster[1].raft.reportUnreachable(three)
        #expect(window()?.bytes == 0 && window()?.count == 0)
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(cluster[3].image.payloads.count == 10)
        #expect(window()?.bytes == 0 && window()?.count == 0)
        // Refused: the member lost its log's end, as a test may let it.
        cluster.partition([1, 2], [3])
        for _ in 0..<10 { cluster.propose(1, Bytes(Array(repeating: 8, count: 80))) }
        #expect(window()?.isFull == true)
        cluster.heal()
        cluster.tick([1], times: 6)
        #expect(cluster[3].image.payloads.count == 20)
        #expect(window()?.bytes == 0 && window()?.count == 0)
    }

    /// A leader counts the tail it took over, and forgets it when it is committed or lost.
    @Test func uncommittedBytesOutliveALeader() throws {
        let cluster = TestCluster(voters: 3) { $0.uncommittedBytesMax = 100 }
        cluster.elect(1)
        let payload = Bytes(Array(repeating: 1, count: 60))
        // Member 2 gets the entry, and nobody learns that it is committed.
        cluster.filter = { message in
            message.type == .append && message.from == MemberID(1) && message.to == MemberID(2)
        }
        cluster.propose(1, payload)
        cluster.filter = { $0.type != .append && $0.from != MemberID(1) && $0.to != MemberID(1) }
        cluster[2].raft.forgetLeader()
        cluster[3].raft.forgetLeader()
        cluster.elect(2)
        #expect(cluster[2].raft.role == .leader)
        #expect(throws: ProposalError.uncommittedBytesExceeded) { try cluster[2].raft.propose([payload]) }
        cluster.heal()
        cluster.tick([2], times: 3)
        #expect(cluster[2].raft.commit == cluster[2].raft.lastIndex)
        try cluster[2].raft.propose([payload])
        cluster.settle()
        #expect(cluster[1].image.payloads == [payload, payload])
        cluster[1].raft.transferLeadership(to: one)
        cluster.settle()
        #expect(cluster.leaders == [1])
        try cluster[1].raft.propose([payload])
    }

    // MARK: Short timeouts

    /// The shortest timeouts there are: elections end, a leader stays, a death is noticed.
    @Test(arguments: 2...4) func shortElectionTimeoutsWork(_ electionTicks: Int) {
        let cluster = TestCluster(voters: 3) { $0.electionTicks = electionTicks }
        cluster.tick(times: 60)
        #expect(cluster.leaders.count == 1)
        guard let leader = cluster.leaders.first else { return }
        let term = cluster[leader].raft.term
        cluster.tick(times: 100)
        #expect(cluster.leaders == [leader])
        #expect(cluster[leader].raft.term == term)
        let others = [1, 2, 3].filter { $0 != leader } as [UInt64]
        cluster.partition(others)
        for other in others {
            cluster[other].raft.leaderIsGone(MemberID(leader))
            cluster[other].raft.advanceElectionTimer(by: 1)
            #expect(cluster[other].raft.role == .follower)
        }
        cluster.tick(others, times: 60)
        #expect(others.contains { cluster[$0].raft.role == .leader })
    }
}
