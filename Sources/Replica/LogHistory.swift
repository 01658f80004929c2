import Primitives
import RaftCore

/// What Raft can know of the log that is no longer in its memory: terms at once, entries after a read by the log's owner,
/// and the snapshot that the backend could give now.
///
/// Owner: the replica's thread.
final class LogHistory: LogStorage {
    /// A member further back must not starve the others' reads, so they wait in line; few members, few reads.
    private static let wantedMax = 16

    /// The first entry of each run of equal terms, from where the log begins on disk; ascending. Only asked for indexes
    /// at or before the last entry applied when the process started: later ones Raft knows.
    private let terms: [EntryID]
    private let readBytesMax: Int
    /// The answer to the last read, contiguous; dropped when the next one comes or when it has not been used for long.
    private var cache: [Entry] = []
    private var ticksSinceUse = 0
    private var wanted: [LogRead] = []
    private var isReading = false
    /// What could be streamed now.
    var offered: SnapshotMetadata?

    init(terms: [EntryID], readBytesMax: Int) {
        self.terms = terms
        self.readBytesMax = readBytesMax
    }

    func term(at index: LogIndex) throws(LogStorageError) -> Term {
        guard let run = terms.last(where: { $0.index <= index }) else { throw .compacted }
        return run.term
    }

    func entries(from: LogIndex, to: LogIndex, bytesMax: Int) throws(LogStorageError) -> [Entry] {
        if let first = cache.first, from >= first.index, from.rawValue - first.index.rawValue < UInt64(cache.count) {
            ticksSinceUse = 0
            return slice(from: Int(from.rawValue - first.index.rawValue), to: to, bytesMax: bytesMax)
        }
        if wanted.count < Self.wantedMax, !wanted.contains(where: { $0.from == from }) {
            wanted.append(LogRead(from: from, to: to, bytesMax: readBytesMax))
        }
        throw .temporarilyUnavailable
    }

    private func slice(from position: Int, to: LogIndex, bytesMax: Int) -> [Entry] {
        var end = position
        var bytes = 0
        while end < cache.count, cache[end].index < to {
            bytes += cache[end].sizeBytes
            if bytes > bytesMax, end > position { break }
            end += 1
        }
        return Array(cache[position..<end])
    }

    func snapshot() throws(LogStorageError) -> SnapshotMetadata {
        guard let offered else { throw .temporarilyUnavailable }
        return offered
    }

    /// The next read to make, if none is under way.
    func nextRead() -> LogRead? {
        guard !isReading, !wanted.isEmpty else { return nil }
        isReading = true
        return wanted.removeFirst()
    }

    /// Takes the answer to a read; empty when there was nothing to read.
    func answer(_ entries: [Entry]) {
        isReading = false
        ticksSinceUse = 0
        cache = entries
        // Who still wants more says so again.
        wanted.removeAll { wanted in entries.contains { $0.index == wanted.from } }
    }

    /// Lets go of entries that nobody needs any more.
    func tick() {
        ticksSinceUse += 1
        if ticksSinceUse > 10 { cache = [] }
    }

    /// Forgets what was wanted: this member does not lead any more.
    func forget() {
        wanted = []
        cache = []
    }
}
