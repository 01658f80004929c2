import Primitives
import Wire

extension StoreReader {
    /// Collects the places of all rows and sorts them. A sort by value also holds the values in memory while it works.
    func planSorted(
        _ query: RangeQuery, _ state: inout RangeState, _ summary: inout RangeSummary
    ) throws(StoreError) {
        let limit = query.limit > 0 ? Int(query.limit) : Int.max
        // As etcd has it: an order that is not given counts as ascending, but then only the first rows by key (one more
        // than the limit) are fetched and sorted.
        let fetchMax = query.order == .none && !query.hasFilters && limit < Int.max ? limit + 1 : Int.max
        collectRows(query, &state, fetchMax: fetchMax)
        if query.target == .value {
            try sortByValue(&state, descending: query.order == .descend)
        } else if query.order == .descend {
            state.sorted.sort { ($1.key, $0.order) < ($0.key, $1.order) }
        } else {
            state.sorted.sort { ($0.key, $0.order) < ($1.key, $1.order) }
        }
        summary.more = state.sorted.count > limit
        if summary.more { state.sorted.removeLast(state.sorted.count - limit) }
        summary.rowCount = state.sorted.count
        summary.rowBytes = 0
        for row in state.sorted { summary.rowBytes += row.rowBytes }
        state.mode = .sorted
        state.sortedNext = 0
    }

    private func collectRows(_ query: RangeQuery, _ state: inout RangeState, fetchMax: Int) {
        let revision = state.revision
        let filter = state.filter
        let keysOnly = state.keysOnly
        let target = query.target
        walk(&state) { (state, entry, _) in
            guard let version = entry.pointee.live(at: revision), filter.passes(version) else { return true }
            if state.sorted.count == fetchMax { return false }
            let key =
                switch target {
                case .version: version.version
                case .create: version.createRevision
                case .mod: version.main
                case .key, .value: Int64(0)
                }
            let bytes =
                keysOnly ? KeyOnlyRow.rowBytes(keyCount: Int(entry.pointee.keyCount), version) : version.rowBytes
            state.sorted.append(
                SortedRow(key: key, order: state.sorted.count, version: version, rowBytes: bytes))
            return true
        }
    }

    private func sortByValue(_ state: inout RangeState, descending: Bool) throws(StoreError) {
        // First what is in memory, then the image: what leaves the tail in between is in the image.
        var values: [Bytes?] = []
        values.reserveCapacity(state.sorted.count)
        for row in state.sorted {
            guard let record = store.withState({ recordInMemory(row.version, $0) }) else {
                values.append(nil)
                continue
            }
            values.append(try record.withUnsafeBytes { (bytes) throws(StoreError) in try value(bytes, row) })
        }
        try disk.begin()
        defer { disk.end() }
        for (index, row) in state.sorted.enumerated() where values[index] == nil {
            let revision = Revision(main: row.version.main, sub: row.version.sub)
            values[index] = try value(try stored(revision).bytes, row)
        }
        state.sorted.sort { a, b in
            guard let x = values[a.order], let y = values[b.order], x != y else { return a.order < b.order }
            return descending ? y < x : x < y
        }
    }

    private func value(_ record: UnsafeRawBufferPointer, _ row: SortedRow) throws(StoreError) -> Bytes {
        Bytes(copying: try KeyValueView.decode(record, at: row.version).value)
    }
}
