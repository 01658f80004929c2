import Primitives
import Synchronization

/// Reads the store for one thread at a time: its owner, the first to use it. It has its own image of the backend,
/// opened for a step and let go after it, and its own pins.
package final class StoreReader: @unchecked Sendable {
    // Used by one thread at a time, asserted at entry; the pin slot is shared, and atomic.
    unowned(unsafe) let store: Store
    /// Keeps the store alive; nil for the reader that belongs to the store itself.
    private let owner: Store?
    let disk: any BackendReader
    private let slot: PinSlot?
    private var pins = PinSet()
    private var idle: [UnsafeMutablePointer<RangeState>] = []
    let threadOwner = ThreadOwner()
    /// Idle plan states kept for the next plans.
    private static let idleMax = 64

    init(store: Store, disk: any BackendReader, slot: PinSlot) {
        self.store = store
        owner = store
        self.disk = disk
        self.slot = slot
    }

    /// For ranges inside of write transactions: sees what the running one has changed, and pins nothing, because the
    /// thread that sweeps is the one that reads.
    init(forTransactionsOf store: Store, disk: any BackendReader) {
        self.store = store
        owner = nil
        self.disk = disk
        slot = nil
    }

    deinit {
        for state in idle { Self.free(state) }
        guard let owner, let slot else { return }
        owner.withState { $0.pins.removeAll { $0 === slot } }
    }

    var isForTransactions: Bool { slot == nil }

    /// Makes the calling thread the owner, when a reader made on one thread is given to another.
    package func claim() { threadOwner.claim() }

    // MARK: Plan states

    func takeState() -> UnsafeMutablePointer<RangeState> {
        if let state = idle.popLast() { return state }
        let state = UnsafeMutablePointer<RangeState>.allocate(capacity: 1)
        state.initialize(to: RangeState())
        return state
    }

    func giveBack(_ state: UnsafeMutablePointer<RangeState>) {
        threadOwner.check("a store reader")
        if state.pointee.isPinned { unpin(&state.pointee) }
        if idle.count < Self.idleMax, state.pointee.reset() { idle.append(state) } else { Self.free(state) }
    }

    private static func free(_ state: UnsafeMutablePointer<RangeState>) {
        state.deinitialize(count: 1)
        state.deallocate()
    }

    // MARK: Pins

    /// Keeps what the plan's revision needs from being removed. The store's lock must be held.
    func pin(_ state: inout RangeState) {
        guard let slot else { return }
        pins.add(state.revision)
        state.isPinned = true
        slot.oldest.store(pins.oldest, ordering: .relaxed)
    }

    func unpin(_ state: inout RangeState) {
        guard let slot else { return }
        pins.remove(state.revision)
        state.isPinned = false
        slot.oldest.store(pins.oldest, ordering: .releasing)
    }

    // MARK: Records

    /// Where a version's record is: in memory, or (nil) in the backend. The lock must be held.
    @inline(__always)
    func recordInMemory(_ version: KeyVersion, _ state: borrowing StoreState) -> Bytes? {
        if _slowPath(version.main > state.current) { return store.applier.pointee.staged[Int(version.sub)].record }
        return state.tail.record(main: version.main, sub: version.sub)
    }

    /// A record that must be there, read through the open image.
    func stored(_ revision: Revision) throws(StoreError) -> StoredRecord {
        guard let found = try disk.record(at: revision) else {
            throw .corrupted(revision: revision, detail: "it is missing", file: store.backend.path)
        }
        return found
    }

    /// The revision a range reads at, and the one its header shows. The lock must be held.
    func resolveRevision(
        _ asked: Int64, _ state: borrowing StoreState
    ) throws(StoreError) -> (query: Int64, header: Int64) {
        var newest = state.current
        if isForTransactions, !store.applier.pointee.staged.isEmpty { newest += 1 }
        if asked > newest { throw .futureRevision(currentRevision: newest) }
        let query = asked <= 0 ? newest : asked
        if query < state.compact { throw .compacted(compactRevision: state.compact) }
        return (query, newest)
    }
}
