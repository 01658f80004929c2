import Primitives
import Wire

extension RangeState {
    /// Whether a prepared row is not in memory.
    var needsDisk: Bool { rows.contains { $0.record == nil } }

    mutating func clearSlice() {
        rows.removeAll(keepingCapacity: true)
        encoded.removeAll(keepingCapacity: true)
        sliceBytes = 0
        isPrepared = false
    }
}

extension StoreReader {
    /// Adds a row to the slice being prepared. The lock must be held.
    @inline(__always)
    func append(
        _ entry: UnsafeMutablePointer<KeyEntry>, _ version: KeyVersion, to state: inout RangeState,
        _ shared: borrowing StoreState
    ) {
        if state.keysOnly {
            let count = KeyOnlyRow.rowBytes(keyCount: Int(entry.pointee.keyCount), version)
            let start = state.encoded.count
            state.encoded.append(contentsOf: repeatElement(0, count: count))
            state.encoded.withUnsafeMutableBytes { bytes in
                var writer = ProtoWriter(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
                KeyOnlyRow.write(entry.pointee.keyBytes, version, to: &writer)
                writer.finish()
            }
            state.sliceBytes += count
        } else {
            appendReference(version, to: &state, shared)
        }
    }

    @inline(__always)
    private func appendReference(_ version: KeyVersion, to state: inout RangeState, _ shared: borrowing StoreState) {
        state.rows.append(
            RowReference(
                record: recordInMemory(version, shared), main: version.main, sub: version.sub,
                recordBytes: version.recordBytes))
        state.sliceBytes += version.rowBytes
    }

    func prepareSlice(_ state: inout RangeState, maxBytes: Int) {
        switch state.mode {
        case .done: return
        case .natural: prepareNatural(&state, maxBytes: maxBytes)
        case .sorted: prepareSorted(&state, maxBytes: maxBytes)
        }
        state.isPrepared = state.sliceBytes > 0
    }

    private func prepareNatural(_ state: inout RangeState, maxBytes: Int) {
        let revision = state.revision
        let filter = state.filter
        let isFinished = walk(&state) { (state, entry, shared) in
            if state.rowsLeft == 0 { return false }
            guard let version = entry.pointee.live(at: revision), filter.passes(version) else { return true }
            let bytes =
                state.keysOnly
                ? KeyOnlyRow.rowBytes(keyCount: Int(entry.pointee.keyCount), version) : version.rowBytes
            if state.sliceBytes > 0, state.sliceBytes + bytes > maxBytes { return false }
            append(entry, version, to: &state, shared)
            state.rowsLeft -= 1
            return true
        }
        if isFinished || state.rowsLeft == 0 { state.mode = .done }
    }

    private func prepareSorted(_ state: inout RangeState, maxBytes: Int) {
        var isFull = false
        while !isFull, state.sortedNext < state.sorted.count {
            store.withState { shared in
                var steps = RangeLimits.entriesPerStep
                while steps > 0, state.sortedNext < state.sorted.count {
                    let row = state.sorted[state.sortedNext]
                    if state.sliceBytes > 0, state.sliceBytes + row.rowBytes > maxBytes {
                        isFull = true
                        return
                    }
                    state.rows.append(
                        RowReference(
                            record: recordInMemory(row.version, shared), main: row.version.main,
                            sub: row.version.sub, recordBytes: row.version.recordBytes))
                    state.sliceBytes += row.rowBytes
                    state.sortedNext += 1
                    steps -= 1
                }
            }
        }
        if state.sortedNext == state.sorted.count { state.mode = .done }
    }

    func writeSlice(_ state: inout RangeState, into buffer: UnsafeMutableRawBufferPointer) throws(StoreError) {
        var writer = ProtoWriter(buffer)
        state.encoded.withUnsafeBytes { writer.raw($0) }
        if !state.rows.isEmpty { try writeRows(state, to: &writer) }
        writer.finish()
        state.clearSlice()
    }

    private func writeRows(_ state: borrowing RangeState, to writer: inout ProtoWriter) throws(StoreError) {
        var isImageOpen = false
        defer { if isImageOpen { disk.end() } }
        for index in state.rows.indices {
            if let record = state.rows[index].record {
                try record.withUnsafeBytes { (bytes) throws(StoreError) in
                    try write(bytes, state.rows[index].revision, keysOnly: state.keysOnly, to: &writer)
                }
            } else {
                if !isImageOpen {
                    try disk.begin()
                    isImageOpen = true
                }
                let row = state.rows[index]
                let stored = try stored(row.revision)
                guard stored.bytes.count == Int(row.recordBytes) else {
                    throw .corrupted(
                        revision: row.revision, detail: "its length is not the one indexed", file: store.backend.path)
                }
                try write(stored.bytes, row.revision, keysOnly: state.keysOnly, to: &writer)
            }
        }
    }

    @inline(__always)
    private func write(
        _ record: UnsafeRawBufferPointer, _ revision: Revision, keysOnly: Bool, to writer: inout ProtoWriter
    ) throws(StoreError) {
        if !keysOnly { return writer.message(2, record) }
        // Only sorted answers come here: their keys are not in the index's order, so they are taken from the records.
        let version = KeyVersion.tombstone(main: revision.main, sub: revision.sub, recordBytes: record.count)
        let view = try KeyValueView.decode(record, at: version)
        let full = KeyVersion(
            main: view.modRevision, sub: revision.sub, createRevision: view.createRevision, version: view.version,
            hasLease: false, recordBytes: record.count)
        KeyOnlyRow.write(view.key, full, to: &writer)
    }
}
