package import IOInterfaces
package import Primitives

/// The Raft log on disk. See the signatures; the implementation follows in the next commit.
package final class WriteAheadLog {
    package private(set) var metadata: WALMetadata
    /// The newest hard state appended.
    package private(set) var hardState: WALHardState
    /// The first entry that can be read back; one past `lastIndex` when the log holds none.
    package var firstIndex: LogIndex { fatalError() }
    /// The last entry appended (not necessarily synced).
    package var lastIndex: LogIndex { fatalError() }
    /// Bytes of all segments on disk, the one prepared ahead included.
    package var bytesOnDisk: Int { fatalError() }
    package var segmentCount: Int { fatalError() }
    /// The error that stopped the log, once it has failed.
    package private(set) var failure: WALError?
    /// True when there is nothing more for `prepareNextSegment` to do.
    package var isNextSegmentReady: Bool { fatalError() }

    init(metadata: WALMetadata, hardState: WALHardState) { self.metadata = metadata; self.hardState = hardState }

    /// Whether the directory holds a log (at least one segment).
    package static func exists(in directory: String, _ fileSystem: some FileSystem) throws(WALError) -> Bool {
        fatalError()
    }
    /// Makes a new log in `directory` (made when missing), which begins after `start`. `salt`: a random number.
    package static func create(
        in directory: String, _ fileSystem: any FileSystem, metadata: WALMetadata, salt: UInt64,
        start: WALPosition = .origin, hardState: WALHardState = WALHardState(), options: WALOptions = WALOptions()
    ) throws(WALError) -> WriteAheadLog { fatalError() }
    /// Opens a log, repairs a torn tail, refuses a broken one. `after`: the index the store has applied durably.
    package static func open(
        in directory: String, _ fileSystem: any FileSystem, expecting: WALMetadata? = nil, after index: LogIndex,
        options: WALOptions = WALOptions()
    ) throws(WALError) -> (log: WriteAheadLog, recovered: WALRecovered) { fatalError() }
    /// Makes the calling thread the owner: call once on the log thread before anything else, after opening elsewhere.
    package func adoptByCurrentThread() { fatalError() }
    /// Appends entries, then the hard state, in one write, not synced. Indexes are contiguous; the first is at most
    /// `lastIndex + 1` and after the log's start; one that exists already replaces it and everything behind it.
    @inlinable package func append(
        _ entries: some Collection<WALEntry>, hardState: WALHardState? = nil
    ) throws(WALError) { fatalError() }
    /// One `fdatasync`: when it returns, everything appended before is durable. No-op when nothing is unsynced.
    package func sync() throws(WALError) { fatalError() }
    /// After a snapshot was installed: drops every entry, the log goes on after `position`. Appended, not synced.
    package func restart(after position: WALPosition, hardState: WALHardState) throws(WALError) { fatalError() }
    /// The entries from `first` up to but not including `end`, as many as fit in `bytesMax` payload bytes, at least one.
    package func entries(
        from first: LogIndex, to end: LogIndex, bytesMax: Int
    ) throws(WALError) -> [WALEntry] { fatalError() }
    /// The entry's term, known for every entry held and the position before the first; else nil. Memory only.
    package func term(at index: LogIndex) -> Term? { fatalError() }
    /// Drops whole segments whose entries all are at or before `index`, oldest first, keeping `retainedBytes` of them.
    package func truncatePrefix(through index: LogIndex) throws(WALError) { fatalError() }
    /// Makes the next segment ready ahead of need, at most `bytesMax` of disk writes a call. True when it is ready.
    @discardableResult
    package func prepareNextSegment(bytesMax: Int = 1 << 20) throws(WALError) -> Bool { fatalError() }
    /// Syncs, marks the end, closes the files.
    package func close() throws(WALError) { fatalError() }
}
