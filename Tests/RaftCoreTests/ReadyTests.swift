import Primitives
import RaftCore
import Testing

/// The Ready contract: several appends in flight, truncated under way, and what is refused at the door.
@Suite struct ReadyTests {
    private func follower(log: [UInt64] = []) -> TestNode {
        let cluster = TestCluster(voters: 3, logs: [[], log])
        return cluster[2]
    }

    private func append(
        _ node: TestNode, from: UInt64 = 1, term: UInt64, after: (UInt64, UInt64), terms: [UInt64], commit: UInt64 = 0,
        tag: UInt8 = 0
    ) throws {
        let entries = terms.enumerated().map { offset, term in
            Entry(term: Term(term), index: LogIndex(after.1 + UInt64(offset) + 1), payload: Bytes([tag]))
        }
        try node.step(
            Envelope(
                message: Message(
                    type: .append, to: node.id, from: MemberID(from), term: Term(term), logTerm: Term(after.0),
                    index: LogIndex(after.1), commit: LogIndex(commit), entries: entries)))
    }

    @Test func truncationUnderAnAppendInFlight() throws {
        let node = follower()
        try append(node, term: 1, after: (0, 0), terms: [1, 1, 1])
        node.takeReady()
        try append(node, from: 3, term: 2, after: (1, 1), terms: [2, 2, 2])
        node.takeReady()
        #expect(node.writing.map { $0.appends.map(\.index.rawValue) } == [[1, 2, 3], [2, 3, 4]])
        node.finishWrites(1)
        // Of the present log only entry 1 is durable.
        #expect(node.raft.durableIndex == LogIndex(1))
        node.finishWrites(1)
        #expect(node.raft.durableIndex == LogIndex(4))
    }

    /// Terms 1, 2 and then again entries of term 1 (brought by a leader of term 3): index and term of the first append
    /// come back, and yet its completion says nothing about the third.
    @Test func sameEntryComesBackWhileItsFirstAppendIsInFlight() throws {
        let node = follower()
        try append(node, term: 1, after: (0, 0), terms: [1, 1])
        node.takeReady()
        try append(node, from: 3, term: 2, after: (0, 0), terms: [2, 2])
        node.takeReady()
        try append(node, from: 1, term: 3, after: (0, 0), terms: [1, 1, 3], commit: 3)
        node.takeReady()
        node.finishWrites(1)
        #expect(node.raft.durableIndex == .zero)
        #expect(node.raft.ready().committed.isEmpty)
        node.finishWrites(1)
        #expect(node.raft.durableIndex == .zero)
        node.finishWrites(1)
        #expect(node.raft.durableIndex == LogIndex(3))
        #expect(node.raft.ready().committed.map(\.term.rawValue) == [1, 1, 3])
    }

    @Test func truncationOfEntriesThatWereNeverHandedOut() throws {
        let node = follower()
        try append(node, term: 1, after: (0, 0), terms: [1, 1, 1])
        try append(node, from: 3, term: 2, after: (1, 1), terms: [2])
        node.takeReady()
        #expect(node.writing[0].appends.map(\.term.rawValue) == [1, 2])
    }

    @Test func oneReportCoversAllReadysBefore() throws {
        let node = follower()
        for index in 0..<5 as Range<UInt64> {
            try append(node, term: 1, after: (index == 0 ? 0 : 1, index), terms: [1])
            node.takeReady()
        }
        #expect(node.writing.count == 5)
        node.finishWrites(5)
        #expect(node.raft.durableIndex == LogIndex(5))
        #expect(node.outgoing.map(\.message.index.rawValue) == [1, 2, 3, 4, 5])
    }

    @Test func commitAloneIsNotWritten() throws {
        let node = follower()
        try append(node, term: 1, after: (0, 0), terms: [1])
        node.run()
        try append(node, term: 1, after: (1, 1), terms: [], commit: 1)
        let ready = node.raft.ready()
        #expect(!ready.needsAppend)
        #expect(ready.committed.count == 1)
        #expect(ready.messages.map(\.type) == [.appendResponse])
        #expect(ready.messagesAfterAppend.isEmpty)
    }

    @Test func malformedMessagesAreRefused() throws {
        let node = follower(log: [1, 1, 1])
        func refuses(_ message: Message, _ error: RaftError) {
            #expect(throws: error) { try node.step(Envelope(message: message)) }
        }
        let entry = Entry(term: Term(5), index: LogIndex(9))
        refuses(Message(type: .append, to: MemberID(1), from: MemberID(3), term: Term(1)), .misaddressed)
        refuses(Message(type: .append, to: MemberID(2), from: MemberID(2), term: Term(1)), .misaddressed)
        refuses(Message(type: .append, to: MemberID(2), term: Term(1)), .misaddressed)
        refuses(Message(type: .heartbeat, to: MemberID(2), from: MemberID(1)), .malformed(.heartbeat))
        refuses(Message(type: .snapshot, to: MemberID(2), from: MemberID(1), term: Term(1)), .malformed(.snapshot))
        refuses(
            Message(
                type: .append, to: MemberID(2), from: MemberID(1), term: Term(5), index: LogIndex(3), entries: [entry]),
            .malformed(.append))
        refuses(
            Message(
                type: .append, to: MemberID(2), from: MemberID(1), term: Term(4), logTerm: Term(1),
                index: LogIndex(8), entries: [entry]),
            .malformed(.append))
        refuses(
            Message(type: .propose, to: MemberID(2), from: MemberID(1), entries: [entry]), .proposalDropped(.noLeader))
        #expect(node.raft.lastIndex == LogIndex(3))
    }

    @Test func twoLeadersInOneTermAreRefused() throws {
        let node = follower()
        try append(node, from: 1, term: 2, after: (0, 0), terms: [2])
        #expect(throws: RaftError.malformed(.append)) { try append(node, from: 3, term: 2, after: (2, 1), terms: [2]) }
    }

    /// The paper, figure 2: commit moves to the last *new* entry at most; what is behind it is not known to match.
    @Test func commitStopsAtWhatTheMessageVerified() throws {
        let node = follower(log: [1, 1, 1, 1])
        try append(node, term: 2, after: (1, 1), terms: [], commit: 4)
        #expect(node.raft.commit == LogIndex(1))
        try append(node, term: 2, after: (1, 1), terms: [1], commit: 4)
        #expect(node.raft.commit == LogIndex(2))
    }

    @Test func committedEntriesAreNeverSuperseded() throws {
        let node = follower()
        try append(node, term: 1, after: (0, 0), terms: [1, 1], commit: 2)
        node.run()
        #expect(throws: RaftError.contradictsCommitted(LogIndex(2))) {
            try append(node, from: 3, term: 2, after: (2, 2), terms: [2])
        }
        // Before the commit index everything is answered with the commit index and otherwise ignored.
        try append(node, from: 3, term: 2, after: (0, 0), terms: [2, 2, 2])
        #expect(node.raft.lastIndex == LogIndex(2))
        node.run()
        #expect(node.outgoing.last?.message.index == LogIndex(2))
    }

    @Test func lossOfDurableEntriesIsNoticed() throws {
        let node = follower(log: [1])
        let heartbeat = Message(
            type: .heartbeat, to: MemberID(2), from: MemberID(1), term: Term(1), commit: LogIndex(4))
        #expect(throws: RaftError.lostDurableEntries(commit: LogIndex(4), last: LogIndex(1))) {
            try node.step(Envelope(message: heartbeat))
        }
    }

    @Test func acknowledgementBeyondTheLogIsRefused() throws {
        let cluster = TestCluster(voters: 3)
        cluster.elect(1)
        let lie = Message(
            type: .appendResponse, to: MemberID(1), from: MemberID(2), term: Term(1), index: LogIndex(99))
        #expect(throws: RaftError.malformed(.appendResponse)) { try cluster[1].step(Envelope(message: lie)) }
        let stranger = Message(
            type: .appendResponse, to: MemberID(1), from: MemberID(9), term: Term(1), index: LogIndex(1))
        #expect(throws: RaftError.unknownSender(MemberID(9))) { try cluster[1].step(Envelope(message: stranger)) }
    }
}

/// A candidate's own vote waits for the write that carries it, not for any write.
@Suite struct OwnVoteTests {
    @Test func anEarlierWriteIsNotTheVotes() throws {
        let disk = TestDisk()
        disk.image.configuration = ConfigurationState(voters: [MemberID(1)], learners: [MemberID(2)])
        disk.hardState.term = Term(1)
        let node = TestNode(options: RaftConfiguration(id: MemberID(1)), disk: disk, seed: 1)
        // An append of an older leader is being written when the campaign begins.
        let entry = Entry(term: Term(1), index: LogIndex(1))
        try node.step(
            Envelope(
                message: Message(
                    type: .append, to: MemberID(1), from: MemberID(9), term: Term(1), entries: [entry])))
        node.takeReady()
        node.raft.campaign()
        node.takeReady()
        #expect(node.raft.role == .candidate)
        node.finishWrites(1)
        #expect(node.raft.role == .candidate)
        node.finishWrites(1)
        #expect(node.raft.role == .leader)
    }
}
