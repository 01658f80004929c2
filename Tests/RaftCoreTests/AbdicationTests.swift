import Primitives
import RaftCore
import Testing

/// Leaders that give leadership up, and elections that come early.
@Suite struct AbdicationTests {
    @Test func toWhoeverHasMostOfTheLog() {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        cluster.partition([1, 3], [2])
        cluster.propose(1, "a")
        cluster.settle()
        #expect(cluster[1].raft.transferCandidate == MemberID(3))
        cluster.heal()
        cluster[1].raft.abdicate()
        cluster[1].raft.abdicate()
        cluster.settle()
        #expect(cluster.leaders == [3])
    }

    @Test func toNobodyWhenNobodyAnswers() {
        let cluster = TestCluster(voters: 3) { $0.checkQuorum = false }
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        cluster[1].raft.abdicate()
        cluster.tick([1], times: 11)
        #expect(cluster[1].raft.role == .follower)
    }

    @Test func notByTheOnlyVoter() {
        let cluster = TestCluster(voters: 1)
        cluster.elect(1)
        cluster[1].raft.abdicate()
        cluster.tick([1], times: 30)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].raft.transferCandidate == .none)
    }

    @Test func aTransferThatFailsWithoutAbdicationServesOn() {
        let cluster = TestCluster(voters: 3) { $0.checkQuorum = false }
        cluster.elect(1)
        cluster.partition([1], [2, 3])
        cluster[1].raft.transferLeadership(to: MemberID(2))
        cluster.tick([1], times: 11)
        #expect(cluster[1].raft.role == .leader)
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func anElectionMayComeEarlier(seed: UInt64) {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [MemberID(1), MemberID(2)])
        let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: disk, seed: seed)
        node.raft.advanceElectionTimer(by: 9)
        var ticks = 0
        while node.raft.role == .follower {
            node.raft.tick()
            ticks += 1
        }
        #expect((1...10).contains(ticks))
        // Never at once, however much is asked for.
        let other = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: disk, seed: seed)
        other.raft.advanceElectionTimer(by: 1000)
        #expect(other.raft.role == .follower)
        other.raft.tick()
        #expect(other.raft.role == .preCandidate)
    }
}
