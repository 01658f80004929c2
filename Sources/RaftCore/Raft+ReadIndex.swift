import Primitives

/// Linearizable reads without log entries. Source: the thesis, section 6.4.
extension Raft {
    /// Asks for an index such that a read of a state machine that has applied it is linearizable. The answer comes in
    /// `Ready.readStates`, or `Ready.abortedReads` if this member led and no longer does. A follower asks the leader;
    /// the question or its answer may be lost or doubled, so the caller asks again after a while and ignores contexts
    /// it does not await.
    package mutating func readIndex(context: UInt64) throws(ReadIndexError) {
        if role == .leader {
            if reads.count >= configuration.pendingReadsMax { throw .tooManyPending }
            reads.add(.local(context))
            return
        }
        if leader == .none { throw .noLeader }
        let question = Entry(term: .zero, index: .zero, payload: ReadQueue.encode(context))
        send(Message(type: .readIndex, to: leader, entries: [question]))
    }

    /// A read of a follower. Dropped when this member does not lead or has too many; the follower asks again.
    mutating func handleForwardedRead(_ message: Message) {
        guard role == .leader, message.entries.count == 1, reads.count < configuration.pendingReadsMax else { return }
        reads.add(.remote(message.from, message.entries[0].payload))
    }

    mutating func handleReadIndexResponse(_ message: Message) throws(RaftError) {
        guard message.entries.count == 1, let context = ReadQueue.decode(message.entries[0].payload) else {
            throw .malformed(.readIndexResponse)
        }
        readStates.append(ReadState(context: context, index: message.index))
    }

    /// A round may start once an entry of this term is committed: before, the commit index may be behind what an
    /// earlier leader has told its clients.
    var canStartReadRound: Bool {
        role == .leader && reads.canStartRound && log.matches(EntryID(term: term, index: log.commit))
    }

    /// Starts a round for every read that has arrived, and asks every member.
    mutating func startReadRound() {
        openReadRound()
        if reads.hasRounds { sendHeartbeats() }
    }

    /// Starts a round that the next heartbeats carry; a single voter confirms it on the spot.
    mutating func openReadRound() {
        reads.startRound(index: log.commit)
        if let own = tracker.progress.position(of: id) {
            tracker.progress[at: own].confirmedReadRound = reads.lastRound
        }
        confirmReads()
    }

    mutating func confirmReadRound(_ round: UInt64, position: Int) {
        guard round <= reads.lastRound, round > tracker.progress[at: position].confirmedReadRound else { return }
        tracker.progress[at: position].confirmedReadRound = round
        confirmReads()
    }

    /// Answers the reads of all rounds that a quorum has confirmed.
    mutating func confirmReads() {
        if !reads.hasRounds { return }
        for (origin, index) in reads.confirm(through: tracker.confirmedReadRound) {
            switch origin {
            case .local(let context): readStates.append(ReadState(context: context, index: index))
            case .remote(let member, let context):
                let answer = Entry(term: .zero, index: .zero, payload: context)
                send(Message(type: .readIndexResponse, to: member, index: index, entries: [answer]))
            }
        }
    }
}
