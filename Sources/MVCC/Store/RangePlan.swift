import Primitives
import Wire

/// An answer to a range, at one pinned revision: its numbers are known, its rows are written slice by slice.
///
/// Belongs to its reader's thread; dropping it lets its revision go. While it is open, physical compaction stays below
/// its revision, so a caller bounds the time it keeps one. Memory: O(slice), but for sorts by anything but the key.
package struct RangePlan: ~Copyable, @unchecked Sendable {
    // Used on its reader's thread only.
    private let reader: StoreReader
    private let state: UnsafeMutablePointer<RangeState>
    /// The revision the rows are read at.
    package let queryRevision: Int64
    /// The current revision when the plan was made.
    package let headerRevision: Int64
    /// Keys of the range at that revision, whatever the limit and the filters.
    package let count: Int64
    /// Whether there are more rows than the limit allowed.
    package let more: Bool
    /// How many rows the answer has.
    package let rowCount: Int
    /// The exact length of all rows, each with tag and length as an element of field 2 (`RangeResponse.kvs`).
    package let rowBytes: Int

    init(_ reader: StoreReader, _ state: UnsafeMutablePointer<RangeState>, _ summary: RangeSummary) {
        self.reader = reader
        self.state = state
        queryRevision = state.pointee.revision
        headerRevision = summary.headerRevision
        count = Int64(summary.count)
        more = summary.more
        rowCount = summary.rowCount
        rowBytes = summary.rowBytes
    }

    deinit { reader.giveBack(state) }

    /// Prepares the next rows: as many as fit into `maxBytes`, but at least one. Returns their length, which
    /// `writeSlice` must be called with; 0 when all rows have been written.
    package mutating func prepareSlice(maxBytes: Int) -> Int {
        reader.threadOwner.check("a range plan")
        if !state.pointee.isPrepared { reader.prepareSlice(&state.pointee, maxBytes: maxBytes) }
        return state.pointee.sliceBytes
    }

    /// Writes the prepared rows. Throws `.corrupted` for a record that is not what was written, `.system` when the
    /// backend cannot be read; the plan is then of no further use.
    package mutating func writeSlice(into buffer: UnsafeMutableRawBufferPointer) throws(StoreError) {
        reader.threadOwner.check("a range plan")
        invariant(
            state.pointee.isPrepared && buffer.count == state.pointee.sliceBytes, "a slice into \(buffer.count) bytes")
        try reader.writeSlice(&state.pointee, into: buffer)
    }

    /// Writes all rows that are left, `rowBytes` when none has been written yet.
    package mutating func writeAll(into buffer: UnsafeMutableRawBufferPointer) throws(StoreError) {
        var rest = buffer
        while true {
            let count = prepareSlice(maxBytes: RangePlan.stepBytes)
            if count == 0 { break }
            try writeSlice(into: UnsafeMutableRawBufferPointer(rebasing: rest[..<count]))
            rest = UnsafeMutableRawBufferPointer(rebasing: rest[count...])
        }
        invariant(rest.count == 0, "a range answer is \(rest.count) bytes shorter than planned")
    }

    private static let stepBytes = 256 << 10
}

/// What planning finds out.
struct RangeSummary {
    var headerRevision: Int64
    var count = 0
    var more = false
    var rowCount = 0
    var rowBytes = 0
}

/// Sizes that keep the time of one step short.
enum RangeLimits {
    /// Rows that are gathered at once, while the lock is held for planning.
    static let smallRows = 32
    static let smallBytes = 64 << 10
    /// Index entries looked at in one hold of the lock.
    static let entriesPerStep = 512
    /// Leaves that have changed since the revision asked for, in one hold of the lock.
    static let leavesPerStep = 64
}

extension StoreReader {
    /// Plans a range: finds its revision, its count and the length of its rows, from the index alone. Throws
    /// `.futureRevision` and `.compacted`. Source: etcd-behaviour 1.1.
    package func plan(_ query: RangeQuery) throws(StoreError) -> RangePlan {
        threadOwner.check("a store reader")
        let state = takeState()
        do throws(StoreError) {
            let summary =
                query.isSingle
                ? try planSingle(query, &state.pointee) : try planSpan(query, &state.pointee)
            return RangePlan(self, state, summary)
        } catch {
            giveBack(state)
            throw error
        }
    }

    private func planSingle(_ query: RangeQuery, _ state: inout RangeState) throws(StoreError) -> RangeSummary {
        try store.withState { (shared) throws(StoreError) -> RangeSummary in
            let revisions = try resolveRevision(query.revision, shared)
            state.revision = revisions.query
            var summary = RangeSummary(headerRevision: revisions.header)
            guard let entry = shared.index.find(query.key), let version = entry.pointee.live(at: revisions.query)
            else { return summary }
            summary.count = 1
            if query.countOnly || !query.filter.passes(version) { return summary }
            state.keysOnly = query.keysOnly
            append(entry, version, to: &state, shared)
            summary.rowCount = 1
            summary.rowBytes = state.sliceBytes
            state.isPrepared = true
            if state.needsDisk { pin(&state) }
            return summary
        }
    }

    private func planSpan(_ query: RangeQuery, _ state: inout RangeState) throws(StoreError) -> RangeSummary {
        guard let span = query.span else {
            return try store.withState { (shared) throws(StoreError) -> RangeSummary in
                let revisions = try resolveRevision(query.revision, shared)
                state.revision = revisions.query
                return RangeSummary(headerRevision: revisions.header)
            }
        }
        state.setSpan(span)
        state.keysOnly = query.keysOnly
        state.filter = query.filter
        state.descending = query.target == .key && query.order == .descend
        let limit = query.limit > 0 ? Int(query.limit) : Int.max
        state.rowsLeft = limit
        var summary = RangeSummary(headerRevision: 0)
        let isPlain = query.target == .key && !query.hasFilters && !query.keysOnly && !state.descending
        let isDone = try countSpan(query, &state, &summary, gathers: isPlain && !query.countOnly, limit: limit)
        if query.countOnly {
            summary.rowBytes = 0
            unpinIfPinned(&state)
            return summary
        }
        if isDone { return summary }
        state.setSpan(span)
        if query.target != .key {
            try planSorted(query, &state, &summary)
        } else {
            state.mode = .natural
            // The sums count from the first key on: they hold where the rows do too, or where all keys are rows.
            if isPlain || !(query.hasFilters || query.keysOnly || summary.count > limit) {
                summary.rowCount = min(summary.count, limit)
                summary.more = summary.count > limit
            } else {
                measureRows(query, &state, &summary, limit: limit)
                state.setSpan(span)
                state.rowsLeft = summary.rowCount
            }
        }
        return summary
    }

    private func unpinIfPinned(_ state: inout RangeState) {
        if state.isPinned { unpin(&state) }
    }

    /// Counts the span and pins its revision. With `gathers`, also takes the rows of a small answer; true when it did.
    private func countSpan(
        _ query: RangeQuery, _ state: inout RangeState, _ summary: inout RangeSummary, gathers: Bool, limit: Int
    ) throws(StoreError) -> Bool {
        var tally = RangeTally(rowsMax: limit, leavesMax: RangeLimits.leavesPerStep)
        var isGathered = false
        var isFirst = true
        repeat {
            try store.withState { (shared) throws(StoreError) in
                if isFirst {
                    let revisions = try resolveRevision(query.revision, shared)
                    state.revision = revisions.query
                    summary.headerRevision = revisions.header
                    pin(&state)
                    isFirst = false
                }
                tally.leavesLeft = RangeLimits.leavesPerStep
                state.withSpan { shared.index.count($0, at: state.revision, &tally) }
                if let next = tally.resume {
                    // Counting goes upwards whatever the order of the rows.
                    let descending = state.descending
                    state.descending = false
                    state.resume(at: next)
                    state.descending = descending
                } else if gathers {
                    isGathered = gatherSmall(query, &state, tally, shared, limit: limit)
                }
            }
        } while tally.resume != nil
        summary.count = tally.keys
        summary.rowBytes = tally.rowBytes
        if isGathered {
            summary.rowCount = state.rows.count
            summary.more = tally.keys > limit
            if !state.needsDisk { unpinIfPinned(&state) }
        }
        return isGathered
    }

    /// Takes the rows of a small answer while the lock is held anyway. False when it is not small, or when too many
    /// deleted keys lie between.
    private func gatherSmall(
        _ query: RangeQuery, _ state: inout RangeState, _ tally: RangeTally, _ shared: borrowing StoreState, limit: Int
    ) -> Bool {
        let rows = min(tally.keys, limit)
        guard rows <= RangeLimits.smallRows, tally.rowBytes <= RangeLimits.smallBytes, let span = query.span else {
            return false
        }
        if rows > 0 {
            let revision = state.revision
            _ = shared.index.scan(span, descending: false, entriesMax: RangeLimits.entriesPerStep) { entry in
                if let version = entry.pointee.live(at: revision) { append(entry, version, to: &state, shared) }
                return state.rows.count < rows
            }
        }
        if state.rows.count < rows {
            state.clearSlice()
            return false
        }
        state.isPrepared = rows > 0
        return true
    }

    /// Walks the span to find the number and the length of the rows where the index's sums do not tell.
    private func measureRows(
        _ query: RangeQuery, _ state: inout RangeState, _ summary: inout RangeSummary, limit: Int
    ) {
        var rows = 0
        var bytes = 0
        var hasMore = false
        let revision = state.revision
        let (filter, keysOnly) = (state.filter, state.keysOnly)
        walk(&state) { (_, entry, _) in
            guard let version = entry.pointee.live(at: revision), filter.passes(version) else { return true }
            if rows == limit {
                hasMore = true
                return false
            }
            rows += 1
            bytes += keysOnly ? KeyOnlyRow.rowBytes(keyCount: Int(entry.pointee.keyCount), version) : version.rowBytes
            return true
        }
        summary.rowCount = rows
        summary.rowBytes = bytes
        summary.more = hasMore
    }

    /// Hands the entries of the state's span to `body`, until it returns false; lets the lock go between steps.
    /// True when the span was finished.
    @inline(__always)
    @discardableResult
    func walk(
        _ state: inout RangeState,
        _ body: (inout RangeState, UnsafeMutablePointer<KeyEntry>, borrowing StoreState) -> Bool
    ) -> Bool {
        // Out of the state while it is walked, so that the body may change the state.
        var start: [UInt8] = []
        var end: [UInt8] = []
        while true {
            swap(&start, &state.start)
            swap(&end, &state.end)
            var isRefused = false
            let isFinished = store.withState { shared in
                let bound = state.hasEnd
                let stop = start.withUnsafeBytes { start in
                    end.withUnsafeBytes { end in
                        shared.index.scan(
                            KeySpan(start: start, end: bound ? end : nil), descending: state.descending,
                            entriesMax: RangeLimits.entriesPerStep
                        ) { entry in
                            isRefused = !body(&state, entry, shared)
                            return !isRefused
                        }
                    }
                }
                swap(&start, &state.start)
                swap(&end, &state.end)
                guard case .stopped(let entry) = stop else { return true }
                state.resume(at: entry)
                return false
            }
            if isFinished { return true }
            if isRefused { return false }
        }
    }
}
