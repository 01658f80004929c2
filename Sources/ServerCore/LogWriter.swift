package import Primitives
package import RaftCore
package import Replica
package import WriteAheadLog

/// What one round of log writing achieved.
package struct LogProgress: Sendable {
    /// Everything up to this append number is durable.
    package var durableThrough: UInt64
    /// Promises of durability that may leave now.
    package var messages: [Message]
    /// Entries that being durable has committed (`AppendBatch.commitsWhenDurable`), in order: for the state machine,
    /// and every one of them once, those of earlier calls that ended in `.noSpace` included.
    package var committed: [Entry]
    /// Whether the replica has something to do about it: another batch than such, or a promise.
    package var concernsReplica: Bool
    /// Whether this round had to sync.
    package var didSync: Bool
}

/// Puts what the replica decided into the write-ahead log: one write for each batch, one sync for all of them.
///
/// Owner: the log thread (tests and simulator: their only thread).
package final class LogWriter {
    private let log: WriteAheadLog
    private var entries: [WALEntry] = []
    /// What has been written since the last sync, beginning with calls that ended in `.noSpace`.
    private var owed = Owed()
    /// How many segments there were when room for the next was reserved.
    private var reservedFor = 0

    package init(log: WriteAheadLog) { self.log = log }

    /// Bytes of the log on disk.
    package var bytesOnDisk: Int { log.bytesOnDisk }

    /// Bytes written to the log since it was opened.
    package var bytesWritten: UInt64 { log.statistics.bytesWritten }

    /// Makes the calling thread the log's owner.
    package func adoptByCurrentThread() { log.adoptByCurrentThread() }

    /// Makes `batches` durable, in order.
    ///
    /// - Parameter written: counts the batches that have been written. On `.noSpace` call again with the others only:
    ///   what is owed to the written ones, a sync first of all, comes with the next call that succeeds.
    /// - Throws: `.noSpace` when there is no room for the next segment (nothing of the failing batch was written);
    ///   anything else means that the process must stop.
    package func write(_ batches: ArraySlice<AppendBatch>, written: inout Int) throws(WALError) -> LogProgress? {
        guard let last = batches.last else { return nil }
        for batch in batches {
            entries.removeAll(keepingCapacity: true)
            for entry in batch.entries {
                entries.append(
                    WALEntry(index: entry.index, term: entry.term, kind: entry.kind.rawValue, payload: entry.payload))
            }
            let hardState = batch.hardState.map {
                WALHardState(term: $0.term, vote: $0.vote, commit: min($0.commit, endOfLog(with: batch.entries)))
            }
            if !entries.isEmpty || hardState != nil { try log.append(entries, hardState: hardState) }
            owed.add(batch)
            written += 1
        }
        if owed.mustSync { try log.sync() }
        let paid = owed
        owed = Owed()
        return LogProgress(
            durableThrough: last.number, messages: paid.messages, committed: paid.committed,
            concernsReplica: paid.concernsReplica, didSync: paid.mustSync)
    }

    /// Drops whole segments that hold nothing after `index`, as far as the log's retention lets them go. Returns the first
    /// entry that is left when it is another than before: to be told with `ReplicaEvent.logBegins`.
    @discardableResult
    package func cut(through index: LogIndex) throws(WALError) -> LogIndex? {
        let before = log.firstIndex
        try log.truncatePrefix(through: index)
        return log.firstIndex == before ? nil : log.firstIndex
    }

    /// Reads entries back for a member that lags: the answer to `ReplicaEffects.logRead`.
    ///
    /// - Throws: `.corrupt` when a record cannot be read back, `.failed`: the process must stop.
    package func read(_ read: LogRead) throws(WALError) -> ReplicaEvent {
        guard read.from >= log.firstIndex else { return .logUnavailable }
        let entries = try log.entries(from: read.from, to: read.to, bytesMax: read.bytesMax)
        if entries.isEmpty { return .logUnavailable }
        return .logEntries(
            entries.map {
                Entry(
                    term: $0.term, index: $0.index, kind: EntryKind(rawValue: $0.kind) ?? .normal, payload: $0.payload)
            })
    }

    /// Whether `prepare` has nothing to do.
    package var isPrepared: Bool { log.isNextSegmentReady }

    /// Reserves room for the segment after the current one; cheap unless a segment has just been begun.
    ///
    /// - Throws: `.noSpace` when the disk is too full for another segment: writes should be refused while the current
    ///   segment still has room for what must pass.
    package func reserve() throws(WALError) {
        guard log.segmentCount != reservedFor else { return }
        _ = try log.prepareNextSegment(bytesMax: 4096)
        reservedFor = log.segmentCount
    }

    /// Uses idle time: writes a part of the next segment, so that later syncs are cheaper. True when it is ready.
    ///
    /// - Throws: as `reserve`.
    package func prepare() throws(WALError) -> Bool { try log.prepareNextSegment() }

    package func close() throws(WALError) { try log.close() }

    private func endOfLog(with entries: [Entry]) -> LogIndex { entries.last?.index ?? log.lastIndex }

    /// What written batches are owed once they are durable.
    private struct Owed {
        var mustSync = false
        var messages: [Message] = []
        var committed: [Entry] = []
        var concernsReplica = false

        mutating func add(_ batch: AppendBatch) {
            mustSync = mustSync || batch.mustSync
            messages.append(contentsOf: batch.messagesAfterAppend)
            // Nearly always there is one batch: its array is shared, not copied.
            if batch.commitsWhenDurable {
                if committed.isEmpty { committed = batch.entries } else { committed.append(contentsOf: batch.entries) }
            }
            concernsReplica = concernsReplica || !batch.commitsWhenDurable || !batch.messagesAfterAppend.isEmpty
        }
    }
}
