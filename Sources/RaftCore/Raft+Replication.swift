package import Primitives

/// Log replication. Source: the paper, section 5.3.
extension Raft {
    // MARK: Leader

    /// Appends entries of this term at the end of the leader's log.
    mutating func appendOwn(_ entries: [Entry]) {
        for entry in entries {
            log.append(entry)
            uncommittedBytes += entry.payload.count
        }
        owesAppends = true
    }

    /// Counts this leader's own log as far as it is durable.
    mutating func acknowledgeOwnLog() {
        guard let own = tracker.progress.position(of: id) else { return }
        if tracker.progress[at: own].acknowledge(log.durable) { advanceCommit() }
    }

    /// Commits what a quorum has, if it is of this term. Source: the paper, sections 5.3 and 5.4.2.
    mutating func advanceCommit() {
        if tracker.configuration.voters.incoming.isEmpty { return }
        let index = tracker.committedIndex
        guard index > log.commit, log.matches(EntryID(term: term, index: index)) else { return }
        uncommittedBytes -= log.payloadBytes(after: log.commit, through: index)
        log.commit(through: index)
        owesAppends = true
    }

    /// Sends every member what it is owed, within its window. The entries read for one member serve the others that
    /// stand at the same place.
    mutating func sendOwedAppends() {
        guard owesAppends, role == .leader else { return }
        owesAppends = false
        var shared: (from: LogIndex, entries: [Entry])?
        for position in 0..<tracker.progress.count where tracker.progress.members[position] != id {
            while tracker.progress[at: position].owesAppend(last: log.lastIndex, commit: log.commit),
                sendAppend(position: position, shared: &shared)
            {}
        }
    }

    /// Sends one append message, or a snapshot if the log does not reach back far enough. Returns false when nothing
    /// could be sent.
    private mutating func sendAppend(position: Int, shared: inout (from: LogIndex, entries: [Entry])?) -> Bool {
        let progress = tracker.progress[at: position]
        let previous = progress.next.advanced(by: -1)
        let previousTerm: Term
        var entries: [Entry] = []
        do throws(LogStorageError) {
            previousTerm = try log.term(at: previous)
            if progress.admitsEntries {
                if let shared, shared.from == progress.next {
                    entries = shared.entries
                } else {
                    entries = try log.entries(from: progress.next, bytesMax: configuration.messageBytesMax)
                    shared = (progress.next, entries)
                }
            }
        } catch .compacted {
            return sendSnapshot(position: position)
        } catch {
            return false
        }
        send(
            Message(
                type: .append, to: tracker.progress.members[position], logTerm: previousTerm, index: previous,
                commit: log.commit, entries: entries))
        let bytes = entries.reduce(0) { $0 + $1.sizeBytes }
        tracker.progress[at: position].sentEntries(count: entries.count, bytes: bytes)
        tracker.progress[at: position].sentCommit(log.commit)
        return true
    }

    /// Sends a snapshot message; the caller streams the image. Source: the paper, section 7.
    private mutating func sendSnapshot(position: Int) -> Bool {
        guard tracker.progress[at: position].recentlyActive, let snapshot = try? log.storage.snapshot(),
            snapshot.index >= log.compacted.index
        else { return false }
        invariant(snapshot.index <= log.commit, "a snapshot of what is not committed is offered")
        tracker.progress[at: position].becomeSnapshot(index: snapshot.index)
        send(Message(type: .snapshot, to: tracker.progress.members[position], snapshot: snapshot))
        return true
    }

    mutating func handleAppendResponse(_ message: Message, position: Int) throws(RaftError) {
        if message.index > log.lastIndex || (message.reject && message.rejectHint > message.index) {
            throw .malformed(.appendResponse)
        }
        if message.reject {
            handleRejection(message, position: position)
            return
        }
        let isNews = tracker.progress[at: position].acknowledge(message.index)
        let progress = tracker.progress[at: position]
        guard isNews || (progress.match == message.index && progress.state == .probe) else { return }
        switch progress.state {
        case .probe: tracker.progress[at: position].becomeReplicate()
        case .replicate: tracker.progress[at: position].inflights.free(through: message.index)
        case .snapshot:
            // Whatever image it has, what matters is that the log can take over from there.
            if progress.match >= log.compacted.index { tracker.progress[at: position].becomeReplicate() }
        }
        advanceCommit()
        noteOwed(position: position)
        finishTransferIfCaughtUp(message.from, match: tracker.progress[at: position].match)
    }

    /// The member's log does not hold the entry before those sent. Its hint, and the terms of our own log, tell where
    /// to try next, skipping whole terms. Source: the paper, end of section 5.3.
    private mutating func handleRejection(_ message: Message, position: Int) {
        var hint = message.rejectHint
        if message.logTerm > .zero {
            // At its hint the member has term `logTerm`: where our term is greater, it cannot match.
            hint = log.conflictHint(at: message.rejectHint, term: message.logTerm).index
        }
        guard tracker.progress[at: position].retreat(rejected: message.index, hint: hint) else { return }
        if tracker.progress[at: position].state == .replicate { tracker.progress[at: position].becomeProbe() }
        noteOwed(position: position)
    }

    /// Makes `ready()` look for appends to send if this member is owed one.
    private mutating func noteOwed(position: Int) {
        if tracker.progress[at: position].owesAppend(last: log.lastIndex, commit: log.commit) { owesAppends = true }
    }

    /// Sends a heartbeat to every member, with the commit index as far as the member is known to match, and the read
    /// round that waits for confirmation.
    mutating func sendHeartbeats() {
        let context = reads.hasRounds ? ReadQueue.encode(reads.lastRound) : Bytes()
        for position in 0..<tracker.progress.count where tracker.progress.members[position] != id {
            let commit = min(tracker.progress[at: position].match, log.commit)
            send(
                Message(
                    type: .heartbeat, to: tracker.progress.members[position], commit: commit, context: context))
            tracker.progress[at: position].sentCommit(commit)
        }
    }

    mutating func handleHeartbeatResponse(_ message: Message, position: Int) {
        tracker.progress[at: position].probesPaused = false
        noteOwed(position: position)
        if let round = ReadQueue.decode(message.context) { confirmReadRound(round, position: position) }
    }

    /// Notes that messages to `member` are probably lost: appends are sent one by one until one is answered.
    package mutating func reportUnreachable(_ member: MemberID) {
        guard role == .leader, let position = tracker.progress.position(of: member), member != id else { return }
        if tracker.progress[at: position].state == .replicate { tracker.progress[at: position].becomeProbe() }
    }

    /// Notes the end of sending the snapshot to `member`. Must be called for every snapshot message, however its
    /// sending ends; until then the member is sent nothing else (unless it answers by itself).
    package mutating func reportSnapshot(to member: MemberID, succeeded: Bool) {
        guard role == .leader, let position = tracker.progress.position(of: member),
            tracker.progress[at: position].state == .snapshot
        else { return }
        if !succeeded { tracker.progress[at: position].pendingSnapshot = .zero }
        tracker.progress[at: position].becomeProbe()
        // After success wait for its answer, after failure for a heartbeat interval.
        tracker.progress[at: position].probesPaused = true
    }

    /// Tries again to send to members that log storage could not serve: call it when it can.
    package mutating func retryReplication() {
        if role == .leader { owesAppends = true }
    }

    // MARK: Follower

    mutating func handleAppend(_ message: Message) throws(RaftError) {
        if message.index < log.commit {
            // Late or repeated; what is committed matches for certain.
            send(Message(type: .appendResponse, to: message.from, index: log.commit))
            return
        }
        let previous = EntryID(term: message.logTerm, index: message.index)
        if try log.append(after: previous, message.entries) {
            let last = message.index.advanced(by: message.entries.count)
            log.commit(through: min(message.commit, last))
            send(Message(type: .appendResponse, to: message.from, index: last))
            return
        }
        if message.index == log.commit { throw .contradictsCommitted(message.index) }
        let hint = log.conflictHint(at: message.index, term: message.logTerm)
        send(
            Message(
                type: .appendResponse, to: message.from, logTerm: hint.term, index: message.index, reject: true,
                rejectHint: hint.index))
    }

    mutating func handleHeartbeat(_ message: Message) throws(RaftError) {
        if message.commit > log.lastIndex {
            throw .lostDurableEntries(commit: message.commit, last: log.lastIndex)
        }
        log.commit(through: message.commit)
        send(Message(type: .heartbeatResponse, to: message.from, context: message.context))
    }

    /// Installs a snapshot whose image has been received in full. It may be older than the addition of this member and
    /// then not know it; what follows in the log does. Source: the paper, section 7.
    mutating func handleSnapshot(_ message: Message) throws(RaftError) {
        guard let snapshot = message.snapshot else { throw .malformed(.snapshot) }
        let isNews = snapshot.index > log.commit
        if isNews, log.matches(snapshot.entryID) {
            // The log has it all: no need to replace anything.
            log.commit(through: snapshot.index)
        } else if isNews {
            log.restore(snapshot)
            tracker.restore(snapshot.configurationState, lastIndex: log.lastIndex)
        }
        send(Message(type: .appendResponse, to: message.from, index: log.commit))
    }
}
