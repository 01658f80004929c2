// Snapshots: a consistent image of a member's store as one stream of bytes, for backups and for members that are too far
// behind. Written and read in frames, with memory for one frame (and for the meta table, which is small).
//
// Owner thread: none; a writer, reader or restore is used by one thread at a time.
//
// Invariants.
// - What is written is one image of the backend: the effects of all entries up to `SnapshotHeader.appliedIndex`, and of no
//   later one.
// - A reader hands out nothing that is not covered by a checksum that was right, and reports the end only when it has
//   seen every byte of the stream: a stream that was cut off, or whose frames were dropped, repeated or exchanged, is
//   never taken for a whole one.
// - The same image with the same options and the same choice for each frame gives the same bytes.
//
// File format, version 1. Numbers are little-endian, but for revisions, which are as in the store (`RevisionKey`).
//
//   header   80 bytes: magic "MRTLSNAP"; format version u32; flags u32 (0); cluster identity u64; member identity u64;
//            applied index u64; applied term u64; current revision i64; compact revision i64 (-1: never compacted);
//            count of records u64; reserved u32 (0); CRC-32C u32 over the bytes before it.
//   frames   each 24 bytes and a body:
//            kind u8 (1 records, 2 meta, 3 end); encoding u8 (0 as it is, 1 zlib); reserved u16 (0); length of the content
//            u32; length of the body u32; count of items u32; CRC-32C u32 over the body; CRC-32C u32 over the 20 bytes
//            before it, continuing from the same field of the frame before (of the header for the first one), so
//            that each frame vouches for the whole chain before it.
//            The body is the content, as it is or compressed, as the writer chooses for each frame: compressed only when
//            that makes it smaller. Contents hold whole items:
//            records: revision (12 bytes), flags u8 (1: tombstone), length u32, the stored record; revisions ascend.
//            meta:    length of the key u32, of the value u32, key, value; keys ascend.
//            end:     count of records u64, count of meta entries u64, bytes of all contents u64, CRC-32C u32 over all
//            contents in order, reserved u32 (0). Exactly one, the last frame, never compressed.
//   padding  zeros up to a multiple of 512 bytes.
//
// A saved file may have 32 bytes more: the SHA-256 of all before, which etcd's clients expect at the end of a snapshot
// and recognise by the remainder of the size by 512. It is not of this format; `SnapshotReader` hands it on unchecked,
// because every byte it covers is checked already.

package import MVCC
package import Primitives

/// What a snapshot says of itself at its beginning.
package struct SnapshotHeader: Equatable, Sendable {
    package var clusterID: UInt64
    /// The member whose store it is.
    package var memberID: MemberID
    /// The last entry whose effects are in it, and that entry's term.
    package var appliedIndex: LogIndex
    package var appliedTerm: Term
    package var currentRevision: Int64
    /// -1 before the first compaction.
    package var compactRevision: Int64
    package var recordCount: UInt64

    package init(
        clusterID: UInt64, memberID: MemberID, appliedIndex: LogIndex, appliedTerm: Term, currentRevision: Int64,
        compactRevision: Int64, recordCount: UInt64
    ) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.appliedIndex = appliedIndex
        self.appliedTerm = appliedTerm
        self.currentRevision = currentRevision
        self.compactRevision = compactRevision
        self.recordCount = recordCount
    }
}

/// What a snapshot says of itself at its end.
package struct SnapshotTotals: Equatable, Sendable {
    package var recordCount: UInt64 = 0
    package var metaCount: UInt64 = 0
    /// Bytes of all frames' contents, before compression.
    package var contentBytes: UInt64 = 0
    /// CRC-32C over all contents, in order. It depends on what is stored, not on how it is compressed or cut into frames.
    package var contentChecksum: UInt32 = 0

    package init() {}
}

/// What `snapshot status` prints.
package struct SnapshotStatus: Equatable, Sendable {
    package var header: SnapshotHeader
    package var totals: SnapshotTotals
    /// Bytes of the stream, padding included, without a SHA-256 behind it.
    package var streamBytes: UInt64
    /// The 32 bytes behind the stream, not checked; nil when there are none.
    package var digest: Bytes?

    /// Equal for equal contents.
    package var hash: UInt32 { totals.contentChecksum }
    package var revision: Int64 { header.currentRevision }
    /// Records, that is key versions, and meta entries; as etcd counts, all rows of all tables.
    package var totalKeys: UInt64 { totals.recordCount + totals.metaCount }
}

/// Choices of the writer; readers need none of them.
package struct SnapshotOptions: Equatable, Sendable {
    /// zlib's level, 1...9; 0 does not compress.
    package var compressionLevel: Int32 = 1
    /// Content of a frame, in bytes; one item alone may make a larger frame. 1...`SnapshotFormat.contentBytesMax`.
    package var frameBytes = 256 << 10

    package init() {}
}

/// Why a snapshot cannot be written, read or restored.
package enum SnapshotError: Error, Equatable, Sendable {
    /// The bytes at `offset` of the stream are not those that were written.
    case damaged(offset: UInt64, detail: String)
    /// The stream ends at `offset`, before its end.
    case truncated(offset: UInt64)
    /// The stream does not begin as a snapshot does.
    case notSnapshot
    /// The format's version is one that this software does not know.
    case unsupportedVersion(UInt32)
    /// An item is larger than a frame may be.
    case itemTooLarge(bytes: Int)
    /// The backend to restore into holds something.
    case notEmpty(path: String)
    /// The store failed.
    case store(StoreError)
}

extension SnapshotError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .damaged(let offset, let detail): "the snapshot is damaged at offset \(offset): \(detail)"
        case .truncated(let offset): "the snapshot is cut off at offset \(offset)"
        case .notSnapshot: "not a snapshot of Martlet"
        case .unsupportedVersion(let version): "the snapshot has format version \(version), which is not known"
        case .itemTooLarge(let bytes): "an item of \(bytes) bytes is too large for a snapshot"
        case .notEmpty(let path): "the store at \(path) is not empty"
        case .store(let error): "\(error)"
        }
    }
}
