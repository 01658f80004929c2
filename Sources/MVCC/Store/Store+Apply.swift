import DequeModule
package import Primitives

/// What belongs to the apply thread.
struct ApplierState: ~Copyable {
    var path = IndexPath()
    /// Events of the transaction that is running.
    var staged: [Event] = []
    /// Everything in the meta table but the store's own entries.
    var meta: [Bytes: Bytes]
    /// See `Store.stateHash`.
    var stateHash: UInt32
    /// Reads for transactions.
    let reader: any BackendReader
    var isReaderOpen = false
    /// Serves ranges inside of transactions; made when first needed, because it refers to the store.
    var rangeReader: StoreReader?
    var sweep: SweepPass?

    init(meta: [Bytes: Bytes], stateHash: UInt32, reader: any BackendReader) {
        self.meta = meta
        self.stateHash = stateHash
        self.reader = reader
    }
}

extension Store {
    // MARK: Writing

    /// Makes the calling thread the owner of the write side: once on the apply thread, after the store was opened and
    /// founded on another.
    package func claimWriteSide() { applyOwner.claim() }

    /// As `claimWriteSide`, for `nextBatch` and `persisted` on the backend thread.
    package func claimPersistingSide() { backendOwner.claim() }

    /// Runs one transaction. If it wrote anything, the current revision has moved by one when this returns, and readers
    /// see all of it; else nothing has changed. An error that `body` throws after its first change leaves the store
    /// unusable: check everything that can be refused first, and stop the process on what cannot (a read error).
    package func write<R, E: Error>(_ body: (inout WriteTransaction) throws(E) -> R) throws(E) -> R {
        applyOwner.check("the store's write side")
        var transaction = WriteTransaction(self)
        let result: R
        do throws(E) {
            result = try body(&transaction)
        } catch {
            endReads()
            let isBroken = (error as? any StoreFailure)?.breaksStore == true
            invariant(
                applier.pointee.staged.isEmpty || isBroken,
                "a write transaction failed after its first change: \(error)")
            throw error
        }
        endReads()
        if !applier.pointee.staged.isEmpty { finish() }
        return result
    }

    private func finish() {
        var events: [Event] = []
        swap(&events, &applier.pointee.staged)
        // What a revision of no events would take.
        var footprintBytes = 48
        for event in events {
            footprintBytes += event.footprintBytes
            applier.pointee.stateHash = Self.chain(applier.pointee.stateHash, event.checksum)
        }
        publish(events, footprintBytes: footprintBytes)
    }

    /// Adds one record's checksum, which covers its revision, to a rolling hash.
    private static func chain(_ hash: UInt32, _ checksum: UInt32) -> UInt32 {
        withUnsafeBytes(of: checksum.littleEndian) { CRC32C.checksum($0, continuing: hash) }
    }

    /// A hash over every record ever written, in order: members that have applied the same entries have the same one.
    /// Survives restarts; does not depend on compaction. Apply thread.
    package var stateHash: UInt32 { applier.pointee.stateHash }

    /// The image the running transaction reads the backend through.
    func transactionImage() throws(StoreError) -> any BackendReader {
        if !applier.pointee.isReaderOpen {
            try applier.pointee.reader.begin()
            applier.pointee.isReaderOpen = true
        }
        return applier.pointee.reader
    }

    private func endReads() {
        if applier.pointee.isReaderOpen {
            applier.pointee.reader.end()
            applier.pointee.isReaderOpen = false
        }
    }

    // MARK: Entries and meta

    /// The last entry whose effects are in the store (in memory). Apply thread.
    package var appliedIndex: LogIndex { state.pointee.appliedIndex }
    package var appliedTerm: Term { state.pointee.appliedTerm }

    /// Closes the effects of one raft entry: a batch never ends inside of them. Indexes grow; apply thread.
    package func entryApplied(index: LogIndex, term: Term) {
        applyOwner.check("the store's write side")
        let hash = applier.pointee.stateHash
        withState { state in
            // Index 0 closes what a new member is founded with, before its first entry.
            invariant(
                index > state.appliedIndex || state.appliedIndex == .zero && state.current == 1,
                "entry \(index.rawValue) is applied twice")
            state.appliedIndex = index
            state.appliedTerm = term
            let mark = PersistMark(
                revision: state.current, appliedIndex: index, appliedTerm: term, compactRevision: state.compact,
                stateHash: hash, metaChanges: state.metaChanges, tailBytes: state.tailBytesAdded)
            // Boundaries need not be finer than batches are: replace the last one while little has come since the one
            // before it.
            let count = state.marks.count
            let floor = count >= 2 ? state.marks[count - 2].tailBytes : state.tailBytesPersisted
            if count >= 1, mark.tailBytes - floor < options.markBytesMin {
                state.marks[count - 1] = mark
            } else {
                state.marks.append(mark)
            }
        }
    }

    /// Changes an entry of the meta table; nil removes it. It is persisted with the entry that `entryApplied` closes
    /// next. Keys are the caller's, but must not begin with `store/`. Apply thread.
    package func setMeta(_ key: Bytes, _ value: Bytes?) {
        applyOwner.check("the store's write side")
        invariant(!Self.isOwnMeta(key), "meta entry \(key) is the store's own")
        applier.pointee.meta[key] = value
        let change = MetaChange(key: key, value: value)
        withState { state in
            state.pendingMeta.append(change)
            state.metaChanges += 1
            state.tailBytesAdded += key.count + (value?.count ?? 0) + 96
            noteTailSize(state.unpersistedBytes)
        }
    }

    /// The entry's value as last set. Apply thread.
    package func meta(_ key: Bytes) -> Bytes? { applier.pointee.meta[key] }

    /// The entries whose keys begin with `prefix`, in key order. Apply thread.
    package func metaEntries(prefix: Bytes) -> [(key: Bytes, value: Bytes)] {
        var found: [(key: Bytes, value: Bytes)] = []
        for (key, value) in applier.pointee.meta where Self.hasPrefix(key, prefix) { found.append((key, value)) }
        found.sort { $0.key < $1.key }
        return found
    }

    static func isOwnMeta(_ key: Bytes) -> Bool { hasPrefix(key, MetaKey.prefix) }

    private static func hasPrefix(_ key: Bytes, _ prefix: Bytes) -> Bool {
        key.withUnsafeBytes { key in
            prefix.withUnsafeBytes { commonPrefix(key, $0, atMost: $0.count) == $0.count }
        }
    }
}
