package import MVCC
package import Primitives
import Wire

/// One store and one reader of it as a hub's source. Owner: the hub's event loop, which also owns the reader.
package final class StoreWatchSource: WatchSource {
    private let store: Store
    private let reader: StoreReader
    private let currentIdentity: () -> WatchIdentity

    /// - Parameter identity: asked for each response's header; must be cheap.
    package init(store: Store, reader: StoreReader, identity: @escaping () -> WatchIdentity) {
        self.store = store
        self.reader = reader
        currentIdentity = identity
    }

    package var currentRevision: Int64 { store.currentRevision }
    package var compactRevision: Int64 { store.compactRevision }
    package var identity: WatchIdentity { currentIdentity() }

    /// Stays on: other hubs of the same store may want it, and a restart's replay begins without.
    package func wantPrevious() {
        if !store.keepPrevious { store.keepPrevious = true }
    }

    package func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]? {
        store.tailEvents(after: after, through: through, maxBytes: maxBytes)
    }

    package func historyEvents(
        after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64) {
        try reader.historyEvents(
            after: after, maxRevisions: maxRevisions, maxBytes: maxBytes, wantPrevious: wantPrevious)
    }

    package func record(of key: UnsafeRawBufferPointer, at revision: Int64) throws(StoreError) -> Bytes? {
        do throws(StoreError) {
            var plan = try reader.plan(RangeQuery(key: key, revision: revision))
            guard plan.rowCount == 1 else { return nil }
            let row = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.rowBytes, alignment: 1)
            defer { row.deallocate() }
            try plan.writeAll(into: row)
            // A row is the record as field 2 of a range response: a tag, a length and the record.
            var fields = ProtoReader(UnsafeRawBufferPointer(row))
            guard case .bytes(2)? = try? fields.nextField(), let record = try? fields.bytes() else {
                throw .corrupted(revision: Revision(main: revision), detail: "a range row is not a field")
            }
            return Bytes(copying: record)
        } catch .compacted {
            return nil
        }
    }
}
