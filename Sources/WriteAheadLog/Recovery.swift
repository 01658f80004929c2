import IOInterfaces
import Primitives

/// Reads a log from its files once, decides between torn and corrupt, repairs the tail. What it detects and how is told
/// at the head of WriteAheadLog.swift.
struct Recovery {
    enum Failure: Error {
        case refused(WALError)
        case io(IOError)
    }

    private let directory: String
    private let fileSystem: any FileSystem
    /// Entries after this index are collected.
    private let after: LogIndex
    private let options: WALOptions

    private var segments: [Segment] = []
    private var map = LogMap(base: .origin, knowsTerm: true)
    /// Whether older segments were dropped and no restart came after, so that the log may begin before the oldest
    /// segment's base: entries can replace those of dropped segments.
    private var isBaseMovable = false
    private var hardState = WALHardState()
    private var entries: [WALEntry] = []
    /// Where the last segment read ends, and the checksum of its last record.
    private var offset = 0
    private var chain: UInt32 = 0
    /// The furthest watermark in the last segment read.
    private var syncedOffset = 0

    init(_ directory: String, _ fileSystem: any FileSystem, after: LogIndex, options: WALOptions) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.after = after
        self.options = options
    }

    mutating func run(
        expecting: WALMetadata?
    ) throws(Failure) -> (log: WriteAheadLog, recovered: WALRecovered) {
        for name in try segmentNames() {
            let (segment, checksum) = try openSegment(name, expecting: expecting)
            if let last = segments.last {
                try checkLink(from: last, to: segment)
            } else {
                map = LogMap(base: segment.header.base, knowsTerm: segment.header.knowsBaseTerm)
                hardState = segment.header.hardState
                isBaseMovable = segment.header.sequence > 1
            }
            segments.append(segment)
            chain = checksum
            try readRecords(of: segment)
        }
        let last = segments[segments.count - 1]
        let reader = SegmentReader(last.file, size: last.size, salt: last.salt)
        var tail = TailExamination(reader, at: offset, isRecycled: last.header.isRecycled)
        let tornBytes = try tail.run(last)
        try checkResult(last)
        try repair(last, tornBytes: tornBytes, reader)
        let log = WriteAheadLog(
            fileSystem, directory, options, last.header, segments: segments, map: map, hardState: hardState,
            offset: offset, chain: chain)
        let recovered = WALRecovered(
            metadata: last.header.metadata, hardState: hardState, entries: entries, firstIndex: log.firstIndex,
            lastIndex: log.lastIndex, tornBytes: tornBytes,
            tornAt: tornBytes > 0 ? "\(last.path) at offset \(offset)" : nil)
        return (log, recovered)
    }

    // MARK: Files

    private func segmentNames() throws(Failure) -> [String] {
        let names = try io { () throws(IOError) in try fileSystem.list(directory) }.filter { $0.hasSuffix(".wal") }
        var expected: UInt64?
        for name in names {
            guard let sequence = SegmentHeader.parse(fileName: name)?.sequence else {
                throw refuse(.wrongMagic, "a file's name is not a segment's", path(name))
            }
            if let expected, sequence != expected {
                throw refuse(.missingSegment, "segment \(expected) is missing before segment \(sequence)", path(name))
            }
            expected = sequence + 1
        }
        return names
    }

    private func openSegment(
        _ name: String, expecting: WALMetadata?
    ) throws(Failure) -> (segment: Segment, checksum: UInt32) {
        let path = path(name)
        let file = try io { () throws(IOError) in try fileSystem.open(path, .readWrite) }
        let size = try io { () throws(IOError) in try file.size() }
        guard size >= SegmentHeader.bytes else { throw refuse(.corrupt, "segment is too short", path, 0) }
        let sector = try io { () throws(IOError) in
            try Bytes(count: SegmentHeader.bytes) { buffer throws(IOError) in _ = try file.read(into: buffer, at: 0) }
        }
        let header: SegmentHeader
        let checksum: UInt32
        do throws(WALError) {
            (header, checksum) = try sector.withUnsafeBytes { bytes throws(WALError) in try SegmentHeader.decode(bytes)
            }
        } catch {
            throw refuse(error.code, error.message, path, error.offset)
        }
        if let expected = expecting ?? segments.last?.header.metadata, header.metadata != expected {
            let (found, wanted) = (header.metadata, expected)
            throw refuse(
                .wrongMember,
                "segment of cluster \(hex(found.clusterID)), member \(hex(found.memberID.rawValue)), "
                    + "expected cluster \(hex(wanted.clusterID)), member \(hex(wanted.memberID.rawValue))", path)
        }
        guard header.fileName == name else {
            throw refuse(.corrupt, "segment was written as \(header.fileName)", path, 0)
        }
        return (Segment(header: header, path: path, file: file, size: size), checksum)
    }

    /// The chain must lead from where `last` ended into `next`.
    private func checkLink(from last: Segment, to next: Segment) throws(Failure) {
        let header = next.header
        guard header.previous == chain, header.logSalt == last.header.logSalt else {
            throw refuse(
                .corrupt, "a record is damaged or missing: the next segment, \(header.fileName), follows other records",
                last.path, offset)
        }
        guard header.base.index == map.last, header.hardState == hardState else {
            throw refuse(.corrupt, "segment does not begin where the one before ends", next.path, 0)
        }
    }

    // MARK: Records

    /// Follows the chain from the segment's start to where it ends.
    private mutating func readRecords(of segment: Segment) throws(Failure) {
        let reader = SegmentReader(segment.file, size: segment.size, salt: segment.salt, windowBytes: 1 << 20)
        offset = SegmentHeader.bytes
        syncedOffset = offset
        while true {
            let record = try io { () throws(IOError) in try reader.record(at: offset) }
            guard case .valid(let header, let body) = record, header.previous == chain else { return }
            guard Int(header.synced) <= offset else {
                throw refuse(.corrupt, "a record's watermark is past the record", segment.path, offset)
            }
            try apply(header, body, in: segment)
            syncedOffset = max(syncedOffset, Int(header.synced))
            chain = header.checksum
            offset += header.extent
        }
    }

    private mutating func apply(
        _ header: RecordHeader, _ body: UnsafeRawBufferPointer, in segment: Segment
    ) throws(Failure) {
        let isWellFormed =
            switch RecordType(rawValue: header.type) {
            case .entry: try applyEntry(header, body, in: segment)
            case .hardState: apply(WALHardState(body, at: 0))
            case .restart: applyRestart(body)
            case .mark: true
            case nil: false
            }
        if !isWellFormed { throw refuse(.corrupt, "a record has a wrong shape", segment.path, offset) }
    }

    private mutating func apply(_ state: WALHardState?) -> Bool {
        guard let state else { return false }
        hardState = state
        return true
    }

    private mutating func applyRestart(_ body: UnsafeRawBufferPointer) -> Bool {
        guard apply(WALHardState(body, at: 16)) else { return false }
        let position = WALPosition(index: LogIndex(body.number(at: 0)), term: Term(body.number(at: 8)))
        map = LogMap(base: position, knowsTerm: true)
        isBaseMovable = false
        entries = []
        return true
    }

    private mutating func applyEntry(
        _ header: RecordHeader, _ body: UnsafeRawBufferPointer, in segment: Segment
    ) throws(Failure) -> Bool {
        guard body.count >= 16 else { return false }
        let index = LogIndex(body.number(at: 0))
        if index <= map.base, index > .zero, isBaseMovable {
            // It replaces an entry of a segment that is gone, and everything read so far.
            map = LogMap(base: WALPosition(index: LogIndex(index.rawValue - 1), term: .zero), knowsTerm: false)
        }
        guard index > map.base, index <= map.last.advanced(by: 1) else {
            throw refuse(
                .corrupt, "entry \(index.rawValue) follows entry \(map.last.rawValue)", segment.path, offset)
        }
        if index > after {
            guard let entry = WALEntry(header, body) else { return false }
            if let first = entries.first, index.rawValue < first.index.rawValue + UInt64(entries.count) {
                entries.removeLast(Int(first.index.rawValue + UInt64(entries.count) - max(index, first.index).rawValue))
            }
            entries.append(entry)
        } else {
            // Whatever was collected stood behind the entry that this one replaces.
            entries = []
        }
        map.append(
            index, Term(body.number(at: 8)), sequence: segment.header.sequence, offset: offset,
            stride: options.indexStrideBytes)
        return true
    }

    // MARK: The end

    private func checkResult(_ last: Segment) throws(Failure) {
        guard hardState.commit <= map.last else {
            throw refuse(
                .corrupt, "entry \(hardState.commit.rawValue) was committed, but the log ends at \(map.last.rawValue)",
                last.path, offset)
        }
        if map.base > after {
            throw refuse(
                .gap,
                "the log begins after entry \(map.base.rawValue), but the store has applied only \(after.rawValue)",
                segments[0].path)
        }
    }

    /// Zeroes the torn tail, and writes once more what no sync is known to have covered: a process that died after a
    /// failed sync leaves such bytes in the page cache, marked as clean.
    private func repair(_ last: Segment, tornBytes: Int, _ reader: SegmentReader) throws(Failure) {
        try io { () throws(IOError) in
            var start = syncedOffset
            while start < offset {
                let count = min(1 << 20, offset - start)
                guard let bytes = try reader.bytes(at: start, count: count) else {
                    invariantFailed("the log's end moved")
                }
                try last.file.write(bytes, at: start)
                start += count
            }
            let end = offset + tornBytes
            if tornBytes >= RecordHeader.bytes {
                // The last byte of the torn header first: a failure halfway through what follows must not leave a header
                // that looks as if it had been written whole and had changed since.
                try Bytes([0]).withUnsafeBytes { (bytes) throws(IOError) in
                    try last.file.write(bytes, at: offset + RecordHeader.bytes - 1)
                }
            }
            let zeros = Bytes([UInt8](repeating: 0, count: min(tornBytes, 1 << 20)))
            while start < end {
                let count = min(1 << 20, end - start)
                try zeros.withUnsafeBytes { bytes throws(IOError) in
                    try last.file.write(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: start)
                }
                start += count
            }
            try last.file.syncData()
            // The names too may be from a process that died before it made them durable.
            try fileSystem.syncDirectory(directory)
        }
    }

    // MARK: Helpers

    private func path(_ name: String) -> String { "\(directory)/\(name)" }

    private func hex(_ number: UInt64) -> String { String(number, radix: 16) }

    private func io<Value>(_ body: () throws(IOError) -> Value) throws(Failure) -> Value {
        do throws(IOError) { return try body() } catch { throw .io(error) }
    }

    private func refuse(_ code: WALError.Code, _ message: String, _ file: String, _ offset: Int? = nil) -> Failure {
        .refused(WALError(code, message, file: file, offset: offset))
    }
}
