import Primitives
import RaftCore
import Testing

/// A lone voter: elects itself, commits and reads without any message.
@Suite struct SingleVoterTests {
    private func lone() -> Raft {
        Raft(
            configuration: RaftConfiguration(id: MemberID(1)),
            restored: RestoredState(configurationState: ConfigurationState(voters: [MemberID(1)])),
            random: PRNG(seed: 7))
    }

    @Test func electsItselfOnceItsVoteIsDurable() {
        var raft = lone()
        var witness = RaftWitness()
        for _ in 0..<20 { raft.tick() }
        #expect(raft.role == .candidate)
        let ready = raft.ready()
        #expect(ready.hardState == HardState(term: Term(1), vote: MemberID(1)))
        #expect(ready.mustSync)
        #expect(raft.role == .candidate)
        raft.appendDurable(through: ready.number)
        #expect(raft.role == .leader)
        #expect(ready.messages.isEmpty)
        witness.check(raft)
    }

    @Test func commitsWhatIsDurableAndReadsWithoutARound() throws {
        var raft = lone()
        var witness = RaftWitness()
        raft.campaign()
        raft.appendDurable(through: raft.ready().number)
        try raft.readIndex(context: 5)
        let first = raft.ready()
        #expect(first.readStates.isEmpty)
        #expect(first.committed.isEmpty)
        #expect(try raft.propose(["a", "b"]) == .appended(first: LogIndex(2), term: Term(1)))
        let second = raft.ready()
        #expect(second.appends.map(\.index) == [LogIndex(2), LogIndex(3)])
        raft.appendDurable(through: first.number)
        witness.check(raft)
        let third = raft.ready()
        #expect(third.committed.map(\.index) == [LogIndex(1)])
        #expect(third.readStates == [ReadState(context: 5, index: LogIndex(1))])
        raft.appendDurable(through: second.number)
        let fourth = raft.ready()
        #expect(fourth.committed.map(\.payload) == ["a", "b"])
        raft.applied(through: LogIndex(3))
        try raft.readIndex(context: 6)
        #expect(raft.ready().readStates == [ReadState(context: 6, index: LogIndex(3))])
        #expect(raft.hasReady == false)
        witness.check(raft)
    }
}
