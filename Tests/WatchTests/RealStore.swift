import MVCC
import Primitives
import Watch

/// The store of MVCC over its in-memory backend, with entries, persistence and sweeping done by the test's thread.
final class RealStore: TestStore {
    private let backend = MemoryBackend()
    private let store: Store
    let source: any WatchSource
    private var index: UInt64 = 0
    private var random: PRNG

    init(seed: UInt64) throws {
        random = PRNG(seed: seed ^ 0x5707e)
        var options = StoreOptions()
        options.tailBytesMax = random.next(in: 1..<20_000)
        options.markBytesMin = random.next(in: 1..<2000)
        store = try Store.open(backend: backend, options: options)
        source = StoreWatchSource(store: store, reader: try store.makeReader()) {
            WatchIdentity(clusterID: 1, memberID: 2, raftTerm: 3)
        }
    }

    var currentRevision: Int64 { store.currentRevision }
    var compactRevision: Int64 { store.compactRevision }

    func write(_ changes: [Change]) throws {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        try store.write { (transaction) throws(StoreError) in
            for change in changes {
                try change.key.withUnsafeBytes { (key) throws(StoreError) in
                    guard let value = change.value else {
                        _ = try transaction.deleteRange(key: key, end: none, wantPrevious: false)
                        return
                    }
                    try value.withUnsafeBytes { (value) throws(StoreError) in
                        _ = try transaction.put(key: key, value: value, lease: .none, wantPrevious: false)
                    }
                }
            }
        }
        apply()
        if random.chance(oneIn: 10) { try persist(batches: 1) }
    }

    func compact(to revision: Int64) throws {
        try store.compact(to: revision)
        apply()
        try persist(batches: random.next(in: 0..<3))
    }

    func shortenTail() throws { try persist(batches: Int.max) }

    private func apply() {
        index += 1
        store.entryApplied(index: LogIndex(index), term: Term(1))
        if random.chance(oneIn: 4) { _ = store.sweepStep(maxKeys: 5) }
    }

    private func persist(batches: Int) throws {
        var left = batches
        while left > 0, let batch = store.nextBatch(maxBytes: 2000) {
            try backend.commit(batch)
            store.persisted(batch)
            left -= 1
        }
    }
}
