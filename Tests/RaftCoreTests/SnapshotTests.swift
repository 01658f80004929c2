import Primitives
import RaftCore
import Testing

/// Snapshots, compaction and eviction. Source: the paper, section 7.
@Suite struct SnapshotTests {
    /// Members 1 and 2 have committed `count` entries and compacted; member 3 has none of them.
    private func lagging(_ count: Int, _ adjust: (inout RaftConfiguration) -> Void = { _ in }) -> TestCluster {
        let cluster = TestCluster(voters: 3, adjust)
        cluster.partition([1, 2], [3])
        cluster.elect(1)
        for number in 0..<count { cluster.propose(1, Bytes([UInt8(number)])) }
        return cluster
    }

    private func compact(_ node: TestNode, _ index: LogIndex) {
        node.persist()
        let compacted = node.raft.compactLog(through: index)
        #expect(compacted)
        node.disk.compact(through: index)
        node.check()
    }

    @Test func p7_laggingFollowerGetsASnapshotThenEntries() {
        let cluster = lagging(10)
        compact(cluster[1], LogIndex(8))
        #expect(cluster[1].raft.firstIndex == LogIndex(9))
        cluster.propose(1, "after")
        cluster.heal()
        cluster.tick([1], times: 5)
        #expect(cluster.delivered.count { $0.type == .snapshot } == 1)
        #expect(cluster[3].image == cluster[1].image)
        #expect(cluster[3].raft.firstIndex == LogIndex(12))
        #expect(cluster[3].raft.commit == LogIndex(12))
        #expect(cluster[1].raft.progress[2].progress.state == .replicate)
    }

    @Test func followerWithinTheLogGetsNoSnapshot() {
        let cluster = lagging(10)
        cluster.heal()
        cluster.tick([1], times: 3)
        cluster.partition([1, 2], [3])
        for _ in 0..<5 { cluster.propose(1, "x") }
        // Exactly up to what member 3 has: its last entry's term is still known.
        compact(cluster[1], LogIndex(11))
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(!cluster.delivered.contains { $0.type == .snapshot })
        #expect(cluster[3].raft.commit == LogIndex(16))
    }

    @Test func failedSnapshotIsTriedAgain() {
        let cluster = lagging(5)
        compact(cluster[1], LogIndex(6))
        cluster.filter = { $0.type != .snapshot }
        cluster.tick([1], times: 5)
        #expect(cluster[3].raft.lastIndex == .zero)
        cluster.heal()
        cluster.tick([1], times: 5)
        #expect(cluster[3].image == cluster[1].image)
    }

    @Test func lostAnswerToASnapshotDoesNotStall() {
        let cluster = lagging(5)
        compact(cluster[1], LogIndex(6))
        cluster.filter = { !($0.type == .appendResponse && $0.index == LogIndex(6)) }
        cluster.tick([1], times: 2)
        cluster.heal()
        cluster.propose(1, "x")
        cluster.tick([1], times: 4)
        #expect(cluster[3].image == cluster[1].image)
        #expect(cluster[1].raft.progress[2].progress.match == LogIndex(7))
    }

    @Test func nothingIsAppliedWhileASnapshotIsInstalled() throws {
        let cluster = lagging(5)
        compact(cluster[1], LogIndex(6))
        let node = cluster[3]
        let metadata = try cluster[1].disk.snapshot()
        let message = Message(
            type: .snapshot, to: MemberID(3), from: MemberID(1), term: Term(1), snapshot: metadata)
        try node.step(Envelope(message: message, image: cluster[1].disk.image))
        let entry = Entry(term: Term(1), index: LogIndex(7), payload: "x")
        try node.step(
            Envelope(
                message: Message(
                    type: .append, to: MemberID(3), from: MemberID(1), term: Term(1), logTerm: Term(1),
                    index: LogIndex(6), commit: LogIndex(7), entries: [entry])))
        node.takeReady()
        #expect(node.writing[0].snapshot == metadata)
        #expect(node.writing[0].appends == [entry])
        #expect(node.applying.isEmpty)
        #expect(node.outgoing.isEmpty)
        #expect(node.raft.applied == .zero)
        // Meanwhile it cannot campaign.
        node.raft.campaign()
        #expect(node.raft.role == .follower)
        node.finishWrites(1)
        #expect(node.raft.applied == LogIndex(6))
        #expect(node.outgoing.map(\.message.index.rawValue) == [6, 7])
        node.run()
        #expect(node.image.payloads.last == "x")
    }

    @Test func snapshotOfWhatTheLogHoldsOnlyMovesCommit() throws {
        let cluster = TestCluster(voters: 3, logs: [[], [1, 1, 1]])
        let state = ConfigurationState(voters: (1...3).map { MemberID($0) })
        let metadata = SnapshotMetadata(configurationState: state, index: LogIndex(2), term: Term(1))
        try cluster[2].step(
            Envelope(
                message: Message(
                    type: .snapshot, to: MemberID(2), from: MemberID(1), term: Term(2), snapshot: metadata)))
        #expect(cluster[2].raft.commit == LogIndex(2))
        #expect(cluster[2].raft.lastIndex == LogIndex(3))
        #expect(cluster[2].raft.ready().snapshot == nil)
    }

    /// The snapshot ends beyond, or before, what is being appended and belongs to nobody's log any more.
    @Test(arguments: [3, 20] as [UInt64]) func snapshotUnderAppendsInFlight(_ count: UInt64) throws {
        let node = TestCluster(voters: 3)[2]
        let entries = (1...count).map { Entry(term: Term(1), index: LogIndex($0)) }
        try node.step(
            Envelope(
                message: Message(
                    type: .append, to: MemberID(2), from: MemberID(1), term: Term(1), entries: entries)))
        node.takeReady()
        let state = ConfigurationState(voters: (1...3).map { MemberID($0) })
        let metadata = SnapshotMetadata(configurationState: state, index: LogIndex(9), term: Term(2))
        var image = Image()
        image.last = metadata.entryID
        image.configuration = state
        try node.step(
            Envelope(
                message: Message(
                    type: .snapshot, to: MemberID(2), from: MemberID(3), term: Term(2), snapshot: metadata),
                image: image))
        node.finishWrites(1)
        #expect(node.raft.applied == .zero)
        node.takeReady()
        node.finishWrites(1)
        #expect(node.raft.applied == LogIndex(9))
        #expect(node.raft.lastIndex == LogIndex(9))
        #expect(node.raft.durableIndex == LogIndex(9))
    }

    @Test func evictedEntriesAreReadFromStorage() {
        let cluster = lagging(20) { $0.messageBytesMax = 150 }
        let leader = cluster[1]
        leader.persist()
        let before = leader.raft.memoryBytes
        leader.raft.evict(through: LogIndex(15))
        leader.check()
        #expect(leader.raft.memoryBytes < before / 2)
        leader.disk.isBusy = true
        cluster.heal()
        cluster.tick([1], times: 3)
        #expect(cluster[3].raft.commit == .zero)
        leader.disk.isBusy = false
        leader.raft.retryReplication()
        cluster.tick([1], times: 3)
        #expect(cluster[3].raft.commit == LogIndex(21))
        #expect(!cluster.delivered.contains { $0.type == .snapshot })
    }

    @Test func evictionAndCompactionStopAtWhatIsApplied() throws {
        let node = TestCluster(voters: 1)[1]
        node.raft.campaign()
        node.run()
        try node.raft.propose(["a", "b"])
        node.takeReady()
        node.raft.evict(through: LogIndex(3))
        node.raft.compactLog(through: LogIndex(3))
        node.check()
        #expect(node.raft.firstIndex == LogIndex(2))
        node.run()
        #expect(node.image.payloads == ["a", "b"])
        let first = node.raft.compactLog(through: LogIndex(3))
        let again = node.raft.compactLog(through: LogIndex(2))
        #expect(first && !again)
        #expect(node.raft.memoryBytes == 0)
    }

    @Test func restartFromAnImageAndALogThatIsPartlyEvicted() {
        let cluster = lagging(10)
        cluster[2].persist()
        cluster.propose(1, "tail")
        cluster[2].crash(survivors: 0)
        cluster[2].restart(keepAll: false, seed: 3)
        #expect(cluster[2].raft.applied == LogIndex(11))
        #expect(cluster[2].raft.lastIndex == LogIndex(12))
        cluster[1].crash(survivors: 0)
        cluster.filter = { $0.to != MemberID(1) }
        cluster.tick([2, 3], times: 60)
        #expect(cluster[2].raft.role == .leader)
        #expect(cluster[3].image.payloads.last == "tail")
    }
}
