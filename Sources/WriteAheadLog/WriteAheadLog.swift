import IOInterfaces
package import Primitives

// Purpose: the Raft log on disk: entries and the hard state, appended, synced on demand, read back, cut at the front.
//
// Owner thread: one, the log thread. Whoever creates or opens the log owns it until the log thread calls
// `adoptByCurrentThread()`; every entry point asserts it. No locks, no clock, no randomness, I/O through `FileSystem`
// only.
//
// Invariants: what was appended before a `sync()` that returned survives a crash, in order, and nothing that was not
// appended ever comes back. After a failed write or sync the log is failed for good (`failure`). A batch lies in one
// segment. A segment is complete and synced before the next one exists under its name.
//
// FILE FORMAT, version 1. All numbers are little-endian. A directory of segments, `SEQUENCE-FIRSTINDEX.wal`, sequences
// without a gap; `next.spare` is the next segment in the making and holds nothing. Checksums are CRC-32C.
//
// A segment is preallocated, with a size that depends on the room there is (SegmentSizing.swift): it is its file's
// length. Its first 512-byte sector is its header (RecordFormat.swift, `SegmentHeader`):
//
//      0  u64  magic "MRTLWAL\0"            48  u64  base: the last index before this segment
//      8  u32  format version               56  u64  its term
//     12  u32  flags: 1 recycled file,      64  u64  hard state before this segment: term
//              2 the base's term is known   72  u64    vote
//     16  u64  sequence, from 1             80  u64    commit
//     24  u64  cluster id                   88  u64  checksum of the last record of the segment before, 0 in the first
//     32  u64  member id                    96       zeros
//     40  u64  the log's random salt       508  u32  checksum of bytes 0..<508
//
// From byte 512 records follow, each at a multiple of 8:
//
//      0  u32  checksum of bytes 4 to the end, padding included, seeded with the complement of the segment's salt
//      4  u32  checksum of the record before; in the first record, of the segment header
//      8  u32  length of the body
//     12  u8   type (`RecordType`)
//     13  u8   kind of the entry, the caller's; 0 in other records
//     14  u16  0
//     16  u32  synced: the offset in this segment up to which a sync had returned when the record was made
//     20  u32  checksum of bytes 4..<20, seeded with the segment's salt
//     24       the body, then zeros to a multiple of 8
//
// An entry replaces an earlier one of the same index and everything behind it; the later record wins, as in etcd.
//
// RECOVERY reads every segment from the oldest and follows the chain of checksums. Where the chain ends in a segment
// that has a successor, the successor's header must name the last checksum, else a synced record is gone: corrupt.
// Where it ends in the last segment, at offset X, the rest of the file is searched in steps of 8 bytes for records of
// this segment:
//
// - One whose `synced` is past X proves that the bytes at X had been synced: corrupt, the log is refused.
// - In a file that was not recycled, unwritten sectors read as zero. When the record at X has no sector of zeros and
//   does not end in a zero, it was written whole and changed afterwards: corrupt.
// - Otherwise it is the torn tail of an append that no sync had covered, which a crash may leave: its bytes are zeroed.
//
// So a damaged synced record goes unnoticed (is taken for a torn tail) only if nothing was appended after the sync
// that covered it, and the file was recycled or the record holds a sector of zeros or ends in one. `close()` appends
// a mark, so after an orderly stop no damage at all goes unnoticed. A sector of 512 bytes is taken to be written
// wholly or not at all.
//
// A sync that failed may have left bytes in the page cache that will never reach the disk, so what recovery read past
// the last known sync is written once more and synced before the log is handed out.

/// The Raft log on disk. See the head of this file for the owner thread, the format and what recovery can detect.
package final class WriteAheadLog {
    let fileSystem: any FileSystem
    let directory: String
    let options: WALOptions
    /// Whose log this is.
    package let metadata: WALMetadata
    let logSalt: UInt64
    private var owner = OwnerThread()

    /// Oldest first; the last one is written to.
    var segments: [Segment]
    var map: LogMap
    /// The newest hard state appended.
    package internal(set) var hardState: WALHardState
    /// The end of the last record in the last segment.
    var offset: Int
    /// The checksum of the last record.
    var chain: UInt32
    /// How much of the last segment a sync has covered.
    var syncedOffset: Int
    var spare: Spare?
    /// There may be a file of that name which is not `spare`.
    var mayFindSpare = true
    /// How much of the volume the log takes.
    let sizing: SegmentSizing
    var batch = BatchBuffer()
    /// The error that stopped the log, once it has failed.
    package internal(set) var failure: WALError?
    private var isClosed = false
    /// Totals since the log was created or opened.
    package internal(set) var statistics = WALStatistics()

    init(
        _ fileSystem: any FileSystem, _ directory: String, _ options: WALOptions, _ header: SegmentHeader,
        segments: [Segment], map: LogMap, hardState: WALHardState, offset: Int, chain: UInt32
    ) {
        self.fileSystem = fileSystem
        self.directory = directory
        self.options = options
        sizing = SegmentSizing(options)
        metadata = header.metadata
        logSalt = header.logSalt
        self.segments = segments
        self.map = map
        self.hardState = hardState
        self.offset = offset
        self.chain = chain
        syncedOffset = offset
    }

    deinit { batch.deallocate() }

    // MARK: State

    /// The first entry that can be read back; one past `lastIndex` when the log holds none.
    package var firstIndex: LogIndex { map.base.advanced(by: 1) }
    /// The last entry appended, not necessarily synced.
    package var lastIndex: LogIndex { map.last }
    /// Bytes of all files of the log, the one prepared ahead included.
    package var bytesOnDisk: Int { segments.reduce(spare?.size ?? 0) { $0 + $1.size } }
    package var segmentCount: Int { segments.count }
    /// Whether something was appended that no `sync()` has covered.
    package var hasUnsynced: Bool { syncedOffset < offset }

    /// The entry's term: known for each entry the log holds and, mostly, for the position before the first; else nil.
    /// Reads memory only.
    package func term(at index: LogIndex) -> Term? { map.term(at: index) }

    /// Makes the calling thread the owner. To be called once on the log thread, before anything else there, when the
    /// log was opened on another.
    package func adoptByCurrentThread() { owner.adopt() }

    // MARK: Appending

    /// Appends entries and then the hard state with one write; nothing is durable before `sync()`.
    ///
    /// The entries' indexes are contiguous. The first is at most `lastIndex + 1`, and after both the log's start and
    /// the hard state's commit; where it exists already, it replaces that entry and all behind it. The hard state's
    /// commit is not past the last entry. (A caller that breaks this is stopped.)
    ///
    /// Errors: `.noSpace` and `.batchTooLarge` before anything was written, the log goes on; `.failed`; `.closed`.
    @inlinable package func append(
        _ entries: some Collection<WALEntry>, hardState: WALHardState? = nil
    ) throws(WALError) {
        var bytes = hardState == nil ? 0 : Self.hardStateExtent
        for entry in entries { bytes += Self.extent(of: entry) }
        try beginBatch(bytes)
        if bytes == 0 { return }
        for entry in entries { encode(entry) }
        if let hardState { encode(hardState) }
        try writeBatch()
    }

    /// Drops every entry; the log goes on after `position`, which a snapshot holds that is durable already. Appended
    /// with the hard state in one record, not synced. The hard state's commit is not past `position`. Errors as
    /// `append`.
    package func restart(after position: WALPosition, hardState: WALHardState) throws(WALError) {
        invariant(hardState.commit <= position.index, "a log restarted behind its commit index")
        try beginBatch(RecordHeader.extent(body: 40))
        seal(.restart, bodyBytes: 40) { body in
            body.store(position.index.rawValue, at: 0)
            body.store(position.term.rawValue, at: 8)
            Self.store(hardState, in: body, at: 16)
        }
        self.hardState = hardState
        map = LogMap(base: position, knowsTerm: true)
        try writeBatch()
    }

    /// Makes everything appended so far durable: one `fdatasync`, none when nothing is new. After an error the log is
    /// failed and the process must stop.
    package func sync() throws(WALError) {
        try enter()
        if !hasUnsynced { return }
        do throws(IOError) { try segments[segments.count - 1].file.syncData() } catch { throw fail(error) }
        syncedOffset = offset
        statistics.syncs += 1
    }

    /// Syncs, marks the orderly end, closes the files. A failed log is closed without a word more.
    package func close() throws(WALError) {
        if isClosed { return }
        defer { isClosed = true }
        if failure == nil {
            let extent = RecordHeader.extent(body: 0)
            if extent <= segments[segments.count - 1].size - offset {
                // Synced apart: the mark's own watermark then covers everything before it.
                try sync()
                try beginBatch(extent)
                seal(.mark, bodyBytes: 0) { _ in }
                try writeBatch()
            }
            try sync()
        }
        do throws(IOError) {
            for segment in segments { try segment.file.close() }
            try spare?.file.close()
        } catch {
            if failure == nil { throw fail(error) }
        }
    }

    // MARK: The batch

    @usableFromInline static var hardStateExtent: Int { RecordHeader.extent(body: 24) }

    @usableFromInline static func extent(of entry: WALEntry) -> Int {
        RecordHeader.extent(body: 16 + entry.payload.count)
    }

    /// Checks the state and sees to it that the last segment has room for the whole batch.
    @usableFromInline func beginBatch(_ bytes: Int) throws(WALError) {
        try enter()
        if bytes > segments[segments.count - 1].size - offset { try roll(for: bytes) }
        batch.begin(bytes)
    }

    @usableFromInline func encode(_ entry: WALEntry) {
        let index = entry.index
        invariant(index <= map.last.advanced(by: 1), "an append leaves a gap in the log")
        invariant(index > map.base && index > hardState.commit, "an append replaces a committed entry")
        let place = offset + batch.count
        map.append(
            index, entry.term, sequence: segments[segments.count - 1].header.sequence, offset: place,
            stride: options.indexStrideBytes)
        seal(.entry, kind: entry.kind, bodyBytes: 16 + entry.payload.count) { body in
            body.store(index.rawValue, at: 0)
            body.store(entry.term.rawValue, at: 8)
            entry.payload.withUnsafeBytes { payload in
                UnsafeMutableRawBufferPointer(rebasing: body[16...]).copyMemory(from: payload)
            }
        }
    }

    @usableFromInline func encode(_ hardState: WALHardState) {
        invariant(hardState.commit <= map.last, "a commit index past the end of the log")
        seal(.hardState, bodyBytes: 24) { Self.store(hardState, in: $0, at: 0) }
        self.hardState = hardState
    }

    @usableFromInline func writeBatch() throws(WALError) {
        let segment = segments[segments.count - 1]
        do throws(IOError) { try segment.file.write(batch.bytes, at: offset) } catch { throw fail(error) }
        offset += batch.count
        statistics.bytesWritten += UInt64(batch.count)
        statistics.writes += 1
        batch.end()
    }

    /// Adds a record to the batch; `fill` writes all of the body.
    private func seal(
        _ type: RecordType, kind: UInt8 = 0, bodyBytes: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        let record = batch.add(RecordHeader.extent(body: bodyBytes))
        record.store(UInt64(0), at: record.count - 8)
        let end = RecordHeader.bytes + bodyBytes
        fill(UnsafeMutableRawBufferPointer(rebasing: record[RecordHeader.bytes..<end]))
        chain = RecordHeader.seal(
            record, type: type, kind: kind, length: bodyBytes, previous: chain, synced: syncedOffset,
            salt: segments[segments.count - 1].salt)
    }

    private static func store(_ hardState: WALHardState, in body: UnsafeMutableRawBufferPointer, at offset: Int) {
        body.store(hardState.term.rawValue, at: offset)
        body.store(hardState.vote.rawValue, at: offset + 8)
        body.store(hardState.commit.rawValue, at: offset + 16)
    }

    // MARK: Failure

    /// Asserts the owner; throws when the log has failed or is closed.
    func enter() throws(WALError) {
        invariant(owner.isCurrent, "the write-ahead log was called off its owner thread")
        if let failure { throw failure }
        if isClosed { throw WALError(.closed, "the log is closed", file: directory) }
    }

    /// The log can not be trusted any more: every later call throws the error that is returned.
    func fail(_ error: IOError) -> WALError {
        let failure = WALError(.failed, "the file system failed, the log is stopped", cause: error)
        self.failure = failure
        return failure
    }
}
