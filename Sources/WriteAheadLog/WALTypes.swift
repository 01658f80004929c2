package import IOInterfaces
package import Primitives

/// One Raft log entry as it is stored: the payload's bytes are kept as they came, never decoded.
@frozen
package struct WALEntry: Hashable, Sendable {
    /// From 1.
    package var index: LogIndex
    package var term: Term
    /// The caller's kind of entry (normal, configuration change...); the log does not interpret it.
    package var kind: UInt8
    package var payload: Bytes

    @inlinable package init(index: LogIndex, term: Term, kind: UInt8, payload: Bytes) {
        self.index = index
        self.term = term
        self.kind = kind
        self.payload = payload
    }
}

/// What Raft must not forget besides the entries. Source: Raft paper, figure 2 (persistent state), plus the commit
/// index.
@frozen
package struct WALHardState: Hashable, Sendable {
    package var term: Term
    /// Whom this member voted for in `term`; `.none` when it has not voted.
    package var vote: MemberID
    /// Never past the last entry of the log.
    package var commit: LogIndex

    @inlinable package init(term: Term = .zero, vote: MemberID = .none, commit: LogIndex = .zero) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// Whose log this is; written into every segment, so that a log can not be opened by another member.
package struct WALMetadata: Hashable, Sendable {
    package var clusterID: UInt64
    package var memberID: MemberID

    package init(clusterID: UInt64, memberID: MemberID) {
        self.clusterID = clusterID
        self.memberID = memberID
    }
}

/// An entry's place without its payload: where a log begins.
package struct WALPosition: Hashable, Sendable {
    package var index: LogIndex
    package var term: Term

    package init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }

    /// Before the first entry of a new log.
    package static let origin = WALPosition(index: .zero, term: .zero)
}

/// Sizes, all in bytes.
package struct WALOptions: Hashable, Sendable {
    /// The size a segment is preallocated with, rounded up to 4096, where the volume has room for eight of them; else as much
    /// less as a sixteenth. A batch that is larger gets a segment of its own size.
    package var segmentBytes: Int
    /// How much of the log that `truncatePrefix(through:)` allows to go is kept all the same, for followers that lag, where
    /// the volume has twice as much left; else less.
    package var retainedBytes: Int
    /// An entry's place is remembered about every so many bytes; a read starts at the nearest one.
    package var indexStrideBytes: Int
    /// Whether a segment that is no longer needed becomes the next one (its old bytes in place) or is removed.
    package var recyclesSegments: Bool

    package init(
        segmentBytes: Int = 64 << 20, retainedBytes: Int = 256 << 20, indexStrideBytes: Int = 64 << 10,
        recyclesSegments: Bool = true
    ) {
        self.segmentBytes = segmentBytes
        self.retainedBytes = retainedBytes
        self.indexStrideBytes = indexStrideBytes
        self.recyclesSegments = recyclesSegments
    }
}

/// What `WriteAheadLog.open` found.
package struct WALRecovered: Sendable {
    package var metadata: WALMetadata
    package var hardState: WALHardState
    /// The entries after the index that was asked for, contiguous.
    package var entries: [WALEntry]
    /// The first entry that can be read back; one past `lastIndex` when the log holds none.
    package var firstIndex: LogIndex
    /// The last entry. It can be before the index that was asked for only when a snapshot was installed and the log had
    /// not yet been restarted after it: call `restart(after:hardState:)` then.
    package var lastIndex: LogIndex
    /// The torn tail that was cut off (an append that no sync had covered), in bytes; 0 after a clean stop.
    package var tornBytes: Int
    /// The file and offset of the torn tail, when there was one.
    package var tornAt: String?
}

/// Totals since a log was created or opened.
package struct WALStatistics: Hashable, Sendable {
    package var bytesWritten: UInt64 = 0
    /// Batches, one write each.
    package var writes: UInt64 = 0
    package var syncs: UInt64 = 0
    package var segmentsStarted: UInt64 = 0
}

/// Why the log refused. `description` is one line and names the file and the offset where there is one.
package struct WALError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// The directory holds no log.
        case notFound
        /// `create` found a log.
        case alreadyExists
        /// A file in the directory is no segment of ours.
        case wrongMagic
        /// A segment was written by a format this build does not read.
        case wrongVersion
        /// The log belongs to another cluster or member.
        case wrongMember
        /// A record that had been synced can not be read any more; nothing may be built on this log.
        case corrupt
        /// A segment is missing between two others.
        case missingSegment
        /// The log begins after the entries that were asked for.
        case gap
        /// The entries asked for have been dropped by `truncatePrefix(through:)` or `restart(after:hardState:)`.
        case compacted
        /// There is no room for the next segment. Nothing of the batch was written; the same call may succeed later.
        case noSpace
        /// One batch is larger than a segment can be (1 GiB). Nothing of it was written.
        case batchTooLarge
        /// The file system failed: the log is `failed`, every later call throws this error, the process must stop.
        case failed
        /// `close()` was called.
        case closed
    }

    package var code: Code
    package var message: String
    package var file: String?
    /// Bytes from the start of `file`.
    package var offset: Int?
    package var cause: IOError?

    package init(_ code: Code, _ message: String, file: String? = nil, offset: Int? = nil, cause: IOError? = nil) {
        self.code = code
        self.message = message
        self.file = file
        self.offset = offset
        self.cause = cause
    }

    package var description: String {
        var text = "write-ahead log: \(message)"
        if let file { text += ", file \(file)" }
        if let offset { text += ", offset \(offset)" }
        if let cause { text += ": \(cause)" }
        return text
    }
}
