package import Primitives
import Wire

extension Store {
    /// Opens the store that `backend` holds, or begins a fresh one: reads the meta table and rebuilds the index in one
    /// scan, checking every record. Throws `.corrupted` with the revision where the file does not hold what was
    /// written, `.incompatible` for a format of another version.
    package static func open(
        backend: any Backend, options: StoreOptions = StoreOptions()
    ) throws(StoreError) -> Store {
        let reader = try backend.makeReader()
        try reader.begin()
        defer { reader.end() }
        var recovery = Recovery()
        do throws(StoreError) {
            try recovery.readMeta(reader)
            try recovery.scan(reader)
        } catch { throw error.located(backend.path) }
        let applier = ApplierState(meta: recovery.meta, stateHash: recovery.stateHash, reader: reader)
        return Store(backend: backend, options: options, state: recovery.finish(), applier: applier)
    }

    /// Hands every existing key that is attached to a lease to `body`, in key order. Apply thread, after opening and
    /// before the first write.
    package func forEachLeasedKey(
        _ body: (UnsafeRawBufferPointer, LeaseID) -> Void
    ) throws(StoreError) {
        let reader = try backend.makeReader()
        try reader.begin()
        defer { reader.end() }
        var failure: StoreError?
        let everything = KeySpan(start: UnsafeRawBufferPointer(start: nil, count: 0), end: nil)
        _ = state.pointee.index.scan(everything, descending: false, entriesMax: .max) { entry in
            let version = entry.pointee.latest
            guard version.hasLease else { return true }
            do throws(StoreError) {
                let lease = try Self.lease(of: version, reader, self)
                body(entry.pointee.keyBytes, lease)
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
    }

    private static func lease(
        of version: KeyVersion, _ reader: any BackendReader, _ store: Store
    ) throws(StoreError) -> LeaseID {
        if let record = store.withState({ $0.tail.record(main: version.main, sub: version.sub) }) {
            return try record.withUnsafeBytes { (bytes) throws(StoreError) in
                LeaseID(try KeyValueView.decode(bytes, at: version).lease)
            }
        }
        let at = Revision(main: version.main, sub: version.sub)
        guard let stored = try reader.record(at: at) else {
            throw .corrupted(revision: at, detail: "it is missing", file: store.backend.path)
        }
        return LeaseID(try KeyValueView.decode(stored.bytes, at: version).lease)
    }
}

/// Rebuilds a store's state from a backend's image.
private struct Recovery: ~Copyable {
    var state = StoreState(current: 1)
    var path = IndexPath()
    var meta: [Bytes: Bytes] = [:]
    var stateHash: UInt32 = 0

    mutating func readMeta(_ reader: any BackendReader) throws(StoreError) {
        var own: [Bytes: Bytes] = [:]
        for (key, value) in try reader.allMeta() {
            if Store.isOwnMeta(key) { own[key] = value } else { meta[key] = value }
        }
        guard let format = own[MetaKey.format] else {
            let records = try reader.recordCount()
            guard own.isEmpty, meta.isEmpty, records == 0 else {
                throw .corrupted(revision: nil, detail: "the file names no format, yet it holds data")
            }
            let format = MetaChange(key: MetaKey.format, value: Bytes([MetaKey.formatVersion]))
            state.pendingMeta.append(format)
            state.metaChanges = 1
            return
        }
        guard format == Bytes([MetaKey.formatVersion]) else {
            throw .incompatible(detail: "format \(format) is not \(MetaKey.formatVersion)")
        }
        let applied = try numbers(own, MetaKey.applied, 2)
        state.appliedIndex = LogIndex(applied[0])
        state.appliedTerm = Term(applied[1])
        state.persistedIndex = state.appliedIndex
        state.current = try number(own, MetaKey.revision)
        state.compact = try number(own, MetaKey.compact)
        state.persistedCompact = state.compact
        state.swept = own[MetaKey.swept] == nil ? -1 : try number(own, MetaKey.swept)
        stateHash = UInt32(truncatingIfNeeded: try number(own, MetaKey.stateHash))
        guard state.current >= 1, state.compact <= state.current, state.swept <= state.compact else {
            throw .corrupted(revision: nil, detail: "the meta entries contradict each other")
        }
        state.persisted = state.current
        state.tail = Tail(next: state.current + 1)
    }

    private func numbers(_ own: [Bytes: Bytes], _ key: Bytes, _ count: Int) throws(StoreError) -> [UInt64] {
        guard let value = own[key] else { throw .corrupted(revision: nil, detail: "meta entry \(key) is missing") }
        return try MetaKey.decode(value, count, of: key)
    }

    private func number(_ own: [Bytes: Bytes], _ key: Bytes) throws(StoreError) -> Int64 {
        Int64(bitPattern: try numbers(own, key, 1)[0])
    }

    mutating func scan(_ reader: any BackendReader) throws(StoreError) {
        var count = 0
        var last = Revision(main: 0, sub: 0)
        var stored = try reader.seek(last)
        while let record = stored {
            guard record.revision > last else {
                throw .corrupted(revision: record.revision, detail: "out of order after \(last.main).\(last.sub)")
            }
            last = record.revision
            try add(record)
            count += 1
            stored = try reader.next()
        }
        let expected = try reader.recordCount()
        guard count == expected else {
            throw .corrupted(revision: last, detail: "\(count) records were found of \(expected)")
        }
        guard last.main <= state.current else {
            throw .corrupted(revision: last, detail: "above the current revision \(state.current)")
        }
    }

    private mutating func add(_ stored: StoredRecord) throws(StoreError) {
        let at = stored.revision
        var version = KeyVersion.tombstone(main: at.main, sub: at.sub, recordBytes: stored.bytes.count)
        let view = try KeyValueView.decode(stored.bytes, at: version)
        if view.key.count == 0 { throw .corrupted(revision: at, detail: "no key") }
        if !stored.isTombstone {
            guard view.modRevision == at.main, view.version > 0, view.createRevision > 0 else {
                throw .corrupted(revision: at, detail: "the record says revision \(view.modRevision)")
            }
            version = KeyVersion(
                main: at.main, sub: at.sub, createRevision: view.createRevision, version: view.version,
                hasLease: view.lease != 0, recordBytes: stored.bytes.count)
        }
        state.index.add(version, view.key, &path)
    }

    consuming func finish() -> StoreState { state }
}
