package import Primitives
import Wire

/// Where revisions and meta outlive the process: LMDB, or memory in the simulator.
///
/// One commit is one transaction: all of it is there after a crash, or nothing. A commit that fails poisons the
/// backend: every later one throws `.poisoned`, and nothing is ever retried. Only one that found the disk full (`.noSpace`)
/// may be made again, as it was.
///
/// Used through existentials (`any Backend`): a call through the witness table costs 2 ns where the read behind it
/// costs some hundreds, and a generic store would make every type above it generic.
package protocol Backend: AnyObject, Sendable {
    /// A reader of its own, for one thread at a time.
    func makeReader() throws(StoreError) -> any BackendReader
    /// Makes a batch durable. Backend thread.
    func commit(_ batch: PersistBatch) throws(StoreError)
    /// Does one slice of a pass that gives the disk space of what was removed back, and notes in it how far it came
    /// (`SpaceRelease`). It takes some milliseconds, and readers go on meanwhile. Backend thread. Throws as `commit` does.
    func releaseSpace(_ pass: inout SpaceRelease) throws(StoreError)
    /// Any thread.
    var sizes: BackendSizes { get }
    /// Where the data is, for messages.
    var path: String { get }
    /// Ends the use of the backend: no commit and no new image afterwards. The file is let go when the backend and all
    /// its readers have been dropped.
    func close()
}

extension Backend {
    /// Nothing to give back.
    package func releaseSpace(_ pass: inout SpaceRelease) throws(StoreError) { pass.isFinished = true }
}

/// Sizes in bytes.
package struct BackendSizes: Equatable, Sendable {
    /// What the file takes of the disk. That includes free pages, which are used again, until their space is given back
    /// (`Backend.releaseSpace`).
    package var fileBytes: Int
    /// Of those, what holds data.
    package var inUseBytes: Int

    package init(fileBytes: Int, inUseBytes: Int) {
        self.fileBytes = fileBytes
        self.inUseBytes = inUseBytes
    }
}

/// A stored record, checked against its checksum. Borrowed: valid until the reader's `end()`.
package struct StoredRecord {
    package var revision: Revision
    package var isTombstone: Bool
    package var checksum: UInt32
    package var bytes: UnsafeRawBufferPointer

    package init(revision: Revision, isTombstone: Bool, checksum: UInt32, bytes: UnsafeRawBufferPointer) {
        self.revision = revision
        self.isTombstone = isTombstone
        self.checksum = checksum
        self.bytes = bytes
    }

    /// The key as the record has it, for messages; nil when it cannot be read.
    private var keyText: String? {
        guard let view = try? KeyValueView(decoding: bytes), view.key.count > 0 else { return nil }
        return StoreError.keyText(view.key)
    }

    /// Throws when the bytes are not those that were written.
    @inline(__always)
    func verify() throws(StoreError) {
        if _slowPath(RecordChecksum.of(revision, isTombstone: isTombstone, bytes) != checksum) {
            throw .corrupted(revision: revision, detail: "its checksum does not match", key: keyText)
        }
    }
}

/// Reads one consistent image of a backend, from `begin()` to `end()`. An image pins pages of the file, so it is to be
/// short: slices of a long answer each take a fresh one.
package protocol BackendReader: AnyObject {
    /// Takes a fresh image, of the newest commit. An image must not be open.
    func begin() throws(StoreError)
    /// Lets the image go; what was borrowed from it is then invalid. Harmless when none is open.
    func end()
    /// Nil when there is no such record. Checksum verified, as by all that return records.
    func record(at revision: Revision) throws(StoreError) -> StoredRecord?
    /// The first record of a revision >= `revision`; nil when there is none.
    func seek(_ revision: Revision) throws(StoreError) -> StoredRecord?
    /// The record after the one `seek` or `next` last returned; nil at the end.
    func next() throws(StoreError) -> StoredRecord?
    /// How many records there are, as the backend notes it, without counting.
    func recordCount() throws(StoreError) -> Int
    func meta(_ key: Bytes) throws(StoreError) -> Bytes?
    /// All of the meta table, in key order.
    func allMeta() throws(StoreError) -> [(key: Bytes, value: Bytes)]
}

/// A change of one meta entry; a nil value removes it.
package struct MetaChange: Equatable, Sendable {
    package var key: Bytes
    package var value: Bytes?

    package init(key: Bytes, value: Bytes?) {
        self.key = key
        self.value = value
    }
}

/// What one commit makes durable: the effects of whole raft entries, and removals that compaction found.
package struct PersistBatch: Sendable {
    /// Consecutive, in order; above everything stored before.
    package var revisions: [RevisionEvents] = []
    /// In a restore, instead of `revisions`: ascending, above everything stored before, with gaps.
    package var imageRecords: [ImageRecord] = []
    /// Ascending; all stored before.
    package var deletions: [Revision] = []
    /// In order; a later change of a key replaces an earlier one. Holds the store's own entries too (`MetaKey`).
    package var meta: [MetaChange] = []
    /// Bytes of the records, roughly what the commit writes.
    package var recordBytes = 0
    /// Whether the batch ends the effects of an entry: else it holds removals alone.
    package var endsEntry = false
    /// What `Store.persisted` publishes when `endsEntry` is set.
    package var through = PersistMark()

    package init() {}

    package var isEmpty: Bool {
        revisions.isEmpty && imageRecords.isEmpty && deletions.isEmpty && meta.isEmpty
    }
}

/// The point up to which effects are in a batch.
package struct PersistMark: Equatable, Sendable {
    /// The store's current revision after the entry.
    package var revision: Int64 = 0
    package var appliedIndex = LogIndex.zero
    package var appliedTerm = Term.zero
    /// The compact revision after the entry.
    package var compactRevision: Int64 = -1
    /// The rolling hash after the entry.
    var stateHash: UInt32 = 0
    /// Sums since the store was opened, to subtract from.
    var metaChanges = 0
    var tailBytes = 0
}
