package import Primitives

/// What an image holds, by its meta table.
package struct ImageSummary: Equatable, Sendable {
    /// The last entry whose effects are in the image, and its term; zero in a backend that no store has persisted to.
    package var appliedIndex = LogIndex.zero
    package var appliedTerm = Term.zero
    package var currentRevision: Int64 = 1
    /// -1 before the first compaction.
    package var compactRevision: Int64 = -1
    package var recordCount = 0
}

extension BackendReader {
    /// Describes the open image. Throws `.corrupted` when an entry has a length it cannot have.
    package func summary() throws(StoreError) -> ImageSummary {
        var summary = ImageSummary()
        summary.recordCount = try recordCount()
        if let applied = try numbers(MetaKey.applied, 2) {
            summary.appliedIndex = LogIndex(applied[0])
            summary.appliedTerm = Term(applied[1])
        }
        if let revision = try numbers(MetaKey.revision, 1) { summary.currentRevision = Int64(bitPattern: revision[0]) }
        if let compact = try numbers(MetaKey.compact, 1) { summary.compactRevision = Int64(bitPattern: compact[0]) }
        return summary
    }

    private func numbers(_ key: Bytes, _ count: Int) throws(StoreError) -> [UInt64]? {
        guard let value = try meta(key) else { return nil }
        return try MetaKey.decode(value, count, of: key)
    }
}

extension Store {
    /// A reader of the backend's images, for snapshots: sees what is persisted, not what only the tail has.
    package func makeImageReader() throws(StoreError) -> any BackendReader { try backend.makeReader() }
}

/// A record of an image, to be stored as it is. Unlike a revision's events it may stand alone: compaction removes single
/// changes of a revision.
package struct ImageRecord: Sendable {
    package let revision: Revision
    package let isTombstone: Bool
    /// What the record is a part of, shared with its neighbours: a record of its own would cost an allocation and a copy.
    private let frame: Bytes
    private let start: Int
    let count: Int

    /// The `count` bytes of `frame` from `start` on.
    package init(revision: Revision, isTombstone: Bool, frame: Bytes, start: Int, count: Int) {
        invariant(start >= 0 && count >= 0 && start <= frame.count - count, "a record outside of its frame")
        self.revision = revision
        self.isTombstone = isTombstone
        self.frame = frame
        self.start = start
        self.count = count
    }

    /// Calls `body` with the record's bytes and their checksum (`RecordChecksum`).
    @inline(__always)
    func withStored<R>(_ body: (UnsafeRawBufferPointer, UInt32) -> R) -> R {
        frame.withUnsafeBytes { frame in
            let bytes = UnsafeRawBufferPointer(rebasing: frame[start..<(start + count)])
            return body(bytes, RecordChecksum.of(revision, isTombstone: isTombstone, bytes))
        }
    }
}
