import MVCC
import Primitives
import RaftCore
import Replica
import ServerCore
import WriteAheadLog

/// The log's owner: its own turn while there are other members, the replica's turn on a member without others.
extension MemberDriver {
    /// On the replica's turn: writes what this round wants durable, and goes on from there.
    func writeOwnLog() throws(WALError) {
        waitingBatches += effects.appends
        while let progress = try write() {
            if !progress.committed.isEmpty { applyInbox.append(.entries(progress.committed)) }
            effects.appends.removeAll()
            effects.committed.removeAll()
            effects.messages.removeAll()
            core.replica.handle(.appendDurable(through: progress.durableThrough))
            output.messages += progress.messages
            core.replica.collect(into: &effects)
            output.messages += effects.messages
            if let read = effects.logRead { core.replica.handle(try core.logWriter.read(read)) }
            if !effects.committed.isEmpty { applyInbox.append(.entries(effects.committed)) }
            waitingBatches += effects.appends
        }
    }

    func logTurn(_ itemsMax: Int) throws(WALError) {
        let count = min(itemsMax, logInbox.count)
        var cut: LogIndex?
        var read: LogRead?
        for item in logInbox.prefix(count) {
            switch item {
            case .append(let batches): waitingBatches += batches
            case .cut(let index): cut = index
            case .read(let wanted): read = wanted
            }
        }
        logInbox.removeFirst(count)
        logBusySince = nil
        if bug == .skipSync || bug == .forgetVote { reportUnwritten() }
        if let progress = try write() { handOn(progress) }
        if let read { try answer(read) }
        if let cut { try self.cut(through: cut) }
        if !isLogFull { try lookAfterSegments(isIdle: false) }
    }

    /// Writes and syncs what waits. Nil when there is nothing to tell.
    private func write() throws(WALError) -> LogProgress? {
        // On a full disk the log may have given up what it kept.
        defer { tellFirstIndex() }
        if bug == .skipSync {
            guard !unwrittenBatches.isEmpty, mayAct(oneIn: 8) else { return nil }
            var written = 0
            let batches = unwrittenBatches
            unwrittenBatches = []
            if try core.logWriter.write(batches[...], written: &written) != nil { noteSynced(batches[...]) }
            return nil
        }
        guard !waitingBatches.isEmpty else { return nil }
        let batches = waitingBatches
        output.attempted += batches.compactMap { $0.entries.first?.index }
        var written = 0
        do throws(WALError) {
            let progress = try core.logWriter.write(batches[...], written: &written)
            waitingBatches = []
            isLogFull = false
            // What an earlier call wrote before the disk was full is synced now too.
            noteSynced(owedSyncs[...])
            owedSyncs = []
            noteSynced(batches[...])
            return progress
        } catch {
            guard error.code == .noSpace else { throw error }
            owedSyncs += batches.prefix(written)
            waitingBatches.removeFirst(written)
            isLogFull = true
            return nil
        }
    }

    private func noteSynced(_ batches: ArraySlice<AppendBatch>) {
        for batch in batches where !batch.entries.isEmpty { output.synced.append(batch.entries) }
        if bug == .applyUncommitted {
            for batch in batches where !batch.entries.isEmpty { applyInbox.append(.entries(batch.entries)) }
        }
    }

    /// Tells the replica, and gives the state machine what this member alone commits.
    private func handOn(_ progress: LogProgress) {
        replicaInbox.append(.appendDurable(through: progress.durableThrough))
        output.messages += progress.messages
        if !progress.committed.isEmpty { applyInbox.append(.entries(progress.committed)) }
    }

    /// The planted bug `commit-by-count`: a leader takes for committed whatever a quorum has, of whatever term.
    func applyWhatQuorumHas() throws(WALError) {
        let replica = core.replica
        guard replica.isLeader else { return }
        let voters = replica.configuration.voters
        let matches = replica.progress.filter { voters.contains($0.member) }.map(\.progress.match).sorted()
        let index = matches[(matches.count - 1) / 2]
        let applied = core.store.appliedIndex
        guard index > applied else { return }
        let read = LogRead(from: applied.advanced(by: 1), to: index.advanced(by: 1), bytesMax: 1 << 20)
        if case .logEntries(let entries) = try core.logWriter.read(read) { applyInbox.append(.entries(entries)) }
    }

    /// The planted bugs: says that batches are durable which are not.
    private func reportUnwritten() {
        let isForgotten: (AppendBatch) -> Bool = { $0.entries.isEmpty && $0.hardState != nil }
        let reported = bug == .skipSync ? waitingBatches : waitingBatches.filter(isForgotten)
        guard let last = reported.last else { return }
        if bug == .skipSync {
            unwrittenBatches += waitingBatches
            waitingBatches = []
        } else {
            // What comes with entries is written: only then may all before be called durable.
            guard reported.count == waitingBatches.count else { return }
            waitingBatches = []
        }
        replicaInbox.append(.appendDurable(through: last.number))
        for batch in reported {
            output.messages += batch.messagesAfterAppend
            if batch.commitsWhenDurable { applyInbox.append(.entries(batch.entries)) }
        }
    }
}

/// The log's housekeeping.
extension MemberDriver {
    func cut(through index: LogIndex) throws(WALError) {
        if let first = try core.logWriter.cut(through: index) { replicaInbox.append(.logBegins(at: first)) }
    }

    private func tellFirstIndex() {
        if let first = core.logWriter.takeNewFirstIndex() { replicaInbox.append(.logBegins(at: first)) }
    }

    func answer(_ read: LogRead) throws(WALError) {
        output.logReads += 1
        replicaInbox.append(try core.logWriter.read(read))
    }

    /// Looks after the next segment. Without room for one, the current one still takes what must pass.
    func lookAfterSegments(isIdle: Bool) throws(WALError) {
        do throws(WALError) {
            _ = try core.logWriter.reserve(now: now)
            tellFirstIndex()
            if isIdle, !core.logWriter.isPrepared { _ = try core.logWriter.prepare() }
        } catch {
            guard error.code == .noSpace else { throw error }
        }
    }
}
