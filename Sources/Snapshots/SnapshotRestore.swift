package import MVCC
package import Primitives

/// Writes a snapshot's stream into an empty backend, in bounded commits.
///
/// The backend is of use only after `finish` has returned: the meta entries, without which no store opens the backend,
/// are committed last, after the whole stream was found right. Restore into a new file and rename that into place.
/// Memory: one commit, one frame, and the meta table. Owner: one thread at a time.
package final class SnapshotRestore {
    /// Bytes of records in one commit: little enough for who sends the stream not to have to wait for it.
    private static let commitBytes = 4 << 20

    private let backend: any Backend
    private let reader = SnapshotReader()
    private var batch = PersistBatch()
    private var meta: [MetaChange] = []
    private var failure: SnapshotError?

    /// - Throws: `.notEmpty` when `backend` holds anything, `.store` when it cannot be read.
    package init(into backend: any Backend) throws(SnapshotError) {
        self.backend = backend
        let isEmpty: Bool
        do throws(StoreError) {
            let image = try backend.makeReader()
            try image.begin()
            defer { image.end() }
            let records = try image.recordCount()
            let meta = try image.allMeta()
            isEmpty = records == 0 && meta.isEmpty
        } catch { throw .store(error) }
        guard isEmpty else { throw .notEmpty(path: backend.path) }
    }

    /// Known once enough of the stream has come.
    package var header: SnapshotHeader? { reader.header }

    /// Takes the next bytes of the stream, of any count; commits from time to time, and waits for it.
    ///
    /// - Throws: what `SnapshotReader.next` does; `.store` when the backend fails. The restore is then of no further use.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(SnapshotError) {
        try feed { reader.append(bytes) }
    }

    /// The same for bytes that may be kept: they are not copied.
    package func append(_ bytes: Bytes) throws(SnapshotError) {
        try feed { reader.append(bytes) }
    }

    private func feed(_ append: () -> Void) throws(SnapshotError) {
        if let failure { throw failure }
        do throws(SnapshotError) {
            append()
            while let part = try reader.next() { try take(part) }
        } catch {
            failure = error
            throw error
        }
    }

    /// Ends the stream, and makes the backend a store's.
    ///
    /// - Parameter adjust: may change the meta entries before they are written.
    /// - Throws: `.truncated` when the stream was not whole; `.store` when the backend fails.
    package func finish(
        adjusting adjust: (inout [MetaChange]) -> Void = { _ in }
    ) throws(SnapshotError) -> SnapshotStatus {
        if let failure { throw failure }
        let status = try reader.finish()
        try commit()
        adjust(&meta)
        batch.meta = meta
        try commit()
        return status
    }

    private func take(_ part: SnapshotPart) throws(SnapshotError) {
        switch part {
        case .header, .end: break
        case .meta(let entries): meta += entries
        case .records(let records):
            batch.recordBytes += records.append(to: &batch.imageRecords)
            if batch.recordBytes >= Self.commitBytes { try commit() }
        }
    }

    private func commit() throws(SnapshotError) {
        guard !batch.isEmpty else { return }
        do throws(StoreError) { try backend.commit(batch) } catch { throw .store(error) }
        batch = PersistBatch()
    }
}
