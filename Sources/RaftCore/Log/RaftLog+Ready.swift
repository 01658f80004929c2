import Primitives

extension RaftLog {
    // MARK: To the disk

    var hasAppends: Bool { appended < lastIndex || (pendingSnapshot != nil && !isSnapshotHandedOut) }

    /// The entries not handed out yet.
    mutating func takeAppends() -> [Entry] {
        if appended == lastIndex { return [] }
        let entries = memory.entries(from: appended.advanced(by: 1), to: memory.end)
        appended = lastIndex
        return entries
    }

    /// The snapshot not handed out yet.
    mutating func takeSnapshot() -> SnapshotMetadata? {
        guard let pendingSnapshot, !isSnapshotHandedOut else { return nil }
        isSnapshotHandedOut = true
        return pendingSnapshot
    }

    /// Notes that `flight` is durable, and its snapshot installed.
    mutating func land(_ flight: AppendFlights.Flight) {
        durable = max(durable, flight.last)
        guard let snapshot = flight.snapshot else { return }
        if pendingSnapshot?.entryID == snapshot {
            pendingSnapshot = nil
            isSnapshotHandedOut = false
        }
        applying = max(applying, snapshot.index)
        applied(through: snapshot.index)
    }

    // MARK: To the state machine

    /// The last entry that may be applied now.
    private var appliable: LogIndex { pendingSnapshot == nil ? min(commit, durable) : applying }

    func hasCommitted(outstandingBytesMax: Int) -> Bool {
        applying < appliable && applyOutstandingBytes < outstandingBytesMax
    }

    /// The next entries to apply.
    mutating func takeCommitted(batchBytesMax: Int, outstandingBytesMax: Int) -> [Entry] {
        guard hasCommitted(outstandingBytesMax: outstandingBytesMax) else { return [] }
        let entries = memory.entries(
            from: applying.advanced(by: 1), to: appliable.advanced(by: 1), bytesMax: batchBytesMax)
        var bytes = 0
        for entry in entries { bytes += entry.sizeBytes }
        applying = applying.advanced(by: entries.count)
        applyBatches.append((applying, bytes))
        applyOutstandingBytes += bytes
        return entries
    }

    mutating func applied(through index: LogIndex) {
        invariant(index <= applying, "applied beyond what was handed out")
        applied = max(applied, index)
        let done = applyBatches.prefix { $0.last <= index }
        for batch in done { applyOutstandingBytes -= batch.bytes }
        applyBatches.removeFirst(done.count)
    }

    // MARK: Forgetting

    /// Begins anew after a snapshot; everything held is superseded.
    mutating func restore(_ snapshot: SnapshotMetadata) {
        invariant(snapshot.index > commit, "snapshot of the past installed")
        compacted = snapshot.entryID
        memory = EntryWindow(first: snapshot.index.advanced(by: 1))
        terms = TermRuns(first: snapshot.index)
        terms.append(index: snapshot.index, term: snapshot.term)
        commit = snapshot.index
        appended = snapshot.index
        durable = snapshot.index
        flights.dropEntries()
        pendingSnapshot = snapshot
        isSnapshotHandedOut = false
    }

    /// Drops entries through `index` (at most the applied one) from memory; `LogStorage` must have them.
    mutating func evict(through index: LogIndex) {
        invariant(index <= applied && index <= durable, "entries evicted that are still needed")
        if pendingSnapshot == nil { memory.dropFirst(through: index) }
    }

    /// Drops the oldest applied and durable entries from memory until `bytesMax` bytes are left, or none that may go.
    mutating func evict(keepingBytes bytesMax: Int) {
        guard pendingSnapshot == nil, memory.bytes > bytesMax else { return }
        let limit = min(applied, durable)
        var bytes = memory.bytes
        var next = memory.first
        while bytes > bytesMax, next <= limit {
            bytes -= memory[next].sizeBytes
            next = next.advanced(by: 1)
        }
        memory.dropFirst(through: next.advanced(by: -1))
    }

    /// Drops entries through `index` (at most the applied one) for good. Returns false when there was nothing to drop
    /// or the term at `index` could not be read.
    mutating func compact(through index: LogIndex) -> Bool {
        invariant(index <= applied, "log compacted beyond the applied index")
        guard index > compacted.index, pendingSnapshot == nil, let term = try? term(at: index) else { return false }
        compacted = EntryID(term: term, index: index)
        memory.dropFirst(through: index)
        // The entry at `index` keeps its term: members that have it can be appended to.
        terms.dropFirst(through: index.advanced(by: -1))
        return true
    }
}
