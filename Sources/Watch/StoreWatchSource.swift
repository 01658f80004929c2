package import MVCC

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

    package func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]? {
        store.tailEvents(after: after, through: through, maxBytes: maxBytes)
    }

    package func historyEvents(
        after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64) {
        try reader.historyEvents(
            after: after, maxRevisions: maxRevisions, maxBytes: maxBytes, wantPrevious: wantPrevious)
    }
}
