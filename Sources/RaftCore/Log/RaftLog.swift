import Primitives

/// The log as the algorithm sees it: a compacted past, entries that only `LogStorage` has, entries in memory (of which
/// some are not durable yet), and the indexes that move along it. Never iterated as a whole.
struct RaftLog {
    let storage: any LogStorage
    /// The last entry that is gone.
    var compacted: EntryID
    /// Everything after `applied`, and as much before as the caller has not evicted.
    var memory: EntryWindow
    /// At least everything in memory, and the entry before.
    var terms: TermRuns
    var commit: LogIndex
    /// The last entry handed out to be applied.
    var applying: LogIndex
    var applied: LogIndex
    /// The last entry handed out to be made durable.
    var appended: LogIndex
    /// The last entry known to be durable here.
    var durable: LogIndex
    /// A snapshot that is to take, or is taking, the state machine's place.
    var pendingSnapshot: SnapshotMetadata?
    var isSnapshotHandedOut = false
    var flights = AppendFlights()
    /// Batches handed out to be applied, oldest first.
    var applyBatches: [(last: LogIndex, bytes: Int)] = []
    var applyOutstandingBytes = 0

    init(restored: RestoredState, storage: any LogStorage) {
        self.storage = storage
        compacted = restored.compacted
        let first = restored.entries.first?.index ?? restored.applied.advanced(by: 1)
        invariant(restored.applied >= restored.compacted.index, "applied index before the log's start")
        invariant(first > restored.compacted.index, "restored entries before the log's start")
        invariant(first <= restored.applied.advanced(by: 1), "restored entries miss some that are not applied")
        memory = EntryWindow(first: first)
        if first == compacted.index.advanced(by: 1) {
            terms = TermRuns(first: compacted.index)
            terms.append(index: compacted.index, term: compacted.term)
        } else {
            let before = first.advanced(by: -1)
            let term = try? storage.term(at: before)
            invariant(term != nil, "log storage does not know the term of the entry before the restored ones")
            terms = TermRuns(first: before)
            terms.append(index: before, term: term!)
        }
        for entry in restored.entries {
            memory.append(entry)
            terms.append(index: entry.index, term: entry.term)
        }
        let last = memory.end.advanced(by: -1)
        commit = max(restored.hardState.commit, restored.applied, RaftLog.provenCommit(restored.entries))
        invariant(commit <= last, "restored commit index beyond the log: durable entries were lost")
        applying = restored.applied
        applied = restored.applied
        appended = last
        durable = last
    }

    /// The last membership change but one is committed, whatever the hard state remembers: a leader proposes a change only
    /// when it has applied the one before. A write that was torn can keep two changes and lose the commit index behind
    /// them; a member that campaigned then, two configurations back, could win a term that the newest quorum gives to
    /// another one.
    private static func provenCommit(_ entries: [Entry]) -> LogIndex {
        entries.last(where: \.kind.changesConfiguration).flatMap { newest in
            entries.last { $0.kind.changesConfiguration && $0.index < newest.index }?.index
        } ?? .zero
    }

    var firstIndex: LogIndex { compacted.index.advanced(by: 1) }
    var lastIndex: LogIndex { memory.end.advanced(by: -1) }

    /// The last entry's identity; `terms` covers it always.
    var last: EntryID { EntryID(term: terms.term(at: lastIndex)!, index: lastIndex) }

    /// The term at an index between `compacted.index` and `lastIndex`.
    func term(at index: LogIndex) throws(LogStorageError) -> Term {
        if let term = terms.term(at: index) { return term }
        if index == compacted.index { return compacted.term }
        if index < compacted.index { throw .compacted }
        if index > lastIndex { throw .unavailable }
        return try storage.term(at: index)
    }

    /// The term at `index`, zero when it is not known any more; an index and term that no log has match nowhere.
    func term(atCommitted index: LogIndex) -> Term { (try? term(at: index)) ?? .zero }

    func matches(_ entry: EntryID) -> Bool {
        if let term = try? term(at: entry.index) { return term == entry.term }
        return false
    }

    /// Whether a log that ends with `other` holds all that this one may have committed. Source: the paper, 5.4.1.
    func isUpToDate(_ other: EntryID) -> Bool {
        let last = last
        return other.term > last.term || (other.term == last.term && other.index >= last.index)
    }

    // MARK: Growing

    /// Appends a leader's own entry at the end.
    mutating func append(_ entry: Entry) {
        memory.append(entry)
        terms.append(index: entry.index, term: entry.term)
    }

    /// Appends what a leader sent, if the log holds `previous`: entries it has already are skipped, entries that
    /// contradict them are superseded. Returns false when it does not hold `previous`.
    mutating func append(after previous: EntryID, _ entries: [Entry]) throws(RaftError) -> Bool {
        guard matches(previous) else { return false }
        guard let position = entries.firstIndex(where: { !matches(EntryID(term: $0.term, index: $0.index)) }) else {
            return true
        }
        let start = entries[position].index
        if start <= commit { throw .contradictsCommitted(start) }
        if start <= lastIndex { truncate(from: start) }
        for entry in entries[position...] { terms.append(index: entry.index, term: entry.term) }
        memory.append(entries[position...])
        return true
    }

    private mutating func truncate(from index: LogIndex) {
        invariant(index > commit, "committed entries truncated")
        let before = index.advanced(by: -1)
        memory.truncate(from: index)
        terms.truncate(from: index)
        appended = min(appended, before)
        durable = min(durable, before)
        flights.truncate(from: index)
    }

    /// Moves the commit index forward; never back.
    mutating func commit(through index: LogIndex) {
        invariant(index <= lastIndex, "commit index beyond the log")
        commit = max(commit, index)
    }

    /// The last position at or before `index` whose term is at most `term`: where a log that has `term` at `index`
    /// and this one may agree at best. Source: the paper, end of section 5.3.
    func conflictHint(at index: LogIndex, term: Term) -> EntryID {
        if let found = terms.lastIndex(notAfter: min(index, lastIndex), termAtMost: term) {
            return EntryID(term: terms.term(at: found) ?? .zero, index: found)
        }
        var index = min(index, terms.first.advanced(by: terms.first == .zero ? 0 : -1))
        while index > compacted.index, let here = try? storage.term(at: index) {
            if here <= term { return EntryID(term: here, index: index) }
            index = index.advanced(by: -1)
        }
        return EntryID(term: index == compacted.index ? compacted.term : .zero, index: index)
    }

    // MARK: Reading

    /// Entries from `from` on, for a follower, until `bytesMax` is reached; at least one unless the log ends there.
    func entries(from: LogIndex, bytesMax: Int) throws(LogStorageError) -> [Entry] {
        if from > lastIndex { return [] }
        if from >= memory.first { return memory.entries(from: from, to: memory.end, bytesMax: bytesMax) }
        if from <= compacted.index { throw .compacted }
        let entries = try storage.entries(from: from, to: memory.first, bytesMax: bytesMax)
        invariant(entries.first?.index == from, "log storage returned other entries than asked for")
        return entries
    }

    /// Whether committed entries after `applied` change the membership.
    var hasUnappliedChanges: Bool {
        var index = applied.advanced(by: 1)
        while index <= commit, pendingSnapshot == nil {
            if memory[index].kind.changesConfiguration { return true }
            index = index.advanced(by: 1)
        }
        return false
    }

    /// Payload bytes in `(from, through]`, which are in memory.
    func payloadBytes(after from: LogIndex, through: LogIndex) -> Int {
        var bytes = 0
        var index = from.advanced(by: 1)
        while index <= through {
            bytes += memory[index].payload.count
            index = index.advanced(by: 1)
        }
        return bytes
    }
}
