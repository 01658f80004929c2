package import Primitives
package import Wire

/// What a put replaced.
package struct PutResult {
    /// The key's record before; nil when it did not exist or was not asked for.
    package var previous: Bytes?
    /// The lease the key was attached to before, or none.
    package var previousLease: LeaseID
}

/// What a deletion removed.
package struct DeleteResult {
    /// How many keys existed and now do not.
    package var deleted = 0
    /// Their records, in key order, when asked for.
    package var previous: [Bytes] = []
    /// Those that were attached to a lease.
    package var detached: [(key: Bytes, lease: LeaseID)] = []
}

/// A running write. All its changes get one main revision; each sees those before it. Apply thread only; the errors it
/// throws (`.corrupted`, `.system`) mean that the backend cannot be read: stop the process.
package struct WriteTransaction: ~Copyable {
    private let store: Store
    /// The revision its changes get.
    package let revision: Int64

    init(_ store: Store) {
        self.store = store
        revision = store.state.pointee.current + 1
    }

    /// Whether it has changed anything.
    package var hasChanges: Bool { !store.applier.pointee.staged.isEmpty }

    /// The revision a response shows and a range reads at: the current one, or its own once it has changed anything.
    package var readRevision: Int64 { hasChanges ? revision : revision - 1 }

    // MARK: Reading

    /// The key as it now is; nil when it does not exist.
    package func current(_ key: UnsafeRawBufferPointer) -> CurrentVersion? {
        store.state.pointee.index.find(key)?.pointee.live(at: revision).map { CurrentVersion($0) }
    }

    /// The key's record as it now is, shared or copied; nil when it does not exist.
    package func currentRecord(_ key: UnsafeRawBufferPointer) throws(StoreError) -> Bytes? {
        guard let version = store.state.pointee.index.find(key)?.pointee.live(at: revision) else { return nil }
        return try record(version)
    }

    /// Hands the key's decoded record to `body`, or nil when the key does not exist; nothing is copied.
    package func withCurrentRecord<R>(
        _ key: UnsafeRawBufferPointer, _ body: (KeyValueView?) -> R
    ) throws(StoreError) -> R {
        guard let version = store.state.pointee.index.find(key)?.pointee.live(at: revision) else { return body(nil) }
        return try withRecord(version) { body($0) }
    }

    /// Hands every existing key of the range to `body`, in order, until it returns false. `end` as in a range.
    package func forEachCurrent(
        key: UnsafeRawBufferPointer, end: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer, CurrentVersion) -> Bool
    ) {
        if end.count == 0 {
            if let version = current(key) { _ = body(key, version) }
            return
        }
        guard let span = RangeQuery(key: key, end: end).span else { return }
        _ = store.state.pointee.index.scan(span, descending: false, entriesMax: .max) { entry in
            guard let version = entry.pointee.live(at: revision) else { return true }
            return body(entry.pointee.keyBytes, CurrentVersion(version))
        }
    }

    /// Plans a range over the state as changed so far (or at an older revision). The plan must be written out and
    /// dropped before the next change and before the transaction ends.
    package func range(_ query: RangeQuery) throws(StoreError) -> RangePlan {
        let reader: StoreReader
        if let existing = store.applier.pointee.rangeReader {
            reader = existing
        } else {
            reader = StoreReader(forTransactionsOf: store, disk: try store.backend.makeReader())
            store.applier.pointee.rangeReader = reader
        }
        return try reader.plan(query)
    }

    // MARK: Changing

    /// Writes a key. `value` and `lease` are final: resolve ignore_value and ignore_lease before, and check the lease.
    package mutating func put(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, lease: LeaseID, wantPrevious: Bool
    ) throws(StoreError) -> PutResult {
        let applier = store.applier
        let entry = store.state.pointee.index.locate(key, &applier.pointee.path)
        let old = entry?.pointee.live(at: revision)
        var result = PutResult(previous: nil, previousLease: .none)
        var kept: Bytes?
        if let old, wantPrevious || old.hasLease || store.keepPrevious {
            let record = try record(old)
            if old.hasLease { result.previousLease = try leaseID(of: record, old) }
            if wantPrevious { result.previous = record }
            if store.keepPrevious { kept = record }
        }
        let at = Revision(main: revision, sub: UInt32(applier.pointee.staged.count))
        let number = (old?.version ?? 0) + 1
        let created = old?.createRevision ?? revision
        let event = Event.put(
            key: key, value: value, lease: lease, version: number, createRevision: created, at: at, previous: kept)
        let version = KeyVersion(
            main: revision, sub: at.sub, createRevision: created, version: number, hasLease: lease != .none,
            recordBytes: event.record.count)
        store.withState { $0.index.add(version, key, isPresent: entry != nil, &applier.pointee.path) }
        applier.pointee.staged.append(event)
        return result
    }

    /// Deletes the existing keys of a range; `end` as in a range.
    package mutating func deleteRange(
        key: UnsafeRawBufferPointer, end: UnsafeRawBufferPointer, wantPrevious: Bool
    ) throws(StoreError) -> DeleteResult {
        var result = DeleteResult()
        if end.count == 0 {
            try delete(key, wantPrevious, &result)
            return result
        }
        guard let span = RangeQuery(key: key, end: end).span else { return result }
        var doomed: [UnsafeMutablePointer<KeyEntry>] = []
        _ = store.state.pointee.index.scan(span, descending: false, entriesMax: .max) { entry in
            if !entry.pointee.latest.isTombstone { doomed.append(entry) }
            return true
        }
        // Adding a version to a key that is there moves no entry, so the pointers stay valid.
        for entry in doomed { try delete(entry.pointee.keyBytes, wantPrevious, &result) }
        return result
    }

    private mutating func delete(
        _ key: UnsafeRawBufferPointer, _ wantPrevious: Bool, _ result: inout DeleteResult
    ) throws(StoreError) {
        let applier = store.applier
        guard let entry = store.state.pointee.index.locate(key, &applier.pointee.path),
            let old = entry.pointee.live(at: revision)
        else { return }
        var kept: Bytes?
        if wantPrevious || old.hasLease || store.keepPrevious {
            let record = try record(old)
            if old.hasLease { result.detached.append((Bytes(copying: key), try leaseID(of: record, old))) }
            if wantPrevious { result.previous.append(record) }
            if store.keepPrevious { kept = record }
        }
        let at = Revision(main: revision, sub: UInt32(applier.pointee.staged.count))
        let event = Event.delete(key: key, at: at, previous: kept)
        let version = KeyVersion.tombstone(main: revision, sub: at.sub, recordBytes: event.storedCount)
        store.withState { $0.index.add(version, key, isPresent: true, &applier.pointee.path) }
        applier.pointee.staged.append(event)
        result.deleted += 1
    }

    // MARK: Records

    /// A version's record: shared where it is in memory, else copied from the backend.
    private func record(_ version: KeyVersion) throws(StoreError) -> Bytes {
        if let record = recordInMemory(version) { return record }
        return Bytes(copying: try stored(version).bytes)
    }

    private func recordInMemory(_ version: KeyVersion) -> Bytes? {
        if version.main == revision { return store.applier.pointee.staged[Int(version.sub)].record }
        // The backend thread trims the tail, so even the apply thread needs the lock for it.
        return store.withState { $0.tail.record(main: version.main, sub: version.sub) }
    }

    private func withRecord<R>(_ version: KeyVersion, _ body: (KeyValueView) -> R) throws(StoreError) -> R {
        guard let record = recordInMemory(version) else {
            return body(try KeyValueView.decode(try stored(version).bytes, at: version))
        }
        return try record.withUnsafeBytes { (bytes) throws(StoreError) -> R in
            body(try KeyValueView.decode(bytes, at: version))
        }
    }

    private func stored(_ version: KeyVersion) throws(StoreError) -> StoredRecord {
        let at = Revision(main: version.main, sub: version.sub)
        guard let found = try store.transactionImage().record(at: at) else {
            throw .corrupted(revision: at, detail: "it is missing", file: store.backend.path)
        }
        return found
    }

    private func leaseID(of record: Bytes, _ version: KeyVersion) throws(StoreError) -> LeaseID {
        try record.withUnsafeBytes { (bytes) throws(StoreError) -> LeaseID in
            LeaseID(try KeyValueView.decode(bytes, at: version).lease)
        }
    }
}

extension KeyValueView {
    /// Decodes a stored record; one that cannot be is a corrupted one.
    static func decode(_ bytes: UnsafeRawBufferPointer, at version: KeyVersion) throws(StoreError) -> KeyValueView {
        do {
            return try KeyValueView(decoding: bytes)
        } catch {
            throw .corrupted(
                revision: Revision(main: version.main, sub: version.sub), detail: "not a KeyValue: \(error)")
        }
    }
}
