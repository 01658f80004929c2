package import Primitives
import Synchronization

/// A backend in memory: deterministic, with crashes and failures on demand, for the simulator and for tests. A commit
/// costs O(stored records) while a reader has an image open, so it is not meant for large stores.
package final class MemoryBackend: Backend {
    /// What a failing commit leaves behind.
    package enum FailureOutcome: Sendable {
        /// Nothing of the batch is stored.
        case lost
        /// All of it is stored, yet the commit fails: the answer of an `fsync` may be lost after its work is done.
        case stored
    }

    /// A record's bytes, immutable, at an address that lives as long as the object.
    private final class Record: Sendable {
        let revision: Revision
        let isTombstone: Bool
        let checksum: UInt32
        nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer

        init(_ revision: Revision, isTombstone: Bool, checksum: UInt32, _ source: UnsafeRawBufferPointer) {
            self.revision = revision
            self.isTombstone = isTombstone
            self.checksum = checksum
            bytes = .allocate(byteCount: source.count, alignment: 1)
            bytes.copyMemory(from: source)
        }

        deinit { bytes.deallocate() }

        var stored: StoredRecord {
            StoredRecord(
                revision: revision, isTombstone: isTombstone, checksum: checksum, bytes: UnsafeRawBufferPointer(bytes))
        }
    }

    private struct Image: Sendable {
        var records: [Record] = []
        var meta: [Bytes: Bytes] = [:]
    }

    private struct State: Sendable {
        var image = Image()
        var commits = 0
        var failures: [Int: FailureOutcome] = [:]
        var isPoisoned = false
        var isClosed = false
    }

    private let state = Mutex(State())

    package init() {}

    package var path: String { "memory" }

    /// How many commits were tried.
    package var commitCount: Int { state.withLock { $0.commits } }

    /// Makes the `number`-th commit from now fail (1: the next one).
    package func failCommit(number: Int, outcome: FailureOutcome) {
        state.withLock { $0.failures[$0.commits + number] = outcome }
    }

    /// The process dies: what was not committed is gone, and so are poison and closure. Stores and readers of before
    /// must not be used any more.
    package func crash() {
        state.withLock {
            $0.isPoisoned = false
            $0.isClosed = false
            $0.failures = [:]
        }
    }

    /// Flips a bit of a stored record, as a bad disk would. False when there is no such record, or no such byte.
    package func corrupt(_ revision: Revision, byte: Int) -> Bool {
        state.withLock { state in
            guard let index = state.image.records.firstIndex(where: { $0.revision == revision }),
                byte < state.image.records[index].bytes.count
            else { return false }
            let old = state.image.records[index]
            let new = Record(
                revision, isTombstone: old.isTombstone, checksum: old.checksum, UnsafeRawBufferPointer(old.bytes))
            new.bytes[byte] ^= 0x10
            state.image.records[index] = new
            return true
        }
    }

    package func makeReader() throws(StoreError) -> any BackendReader { Reader(self) }

    package var sizes: BackendSizes {
        state.withLock { state in
            let bytes = state.image.records.reduce(0) { $0 + $1.bytes.count + 32 }
            return BackendSizes(fileBytes: bytes, inUseBytes: bytes)
        }
    }

    package func close() { state.withLock { $0.isClosed = true } }

    package func commit(_ batch: PersistBatch) throws(StoreError) {
        let failure: StoreError? = state.withLock { state in
            if state.isClosed { return .closed }
            if state.isPoisoned { return .poisoned }
            state.commits += 1
            switch state.failures.removeValue(forKey: state.commits) {
            case .lost?:
                state.isPoisoned = true
                return .noSpace
            case .stored?:
                state.isPoisoned = true
                Self.store(batch, in: &state.image)
                return .system(code: 5, operation: "commit")
            case nil:
                Self.store(batch, in: &state.image)
                return nil
            }
        }
        if let failure { throw failure }
    }

    private static func store(_ batch: PersistBatch, in image: inout Image) {
        if !batch.deletions.isEmpty {
            let gone = Set(batch.deletions)
            let before = image.records.count
            image.records.removeAll { gone.contains($0.revision) }
            invariant(before - image.records.count == gone.count, "a removal of a record that is not stored")
        }
        for entry in batch.revisions {
            for (sub, event) in entry.events.enumerated() {
                let revision = Revision(main: entry.main, sub: UInt32(sub))
                invariant(image.records.last.map { $0.revision < revision } ?? true, "revisions out of order")
                let record = event.withStored {
                    Record(revision, isTombstone: event.isDelete, checksum: event.checksum, $0)
                }
                image.records.append(record)
            }
        }
        for record in batch.imageRecords {
            invariant(image.records.last.map { $0.revision < record.revision } ?? true, "revisions out of order")
            image.records.append(
                record.withStored { bytes, checksum in
                    Record(record.revision, isTombstone: record.isTombstone, checksum: checksum, bytes)
                })
        }
        for change in batch.meta { image.meta[change.key] = change.value }
    }

    private final class Reader: BackendReader {
        private let backend: MemoryBackend
        private var image: Image?
        private var position = 0

        init(_ backend: MemoryBackend) { self.backend = backend }

        private var open: Image {
            invariant(image != nil, "a read without an image")
            return image.unsafelyUnwrapped
        }

        func begin() throws(StoreError) {
            invariant(image == nil, "an image is open")
            image = backend.state.withLock { $0.isClosed ? nil : $0.image }
            if image == nil { throw .closed }
        }

        func end() { image = nil }

        private func lowerBound(_ revision: Revision) -> Int {
            var low = 0
            var high = open.records.count
            while low < high {
                let middle = (low + high) / 2
                if open.records[middle].revision < revision { low = middle + 1 } else { high = middle }
            }
            return low
        }

        private func verified(_ index: Int) throws(StoreError) -> StoredRecord? {
            guard index < open.records.count else { return nil }
            let stored = open.records[index].stored
            do throws(StoreError) { try stored.verify() } catch { throw error.located(backend.path) }
            return stored
        }

        func record(at revision: Revision) throws(StoreError) -> StoredRecord? {
            let index = lowerBound(revision)
            guard index < open.records.count, open.records[index].revision == revision else { return nil }
            return try verified(index)
        }

        func seek(_ revision: Revision) throws(StoreError) -> StoredRecord? {
            position = lowerBound(revision)
            return try verified(position)
        }

        func next() throws(StoreError) -> StoredRecord? {
            position += 1
            return try verified(position)
        }

        func recordCount() throws(StoreError) -> Int { open.records.count }

        func meta(_ key: Bytes) throws(StoreError) -> Bytes? { open.meta[key] }

        func allMeta() throws(StoreError) -> [(key: Bytes, value: Bytes)] {
            open.meta.map { (key: $0.key, value: $0.value) }.sorted { $0.key < $1.key }
        }
    }
}
