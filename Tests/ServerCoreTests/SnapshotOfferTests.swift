import Primitives
import RaftCore
import Replica
import ServerCore
import Testing

/// A leader offers a snapshot to a member that has as much, because it has not heard so.
@Suite struct SnapshotOfferTests {
    private static func answers(to index: LogIndex, _ world: ClusterWorld) throws -> [Message] {
        let leader = try world.elect()
        for _ in 0..<20 { _ = world.put(leader) }
        try world.settle()
        let follower = world.nodes.first { $0 !== leader }!
        let replica = follower.core!.replica
        let snapshot = SnapshotMetadata(
            configurationState: replica.configuration, index: min(index, replica.commit.advanced(by: 1)),
            term: replica.term)
        var effects = ReplicaEffects()
        replica.handle(
            .message(
                Message(
                    type: .snapshot, to: follower.id, from: leader.id, term: replica.term, snapshot: snapshot)))
        replica.collect(into: &effects)
        #expect(replica.commit > LogIndex(20))
        let answers = effects.messages + effects.appends.flatMap(\.messagesAfterAppend)
        #expect(answers.allSatisfy { !$0.reject && $0.to == leader.id })
        #expect(answers.allSatisfy { $0.type == .heartbeatResponse || $0.index == replica.commit })
        return answers
    }

    @Test("The answer tells where the member's log is equal to the leader's")
    func notNews() throws {
        let answers = try Self.answers(to: LogIndex(5), ClusterWorld(seed: 1, count: 3))
        #expect(answers.map(\.type) == [.appendResponse])
    }

    @Test("One that is news is not installed by its message alone")
    func news() throws {
        let answers = try Self.answers(to: LogIndex(.max), ClusterWorld(seed: 2, count: 3))
        #expect(answers.map(\.type) == [.heartbeatResponse])
    }
}
