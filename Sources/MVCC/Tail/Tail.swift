import DequeModule
import Primitives

/// The newest revisions, in memory: all that are not persisted, and as many older ones as the byte budget allows.
///
/// Its main revisions are consecutive and end at the store's current one, so a lookup is an index. Guarded by the
/// store's lock.
struct Tail: ~Copyable {
    private var revisions = Deque<RevisionEvents>()
    /// The main revision of the oldest entry; that of the next one to come when there is none.
    private(set) var first: Int64
    /// Sum of `footprintBytes`.
    private(set) var bytes = 0

    init(next: Int64) { first = next }

    /// The main revision the next entry must have.
    var next: Int64 { first + Int64(revisions.count) }

    mutating func append(_ entry: RevisionEvents, footprint: Int) {
        invariant(entry.main == next, "revision \(entry.main) does not follow \(next - 1)")
        revisions.append(entry)
        bytes += footprint
    }

    @inline(__always)
    func contains(_ main: Int64) -> Bool { main >= first && main < next }

    /// Traps when the revision is not here.
    @inline(__always)
    subscript(main: Int64) -> RevisionEvents { revisions[Int(main - first)] }

    /// The stored record of a put, when it is here.
    @inline(__always)
    func record(main: Int64, sub: UInt32) -> Bytes? {
        guard main >= first else { return nil }
        return revisions[Int(main - first)].events[Int(sub)].record
    }

    /// Takes out the oldest entry, for the caller to drop once the lock is released: freeing takes time.
    mutating func removeFirst() -> RevisionEvents {
        let entry = revisions.removeFirst()
        first += 1
        bytes -= entry.footprintBytes
        return entry
    }
}
