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
    /// Nothing of the log at or before this index is needed by this member.
    private var unneeded: LogIndex
    /// The log's first entry as it was last told.
    private var toldFirst: LogIndex
    /// How many segments had been begun when room was last looked after.
    private var lookedAfter: UInt64?
    /// When it is looked after again at the latest, in nanoseconds.
    private var looksAgainAt: UInt64 = 0

    /// - Parameter unneeded: the index that the store has persisted.
    package init(log: WriteAheadLog, unneeded: LogIndex = .zero) {
        self.log = log
        self.unneeded = unneeded
        toldFirst = log.firstIndex
    }

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
            if !entries.isEmpty || hardState != nil { try append(hardState) }
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

    /// Appends `entries`. Where there is no room, the log first gives up what it kept for members that lag.
    private func append(_ hardState: WALHardState?) throws(WALError) {
        do throws(WALError) { try log.append(entries, hardState: hardState) } catch {
            guard error.code == .noSpace, try log.giveUpRoom(through: unneeded) else { throw error }
            try log.append(entries, hardState: hardState)
        }
    }

    /// Drops whole segments that hold nothing after `index`, which the store has persisted, as far as the log's retention
    /// lets them go. Returns the first entry that is left when it is another than before: see `takeNewFirstIndex`.
    @discardableResult
    package func cut(through index: LogIndex) throws(WALError) -> LogIndex? {
        unneeded = max(unneeded, index)
        try log.truncatePrefix(through: unneeded)
        return takeNewFirstIndex()
    }

    /// The log's first entry, when it has become another one since this was last asked or `cut` told it, also because a full
    /// disk made the log give up what it kept: to be told with `ReplicaEvent.logBegins`.
    package func takeNewFirstIndex() -> LogIndex? {
        guard log.firstIndex != toldFirst else { return nil }
        toldFirst = log.firstIndex
        return toldFirst
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

    /// Whether room is reserved that `prepare` has to fill.
    package var isPreparing: Bool { log.isNextSegmentReserved && !log.isNextSegmentReady }

    /// Looks after the log's room on the disk: reserves the next segment, and gives up what is kept for members that lag
    /// when the disk is nearly full. Cheap: it looks at the disk when a segment has been begun, and else once a second,
    /// five times while room is lacking.
    ///
    /// - Parameter now: in nanoseconds.
    /// - Returns: whether there is room ahead. Else writes should be refused while the current segment still has room for
    ///   what must pass.
    package func reserve(now: UInt64) throws(WALError) -> Bool {
        let begun = log.statistics.segmentsStarted
        if lookedAfter != begun || now >= looksAgainAt {
            if log.isRoomScarce { _ = try log.giveUpRoom(through: unneeded) }
            do throws(WALError) {
                if !log.isNextSegmentReserved { _ = try log.prepareNextSegment(bytesMax: 4096) }
            } catch {
                guard error.code == .noSpace else { throw error }
            }
            lookedAfter = begun
            looksAgainAt = now + (log.isNextSegmentReserved ? Self.lookPeriod : Self.fullLookPeriod)
        }
        return log.isNextSegmentReserved || log.reservedBytes >= log.segmentBytesMin
    }

    /// How long the room that the disk was found to have is relied on, and the lack of it, in nanoseconds.
    private static let lookPeriod: UInt64 = 1_000_000_000
    private static let fullLookPeriod: UInt64 = 200_000_000

    /// Uses idle time: writes a part of the next segment, so that later syncs are cheaper. True when it is ready.
    ///
    /// - Throws: `.noSpace` when the disk has no room for it.
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
