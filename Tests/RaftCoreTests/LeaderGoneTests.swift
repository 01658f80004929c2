import Primitives
import RaftCore
import Testing

/// A leader whose connections broke.
@Suite struct LeaderGoneTests {
    @Test(arguments: [3, 5, 7]) func followersThatMissTheLeaderElectSoon(_ voters: Int) {
        let cluster = TestCluster(voters: voters)
        cluster.elect(1)
        let others = (2...UInt64(voters)).map { $0 }
        cluster.partition(others)
        for id in others { cluster[id].raft.leaderIsGone(MemberID(1)) }
        var ticks = 0
        while !cluster.leaders.contains(where: { $0 != 1 }), ticks < 40 {
            cluster.tick(others)
            ticks += 1
        }
        // Within a third of an election timeout of ten ticks, unless rivals split the vote once.
        #expect(ticks <= 3 || cluster[2].raft.term > Term(2), "elected after \(ticks) ticks")
        #expect(cluster.leaders.contains { $0 != 1 })
    }

    @Test func oneThatIsAloneWithItDisturbsNobody() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster[2].raft.leaderIsGone(MemberID(1))
        // The leader's heartbeats are lost on their way to member 2; everybody else hears it.
        cluster.filter = { !($0.from == MemberID(1) && $0.to == MemberID(2)) }
        cluster.tick(times: 9)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].raft.term == Term(1) && cluster[3].raft.term == Term(1))
        cluster.heal()
        cluster.tick(times: 2)
        #expect(cluster[2].raft.leader == MemberID(1))
    }

    @Test func onlyTheLeaderCounts() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster[2].raft.leaderIsGone(MemberID(3))
        cluster[1].raft.leaderIsGone(MemberID(1))
        cluster[1].raft.leaderIsGone(MemberID(2))
        cluster.tick(times: 5)
        #expect(cluster[2].raft.leader == MemberID(1) && cluster.leaders == [1])
    }
}
