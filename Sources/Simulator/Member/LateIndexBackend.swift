import MVCC
import Primitives

/// The planted bug `late-applied-index`: a backend that stores each commit's applied index with the next one.
final class LateIndexBackend: Backend, @unchecked Sendable {
    // Used by the simulation's thread alone.
    private let backend: MemoryBackend
    private var late: MetaChange?

    init(_ backend: MemoryBackend) { self.backend = backend }

    func commit(_ batch: PersistBatch) throws(StoreError) {
        var batch = batch
        let key: Bytes = "store/applied"
        if let place = batch.meta.lastIndex(where: { $0.key == key }) {
            let current = batch.meta[place]
            if let late { batch.meta[place] = late }
            late = current
        }
        try backend.commit(batch)
    }

    func makeReader() throws(StoreError) -> any BackendReader { try backend.makeReader() }
    var sizes: BackendSizes { backend.sizes }
    var path: String { backend.path }
    func close() { backend.close() }
}
