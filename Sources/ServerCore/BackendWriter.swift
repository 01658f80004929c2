package import MVCC
package import Primitives

/// Carries what the state machine has applied from memory to the backend, behind the log's back: few, large, synced
/// commits, each with the applied index of the entries it contains.
///
/// Owner: the backend thread (tests and simulator: their only thread).
package final class BackendWriter {
    /// Most bytes of records in one commit.
    package static let commitBytesMax = 32 << 20

    private let store: Store
    private let backend: any Backend
    /// What found the disk full: it is committed before anything else.
    private var unfinished: PersistBatch?

    package init(store: Store, backend: any Backend) {
        self.store = store
        self.backend = backend
    }

    /// Makes the calling thread the owner.
    package func adoptByCurrentThread() { store.claimPersistingSide() }

    /// Commits the next part of what waits; nil when nothing does.
    ///
    /// - Parameter bytesMax: of records, about; one entry's effects are not divided.
    /// - Returns: the index of the last entry whose effects are now on disk.
    /// - Throws: what the backend could not do. After `.noSpace` the next call tries the same again. Any other failure
    ///   poisons the backend and is never tried again: the process must stop, and the log applies the entries once more.
    package func persist(bytesMax: Int = commitBytesMax) throws(StoreError) -> LogIndex? {
        guard let batch = unfinished ?? store.nextBatch(maxBytes: bytesMax) else { return nil }
        unfinished = batch
        try backend.commit(batch)
        unfinished = nil
        store.persisted(batch)
        return batch.through.appliedIndex
    }

    /// Something is to be committed again, which the store does not count among what waits.
    package var hasUnfinished: Bool { unfinished != nil }

    /// What the backend takes of the disk.
    package var sizes: BackendSizes { backend.sizes }

    /// Does one slice of giving disk space back. Throws as `persist` does.
    package func releaseSpace(_ pass: inout SpaceRelease) throws(StoreError) { try backend.releaseSpace(&pass) }

    package func close() { backend.close() }
}
