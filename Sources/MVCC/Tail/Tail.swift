import DequeModule
import Primitives

/// The newest revisions, in memory: all that are not persisted, and as many older ones as the byte budget allows.
///
/// Its main revisions are consecutive and end at the store's current one, so a lookup is an index. Guarded by the
/// store's lock.
struct Tail: ~Copyable {
    private struct Entry {
        let revision: RevisionEvents
        /// Summed up once: readers and the eviction ask for it under the lock.
        let footprintBytes: Int
    }

    private var entries = Deque<Entry>()
    /// The main revision of the oldest entry; that of the next one to come when there is none.
    private(set) var first: Int64
    /// What all of it takes in memory.
    private(set) var bytes = 0

    init(next: Int64) { first = next }

    /// The main revision the next entry must have.
    var next: Int64 { first + Int64(entries.count) }

    /// Adds the next revision, which takes `footprintBytes` in memory.
    mutating func append(_ revision: RevisionEvents, footprintBytes: Int) {
        invariant(revision.main == next, "revision \(revision.main) does not follow \(next - 1)")
        entries.append(Entry(revision: revision, footprintBytes: footprintBytes))
        bytes += footprintBytes
    }

    @inline(__always)
    func contains(_ main: Int64) -> Bool { main >= first && main < next }

    /// Traps when the revision is not here.
    @inline(__always)
    subscript(main: Int64) -> RevisionEvents { entries[Int(main - first)].revision }

    /// What a revision takes in memory. Traps when it is not here.
    @inline(__always)
    func footprintBytes(_ main: Int64) -> Int { entries[Int(main - first)].footprintBytes }

    /// The stored record of a put, when it is here.
    @inline(__always)
    func record(main: Int64, sub: UInt32) -> Bytes? {
        guard main >= first else { return nil }
        return entries[Int(main - first)].revision.events[Int(sub)].record
    }

    /// Takes out the oldest entry, for the caller to drop once the lock is released: freeing takes time.
    mutating func removeFirst() -> RevisionEvents {
        let entry = entries.removeFirst()
        first += 1
        bytes -= entry.footprintBytes
        return entry.revision
    }
}
