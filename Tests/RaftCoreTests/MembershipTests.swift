import Primitives
import RaftCore
import Testing

/// Membership changes and leadership transfer. Named by the section of the thesis.
@Suite struct MembershipTests {
    private let one = MemberID(1)
    private let two = MemberID(2)
    private let three = MemberID(3)
    private let four = MemberID(4)

    @Test func t41_votersAreAddedOneAtATime() throws {
        let cluster = TestCluster(voters: 1, spares: 2)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster[1].persist()
        cluster[1].raft.compactLog(through: cluster[1].raft.applied)
        cluster[1].disk.compact(through: cluster[1].image.last.index)
        try cluster.change(1, [.init(.addVoter, two)])
        cluster[1].persist()
        cluster.tick([1], times: 3)
        try cluster.change(1, [.init(.addVoter, three)])
        cluster.tick([1], times: 3)
        #expect(cluster[1].raft.configurationState == ConfigurationState(voters: [one, two, three]))
        #expect(cluster[3].image == cluster[1].image)
        // The new quorum is needed now.
        cluster.partition([1], [2, 3])
        let commit = cluster[1].raft.commit
        cluster.propose(1, "b")
        #expect(cluster[1].raft.commit == commit)
    }

    @Test func t41_oneChangeAtATime() throws {
        let cluster = TestCluster(voters: 3, spares: 1)
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        let change = ConfigurationChange([.init(.addLearner, four)])
        let payload = ChangeCodec.encode(change)
        try cluster[1].raft.proposeConfigurationChange(change, kind: .configurationChangeV2, payload: payload)
        #expect(throws: ProposalError.configurationChangePending) {
            try cluster[1].raft.proposeConfigurationChange(change, kind: .configurationChangeV2, payload: payload)
        }
        let forwarded = Message(
            type: .propose, to: one, from: two,
            entries: [Entry(term: .zero, index: .zero, kind: .configurationChangeV2, payload: payload)])
        #expect(throws: RaftError.proposalDropped(.configurationChangePending)) {
            try cluster[1].step(Envelope(message: forwarded))
        }
        cluster.heal()
        cluster.tick([1], times: 3)
        try cluster.change(1, [.init(.removeMember, four)])
        #expect(cluster[2].raft.configurationState.learners.isEmpty)
    }

    @Test func t41_newLeaderWaitsForItsTailBeforeChangingMembers() throws {
        let cluster = TestCluster(voters: 3, spares: 1, logs: [[1, 1], [1], [1]])
        cluster.filter = { $0.type != .append }
        cluster.elect(1)
        #expect(throws: ProposalError.configurationChangePending) {
            try cluster.change(1, [.init(.addLearner, four)])
        }
    }

    @Test func t422_removedLeaderStepsDownAndTheOthersGoOn() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        try cluster.change(1, [.init(.removeMember, one)])
        #expect(cluster[1].raft.role == .follower)
        cluster.tick(times: 60)
        #expect(cluster.leaders == [2] || cluster.leaders == [3])
        #expect(cluster[2].raft.configurationState.voters == [two, three])
        cluster.tick([1], times: 100)
        #expect(cluster[1].raft.role == .follower)
    }

    @Test func t422_demotedLeaderStepsDown() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        try cluster.change(1, [.init(.addLearner, one)])
        #expect(cluster[1].raft.role == .follower)
        cluster.tick(times: 60)
        #expect(cluster[1].raft.isLearner == true)
        #expect(cluster[1].raft.leader != .none)
    }

    @Test func t423_removedMemberDoesNotDisturb() throws {
        let cluster = TestCluster(voters: 4) { $0.preVote = false }
        cluster.elect(1)
        // Member 4 does not hear of its removal.
        cluster.partition([1, 2, 3], [4])
        try cluster.change(1, [.init(.removeMember, four)])
        cluster.heal()
        let term = cluster[1].raft.term
        cluster.tick(times: 100)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].raft.term == term)
    }

    @Test func t43_jointConsensusIsEnteredAndLeftAutomatically() throws {
        let cluster = TestCluster(voters: 3, spares: 2, logs: [])
        cluster.elect(1)
        cluster[1].persist()
        cluster[1].raft.compactLog(through: LogIndex(1))
        cluster[1].disk.compact(through: LogIndex(1))
        var seenJoint = false
        cluster.filter = { _ in
            seenJoint = seenJoint || cluster[1].raft.configurationState.isJoint
            return true
        }
        try cluster.change(
            1, [.init(.addVoter, four), .init(.removeMember, two), .init(.addLearner, MemberID(5))])
        cluster.tick([1], times: 5)
        #expect(seenJoint)
        let expected = ConfigurationState(voters: [one, three, four], learners: [MemberID(5)])
        #expect(cluster[1].raft.configurationState == expected)
        #expect(cluster[4].raft.configurationState == expected)
        // The removed member heard of its removal from the joint configuration at least.
        #expect(cluster[2].raft.configurationState.voters == [one, three, four])
    }

    @Test func t43_jointNeedsBothMajorities() throws {
        let cluster = TestCluster(voters: 3, spares: 2)
        cluster.elect(1)
        try cluster.change(
            1,
            [
                .init(.addVoter, four), .init(.addVoter, MemberID(5)), .init(.removeMember, two),
                .init(.removeMember, three),
            ], transition: .jointExplicit)
        #expect(cluster[1].raft.configurationState.isJoint)
        let commit = cluster[1].raft.commit
        // The incoming half alone: no commit, and the outgoing half alone: none either.
        cluster.partition([1, 4, 5], [2, 3])
        cluster.propose(1, "x")
        #expect(cluster[1].raft.commit == commit)
        cluster.partition([1, 2, 3], [4, 5])
        cluster.propose(1, "y")
        // By now both halves have stored "x", one after the other; "y" only one has.
        #expect(cluster[1].raft.commit == commit.advanced(by: 1))
        #expect(cluster[1].raft.lastIndex == commit.advanced(by: 2))
        cluster.heal()
        cluster.tick([1], times: 5)
        #expect(cluster[1].raft.commit > commit)
        // Explicitly entered, explicitly left.
        try cluster.change(1, [])
        cluster.tick([1], times: 3)
        #expect(cluster[1].raft.configurationState == ConfigurationState(voters: [one, four, MemberID(5)]))
    }

    @Test func t43_aNewLeaderLeavesTheJointConfiguration() throws {
        let cluster = TestCluster(voters: 3, spares: 1)
        cluster.elect(1)
        // The leader commits the joint configuration and dies before it can leave it.
        cluster.filter = { message in
            !message.entries.contains { $0.kind.changesConfiguration && $0.payload.isEmpty }
        }
        try cluster.change(1, [.init(.removeMember, four), .init(.addLearner, three)])
        cluster.tick(times: 2)
        #expect(cluster[2].raft.configurationState.isJoint)
        cluster[1].crash(survivors: 0)
        cluster.filter = { $0.to != MemberID(1) }
        cluster.tick([2, 3], times: 60)
        let expected = ConfigurationState(voters: [one, two], learners: [three])
        // With member 1 down the joint configuration still has its majorities only with 1 or 2 and 3.
        cluster[1].restart(keepAll: true, seed: 4)
        cluster.heal()
        cluster.tick(times: 40)
        #expect(cluster[2].raft.configurationState == expected)
        #expect(cluster[3].raft.isLearner == true)
    }

    @Test func invalidChangesAreRefused() throws {
        let cluster = TestCluster(voters: 1)
        cluster.elect(1)
        #expect(throws: ProposalError.configurationChangeInvalid(.removesAllVoters)) {
            try cluster.change(1, [.init(.removeMember, one)])
        }
        #expect(throws: ProposalError.configurationChangeInvalid(.notJoint)) { try cluster.change(1, []) }
    }

    @Test func invalidChangeInTheLogHasNoEffectAnywhere() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        // A follower does not check; here the leader does not either.
        let payload = ChangeCodec.encode(
            ConfigurationChange([one, two, three].map { .init(.removeMember, $0) }, transition: .jointExplicit))
        _ = try cluster[2].step(
            Envelope(message: Message(type: .heartbeat, to: two, from: one, term: Term(1))))
        let entry = Entry(term: .zero, index: .zero, kind: .configurationChangeV2, payload: payload)
        try cluster[1].step(Envelope(message: Message(type: .propose, to: one, from: two, entries: [entry])))
        cluster.settle()
        #expect(cluster.nodes.allSatisfy { $0.raft.configurationState.voters == [one, two, three] })
        #expect(cluster.nodes.allSatisfy { $0.raft.applied == LogIndex(2) })
    }

    @Test func learnersReceiveButDoNotCount() {
        let cluster = TestCluster(voters: 2, learners: 1)
        cluster.elect(1)
        cluster.propose(1, "a")
        #expect(cluster[3].image.payloads == ["a"])
        cluster.partition([1, 3], [2])
        cluster.propose(1, "b")
        #expect(cluster[1].raft.commit == LogIndex(2))
    }

    // MARK: Transfer

    @Test func t310_leadershipIsTransferred() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster[1].raft.transferLeadership(to: three)
        cluster.settle()
        #expect(cluster.leaders == [3])
        #expect(cluster[3].raft.term == Term(2))
    }

    @Test func t310_targetIsBroughtUpToDateFirst() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 2], [3])
        for _ in 0..<5 { cluster.propose(1, "a") }
        cluster.heal()
        cluster[1].raft.transferLeadership(to: three)
        cluster.settle()
        cluster.tick([1], times: 3)
        #expect(cluster.leaders == [3])
        #expect(cluster[3].image.payloads.count == 5)
    }

    @Test func t310_noProposalsMeanwhileAndServiceAfterATimeout() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 2], [3])
        cluster.propose(1, "a")
        cluster[1].raft.transferLeadership(to: three)
        cluster.settle()
        #expect(throws: ProposalError.leadershipTransferring(to: three)) { try cluster[1].raft.propose(["x"]) }
        cluster.tick([1, 2], times: 10)
        #expect(cluster.leaders == [1])
        try cluster[1].raft.propose(["x"])
    }

    @Test func t310_followerForwardsTheWish() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster[2].raft.transferLeadership(to: two)
        cluster.settle()
        #expect(cluster.leaders == [2])
    }

    @Test func transferToALearnerOrAStrangerIsIgnored() {
        let cluster = TestCluster(voters: 2, learners: 1)
        cluster.elect(1)
        for target in [three, MemberID(9), one] {
            cluster[1].raft.transferLeadership(to: target)
            #expect(cluster[1].raft.transferTarget == .none)
        }
    }
}

/// A bug that the simulated network found (seed 29): nobody was electable.
@Suite struct CommitByRefusalTests {
    /// Leader 1 of two commits its own removal, has more in its log, and steps down before member 2 hears of it.
    /// Member 2 needs the vote of 1, which has the longer log and is no voter any more.
    @Test(arguments: [true, false]) func removedLeaderWithALongerLogDoesNotBlock(_ preVote: Bool) throws {
        let cluster = TestCluster(voters: 2) { $0.preVote = preVote }
        cluster.elect(1)
        let change = ConfigurationChange([.init(.removeMember, MemberID(1))])
        cluster.filter = { message in
            // Member 2 gets the change, but neither its commit nor what comes behind it.
            message.type != .append || (message.commit < LogIndex(2) && message.entries.count <= 1)
        }
        try cluster[1].raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
        cluster[1].takeReady()
        try cluster[1].raft.propose(["tail", "tail"])
        cluster.settle()
        #expect(cluster[1].raft.role == .follower)
        #expect(cluster[2].raft.lastIndex == LogIndex(2))
        #expect(cluster[2].raft.configurationState.voters.count == 2)
        // Told by a refusal, it stops campaigning until the change is applied: the votes would be counted by the old
        // quorum.
        cluster[2].raft.campaign()
        while cluster[2].raft.hasReady { cluster[2].takeReady() }
        cluster[2].finishWrites(9)
        let refusal = Message(
            type: preVote ? .preVoteResponse : .voteResponse, to: MemberID(2), from: MemberID(1),
            term: cluster[2].raft.term, logTerm: Term(1), commit: LogIndex(2), reject: true)
        try cluster[2].step(Envelope(message: refusal))
        #expect(cluster[2].raft.commit == LogIndex(2))
        #expect(cluster[2].raft.role == .follower)
        cluster[2].outgoing = []
        cluster.heal()
        cluster.tick(times: 60)
        #expect(cluster.leaders == [2])
        #expect(cluster[2].raft.configurationState.voters == [MemberID(2)])
    }
}

extension CommitByRefusalTests {
    /// One refusal of three does not lose the election; learning of an unapplied change by it ends the campaign.
    @Test func learningOfAChangeEndsTheCampaign() throws {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: (1...3).map { MemberID($0) })
        disk.hardState.term = Term(1)
        let change = ChangeCodec.encode(ConfigurationChange([.init(.removeMember, MemberID(1))]))
        disk.entries = [Entry(term: Term(1), index: LogIndex(1), kind: .configurationChangeV2, payload: change)]
        let node = TestNode(options: RaftConfiguration(id: MemberID(2), preVote: false), disk: disk, seed: 1)
        func refuse(commit: UInt64, logTerm: UInt64) throws {
            let refusal = Message(
                type: .voteResponse, to: MemberID(2), from: MemberID(1), term: Term(2), logTerm: Term(logTerm),
                commit: LogIndex(commit), reject: true)
            try node.step(Envelope(message: refusal))
        }
        node.raft.campaign()
        node.takeReady()
        // What this log does not hold says nothing about it.
        try refuse(commit: 1, logTerm: 9)
        try refuse(commit: 7, logTerm: 1)
        #expect(node.raft.role == .candidate)
        #expect(node.raft.commit == .zero)
        try refuse(commit: 1, logTerm: 1)
        #expect(node.raft.role == .follower)
        #expect(node.raft.commit == LogIndex(1))
    }
}
