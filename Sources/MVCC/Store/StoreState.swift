import DequeModule
package import Primitives
import Synchronization

/// Limits of a store, in bytes or counts as their names say.
package struct StoreOptions: Sendable {
    /// The tail keeps revisions up to so many bytes. When those that are not persisted are more, `isTailFull` is set.
    package var tailBytesMax = 64 << 20
    /// Two entries' effects may be persisted in one batch without a boundary between them below so many bytes.
    package var markBytesMin = 64 << 10
    /// Removals in one batch, unless one sweep step found more. Each may touch a page of its own.
    package var batchDeletionsMax = 8_000
    /// Removals waiting to be persisted; sweeping pauses above.
    package var pendingDeletionsMax = 400_000

    package init() {}
}

/// Numbers of one moment.
package struct StoreNumbers: Equatable, Sendable {
    /// The revision readers see.
    package var currentRevision: Int64
    /// -1 before the first compaction.
    package var compactRevision: Int64
    /// The compact revision whose removals have all been handed to the backend.
    package var sweptRevision: Int64
    /// All revisions up to this one are in the backend.
    package var persistedRevision: Int64
    package var appliedIndex: LogIndex
    package var persistedIndex: LogIndex
    /// Keys that exist.
    package var keys: Int
    /// Versions stored, tombstones and what compaction has yet to remove among them.
    package var versions: Int
    /// Live bytes, what a quota is measured against: the records of all those versions, and
    /// `Store.versionOverheadBytes` for each.
    package var liveBytes: Int
    /// The bytes of all existing keys' rows, as an answer to a range over everything would have them.
    package var rowBytes: Int
    package var tailBytes: Int
    /// Bytes in memory that wait for the backend.
    package var unpersistedBytes: Int
    /// Removals that wait for the backend.
    package var pendingDeletions: Int
}

/// Work of a sweep that waits for the backend, in order.
enum SweepItem {
    /// Whole keys' removals, ascending: to be stored in one commit. Were a key's tombstone removed in an earlier commit
    /// than its older versions, a crash between the two would bring the key back to life.
    case deletions([Revision])
    /// All removals of a compaction up to this revision come before this item.
    case finished(Int64)
}

/// What the store's lock guards. The apply thread alone changes `index`, `current` and `compact`, so it may read those
/// without the lock.
struct StoreState: ~Copyable {
    var index = KeyIndex()
    var tail: Tail
    /// The revision readers see.
    var current: Int64
    var compact: Int64 = -1
    /// The compact revision that would survive a crash. Nothing is removed above it: a restarted store must refuse to
    /// read below what it lacks.
    var persistedCompact: Int64 = -1
    var swept: Int64 = -1
    var persisted: Int64
    var persistedIndex = LogIndex.zero
    var appliedIndex = LogIndex.zero
    var appliedTerm = Term.zero

    /// Points where a batch may end, oldest first.
    var marks = Deque<PersistMark>()
    var pendingMeta = Deque<MetaChange>()
    /// Meta changes ever made, and ever handed to a batch.
    var metaChanges = 0
    var metaChangesTaken = 0
    /// Bytes ever put into the tail and the pending meta, and of those, ever persisted.
    var tailBytesAdded = 0
    var tailBytesPersisted = 0
    var sweepItems = Deque<SweepItem>()
    var pendingDeletions = 0
    var pins: [PinSlot] = []

    init(current: Int64) {
        self.current = current
        persisted = current
        tail = Tail(next: current + 1)
    }

    var unpersistedBytes: Int { tailBytesAdded - tailBytesPersisted }

    /// The oldest revision an open plan needs.
    var oldestPin: Int64 {
        var oldest = Int64.max
        for slot in pins { oldest = min(oldest, slot.oldest.load(ordering: .acquiring)) }
        return oldest
    }
}
