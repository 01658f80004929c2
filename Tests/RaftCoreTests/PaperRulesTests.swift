import Primitives
import RaftCore
import Testing

/// Rules that the other suites do not name, by the section of the paper (p) or the thesis (t).
@Suite struct PaperRulesTests {
    @Test func p52_heartbeatsKeepFollowersQuiet() {
        let cluster = TestCluster(voters: 5)
        cluster.elect(1)
        cluster.tick(times: 200)
        #expect(cluster.leaders == [1])
        #expect(cluster.nodes.allSatisfy { $0.raft.term == Term(1) })
        #expect(!cluster.delivered.dropFirst(20).contains { [.vote, .preVote].contains($0.type) })
    }

    /// Of two members that time out at once each votes for itself: the term ends without a leader.
    @Test func p52_splitVotesEndByRandomTimeouts() {
        var terms = 0
        for seed in 0..<100 as Range<UInt64> {
            let cluster = TestCluster(voters: 2) { $0.preVote = false }
            for node in cluster.nodes { node.restart(keepAll: true, seed: seed * 2 + node.id.rawValue) }
            var ticks = 0
            while cluster.leaders.isEmpty, ticks < 400 {
                cluster.tick()
                ticks += 1
            }
            #expect(cluster.leaders.count == 1)
            terms += Int(cluster[1].raft.term.rawValue)
        }
        #expect(terms > 100 && terms < 150, "\(terms) terms for 100 leaders")
    }

    @Test func p53_aLeaderNeverOverwritesItsLog() {
        let cluster = TestCluster(voters: 3, logs: [[1, 1, 2], [1, 1, 1, 1], [1]])
        cluster.elect(1)
        let before = cluster[1].disk.entries.prefix(3).map(\.term.rawValue)
        cluster.tick(times: 5)
        #expect(before == [1, 1, 2])
        #expect(cluster[1].disk.entries.prefix(3).map(\.term.rawValue) == before)
        #expect(cluster[1].disk.truncations == 0 && cluster[2].disk.truncations == 1)
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func p543_aLeaderHasAllThatIsCommitted(_ seed: UInt64) {
        var random = PRNG(seed: seed)
        let cluster = TestCluster(voters: 5) { $0.checkQuorum = false }
        var committed: [Entry] = []
        for round in 0..<30 {
            let ids = (1...5 as ClosedRange<UInt64>).shuffled(using: &random)
            let group = Array(ids.prefix(random.next(in: 3..<6)))
            cluster.partition(group)
            cluster.elect(group[0])
            // One that was cut off leads an old term, and may lack what was committed since.
            let term = cluster.nodes.map { $0.raft.term }.max()
            guard cluster[group[0]].raft.role == .leader, cluster[group[0]].raft.term == term else { continue }
            for entry in committed { #expect(cluster[group[0]].disk.entry(at: entry.index) == entry) }
            cluster.propose(group[0], Bytes([UInt8(round)]))
            let leader = cluster[group[0]]
            committed = Array(leader.disk.entries.prefix(Int(leader.raft.commit.rawValue)))
        }
        #expect(committed.count > 20)
    }

    /// Every request and answer may come twice: nothing changes but the number of messages.
    @Test func p55_messagesAreIdempotent() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        for payload in ["a", "b", "c"] as [Bytes] { cluster.propose(1, payload) }
        cluster.tick(times: 2)
        for message in cluster.delivered where message.term == Term(1) && message.snapshot == nil {
            let node = cluster[message.to.rawValue]
            let before = (node.raft.role, node.raft.term, node.raft.commit, node.disk.entries)
            try? node.step(Envelope(message: message))
            node.run()
            #expect(before.0 == node.raft.role && before.1 == node.raft.term && before.2 == node.raft.commit)
            #expect(before.3 == node.disk.entries)
        }
        #expect(cluster.delivered.count > 20)
    }

    @Test func p55_aFollowerThatReturnsIsSentWhatItMissed() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster[3].crash(survivors: 0)
        cluster.filter = { $0.to != MemberID(3) && $0.from != MemberID(3) }
        for payload in ["a", "b", "c"] as [Bytes] { cluster.propose(1, payload) }
        cluster[3].restart(keepAll: true, seed: 9)
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(cluster[3].image.payloads == ["a", "b", "c"])
    }

    /// Section 8 of the paper: so that it learns what is committed, and can serve reads.
    @Test(arguments: [1, 3, 5]) func p8_aLeaderBeginsItsTermWithAnEmptyEntry(_ voters: Int) {
        let cluster = TestCluster(voters: voters)
        for _ in 0..<3 {
            let before = cluster[1].raft.lastIndex
            let leader = UInt64(cluster.leaders.first == 1 && voters > 1 ? 2 : 1)
            for node in cluster.nodes { node.raft.forgetLeader() }
            cluster.elect(leader)
            guard cluster.leaders == [leader], cluster[leader].raft.lastIndex > before else { continue }
            let entry = cluster[leader].disk.entry(at: before.advanced(by: 1))
            #expect(entry?.payload.isEmpty == true && entry?.kind == .normal)
            #expect(entry?.term == cluster[leader].raft.term)
            #expect(cluster[leader].raft.commit == before.advanced(by: 1))
        }
        #expect(cluster[1].raft.commit >= LogIndex(1))
    }

    @Test func t310_aTransferThatFailsDoesWhatWasPutOff() throws {
        let cluster = TestCluster(voters: 3, spares: 1)
        cluster.elect(1)
        cluster.filter = { $0.type != .timeoutNow && $0.to != MemberID(4) }
        let change = ConfigurationChange([.init(.removeMember, MemberID(3)), .init(.addLearner, MemberID(4))])
        try cluster[1].raft.proposeConfigurationChange(
            change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
        cluster[1].raft.transferLeadership(to: MemberID(2))
        cluster.settle()
        #expect(cluster[1].raft.configurationState.isJoint)
        cluster.tick([1, 2, 3], times: 9)
        #expect(cluster[1].raft.configurationState.isJoint)
        cluster.tick([1, 2, 3])
        #expect(cluster.leaders == [1])
        #expect(!cluster[1].raft.configurationState.isJoint)
    }

    /// No commit waits for a member that is catching up.
    @Test func t421_learnersCatchUpWithoutHoldingCommits() throws {
        let cluster = TestCluster(voters: 1, spares: 1)
        cluster.elect(1)
        cluster.filter = { $0.to != MemberID(2) }
        try cluster.change(1, [.init(.addLearner, MemberID(2))])
        for payload in ["a", "b", "c"] as [Bytes] { cluster.propose(1, payload) }
        #expect(cluster[1].raft.commit == LogIndex(5))
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(cluster[2].image.payloads == ["a", "b", "c"])
        // As a voter it is waited for.
        cluster.filter = { $0.to != MemberID(2) }
        try cluster.change(1, [.init(.addVoter, MemberID(2))])
        cluster.propose(1, "d")
        #expect(cluster[1].raft.commit == LogIndex(6))
    }

    /// A disjoint majority could elect another leader in between, if two voters changed at once.
    @Test func t41_aSimpleChangeMovesOneVoter() {
        let tracker = ProgressTracker(inflightMessagesMax: 1, inflightBytesMax: 1)
        let changer = Changer(tracker: tracker, lastIndex: LogIndex(1))
        #expect(throws: ConfigurationChangeError.multipleVotersChanged) {
            try changer.simple([.init(.addVoter, MemberID(1)), .init(.addVoter, MemberID(2))])
        }
    }

    @Test func t1022_appendsArePipelined() throws {
        let cluster = TestCluster(voters: 2)
        cluster.elect(1)
        for payload in ["a", "b", "c"] as [Bytes] {
            try cluster[1].raft.propose([payload])
            cluster[1].run()
        }
        // None was answered, and all are under way, each after the one before.
        #expect(cluster[1].outgoing.map(\.message.index.rawValue) == [1, 2, 3])
        #expect(cluster[1].raft.progress[1].progress.inflights.count == 3)
    }
}
