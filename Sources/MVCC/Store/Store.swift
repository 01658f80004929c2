import DequeModule
import Primitives
import Synchronization

/// The multi-version store.
///
/// Threads: the *apply thread* changes it (`write`, `setMeta`, `entryApplied`, `compact`, `sweepStep`); the *backend
/// thread* persists (`nextBatch`, `persisted`); any thread reads, each through a `StoreReader` of its own. The first to
/// call one of the two groups becomes its owner.
///
/// A change is made in steps at the next revision, which nobody reads yet; one assignment at the end of `write` makes
/// all of it visible. So the lock is held for single changes, never for a whole transaction.
package final class Store: @unchecked Sendable {
    // `state` is guarded by `lock`, `applier` belongs to the apply thread; the rest is constant or atomic.
    let backend: any Backend
    let options: StoreOptions
    let lock = StoreLock()
    let state: UnsafeMutablePointer<StoreState>
    let applier: UnsafeMutablePointer<ApplierState>
    let applyOwner = ThreadOwner()
    let backendOwner = ThreadOwner()
    let isBatchOut = Atomic<Bool>(false)
    private let publishedRevision: Atomic<Int64>
    private let wantsPrevious = Atomic<Bool>(false)
    let tailIsFull = Atomic<Bool>(false)

    /// What a version costs beside its record, in `liveBytes`: its place in the index and in the backend's pages.
    package static let versionOverheadBytes = 64

    init(backend: any Backend, options: StoreOptions, state: consuming StoreState, applier: consuming ApplierState) {
        self.backend = backend
        self.options = options
        publishedRevision = Atomic(state.current)
        self.state = .allocate(capacity: 1)
        self.state.initialize(to: state)
        self.applier = .allocate(capacity: 1)
        self.applier.initialize(to: applier)
    }

    deinit {
        state.deinitialize(count: 1)
        state.deallocate()
        applier.deinitialize(count: 1)
        applier.deallocate()
    }

    /// Runs `body` with the lock held. It must be short, and call nothing that takes the lock.
    @inline(__always)
    func withState<R, E: Error>(_ body: (inout StoreState) throws(E) -> R) throws(E) -> R {
        lock.lock()
        defer { lock.unlock() }
        return try body(&state.pointee)
    }

    // MARK: Any thread

    /// The revision readers see; 1 in a fresh store.
    package var currentRevision: Int64 { publishedRevision.load(ordering: .acquiring) }

    /// Reads below it are refused; -1 before the first compaction, as etcd's HashKV reports.
    package var compactRevision: Int64 { withState { $0.compact } }

    /// Set while more bytes wait for the backend than the tail may hold: proposals are to be refused.
    package var isTailFull: Bool { tailIsFull.load(ordering: .relaxed) }

    /// Whether writes keep the previous record in their events; on while some watcher wants previous values.
    package var keepPrevious: Bool {
        get { wantsPrevious.load(ordering: .relaxed) }
        set { wantsPrevious.store(newValue, ordering: .relaxed) }
    }

    /// One consistent set of numbers.
    package func numbers() -> StoreNumbers {
        withState { state in
            StoreNumbers(
                currentRevision: state.current, compactRevision: state.compact, sweptRevision: state.swept,
                persistedRevision: state.persisted, appliedIndex: state.appliedIndex,
                persistedIndex: state.persistedIndex, keys: state.index.totals.liveKeys,
                versions: state.index.versionCount,
                liveBytes: state.index.recordBytes + state.index.versionCount * Self.versionOverheadBytes,
                rowBytes: state.index.totals.liveRowBytes, tailBytes: state.tail.bytes,
                unpersistedBytes: state.unpersistedBytes, pendingDeletions: state.pendingDeletions)
        }
    }

    /// Sizes of the backend's file.
    package var backendSizes: BackendSizes { backend.sizes }

    /// Existing keys in [key, end) and the bytes of their rows, at the current revision: O(log n), for accounting by
    /// prefix. `end` as in a range.
    package func usage(key: UnsafeRawBufferPointer, end: UnsafeRawBufferPointer) -> (keys: Int, rowBytes: Int) {
        let query = RangeQuery(key: key, end: end)
        return withState { state in
            if query.isSingle {
                let version = state.index.find(key)?.pointee.live(at: state.current)
                return version.map { (1, $0.rowBytes) } ?? (0, 0)
            }
            guard let span = query.span else { return (0, 0) }
            var tally = RangeTally()
            state.index.count(span, at: state.current, &tally)
            return (tally.keys, tally.rowBytes)
        }
    }

    /// A reader for the calling thread, or for the one it is given to. Throws `.system` when the backend has no room
    /// for another.
    package func makeReader() throws(StoreError) -> StoreReader {
        let disk = try backend.makeReader()
        let slot = PinSlot()
        withState { $0.pins.append(slot) }
        return StoreReader(store: self, disk: disk, slot: slot)
    }

    /// The events after revision `after`, up to and with `through`, in order: at least one revision where there is one,
    /// then until `maxBytes` are reached. Nil when revision `after + 1` is no longer in memory: read `historyEvents`.
    package func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]? {
        withState { state in
            let last = min(through, state.current)
            guard after < last else { return [] }
            guard after + 1 >= state.tail.first else { return nil }
            var result: [RevisionEvents] = []
            var bytes = 0
            var main = after + 1
            while main <= last, bytes < maxBytes {
                bytes += state.tail.footprintBytes(main)
                result.append(state.tail[main])
                main += 1
            }
            return result
        }
    }

    // MARK: Publication

    /// Makes a finished revision visible. Apply thread. What has to leave the tail is returned, to be freed after the
    /// lock is released.
    func publish(_ events: [Event], footprintBytes: Int) {
        // Two at most for one that comes: the tail shrinks towards its budget without a long hold of the lock.
        let outgoing = withState { state in
            let main = state.current + 1
            state.tail.append(RevisionEvents(main: main, events: events), footprintBytes: footprintBytes)
            state.tailBytesAdded += footprintBytes
            state.current = main
            publishedRevision.store(main, ordering: .releasing)
            noteTailSize(state.unpersistedBytes)
            return (trimTail(&state), trimTail(&state))
        }
        // Freed after the lock is released.
        withExtendedLifetime(outgoing) {}
    }

    /// Takes the oldest revision out of a tail that is over its budget, if it is persisted.
    func trimTail(_ state: inout StoreState) -> RevisionEvents? {
        guard state.tail.bytes > options.tailBytesMax, state.tail.first <= state.persisted else { return nil }
        return state.tail.removeFirst()
    }

    func noteTailSize(_ unpersistedBytes: Int) {
        let isFull = unpersistedBytes > options.tailBytesMax
        if isFull != tailIsFull.load(ordering: .relaxed) { tailIsFull.store(isFull, ordering: .relaxed) }
    }
}
