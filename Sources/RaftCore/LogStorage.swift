package import Primitives

/// Why entries that are not in memory cannot be read.
package enum LogStorageError: Error, Sendable, Hashable {
    /// They stand before the first index kept; a member that needs them gets a snapshot.
    case compacted
    /// They are beyond what is stored.
    case unavailable
    /// They can be read, but not right now (a read was started, a snapshot is being prepared): ask again later.
    case temporarilyUnavailable
}

/// Durable log entries that `Raft` no longer keeps in memory, read back to serve members that lag, and the snapshot for
/// those that lag further. Called synchronously on the thread that owns the `Raft`; must not block on a disk for long
/// (answer `.temporarilyUnavailable` instead, fetch, and call `Raft.retryReplication(to:)`).
package protocol LogStorage {
    /// The term of the entry at `index`, which is at or before the last index evicted from memory.
    func term(at index: LogIndex) throws(LogStorageError) -> Term
    /// Entries `from ..< to`, as many as fit in `bytesMax` (`Entry.sizeBytes` each), at least one; fewer are allowed.
    func entries(from: LogIndex, to: LogIndex, bytesMax: Int) throws(LogStorageError) -> [Entry]
    /// A snapshot that could be sent now. One that stands before the log's compacted index is of no use and ignored;
    /// none may stand beyond the commit index. Throws `.temporarilyUnavailable` when there is none yet.
    func snapshot() throws(LogStorageError) -> SnapshotMetadata
}

/// The storage of a `Raft` that keeps its whole log in memory and has no snapshot to send.
package struct EmptyLogStorage: LogStorage {
    package init() {}
    package func term(at index: LogIndex) throws(LogStorageError) -> Term { throw .compacted }
    package func entries(from: LogIndex, to: LogIndex, bytesMax: Int) throws(LogStorageError) -> [Entry] {
        throw .compacted
    }
    package func snapshot() throws(LogStorageError) -> SnapshotMetadata { throw .temporarilyUnavailable }
}
