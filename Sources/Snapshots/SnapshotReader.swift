package import MVCC
package import Primitives

/// One record of a snapshot; borrowed from its frame.
package struct SnapshotRecord {
    package var revision: Revision
    package var isTombstone: Bool
    /// The stored record, an `mvccpb.KeyValue`.
    package var bytes: UnsafeRawBufferPointer
}

/// The next thing a snapshot's stream gives.
package enum SnapshotPart: Sendable {
    /// Once, first.
    case header(SnapshotHeader)
    case records(SnapshotRecords)
    /// Entries of the meta table, in key order, after all records.
    case meta([MetaChange])
    /// Once, last: everything before is whole and right.
    case end(SnapshotTotals)
}

/// What a frame holds: a part of what came, shared and not copied, or what was decompressed.
struct FrameContent: Sendable {
    var bytes: Bytes
    var range: Range<Int>

    @inline(__always)
    func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try bytes.withUnsafeBytes { (bytes) throws(E) in try body(UnsafeRawBufferPointer(rebasing: bytes[range])) }
    }
}

/// The records of one frame, checked, in revision order.
package struct SnapshotRecords: Sendable {
    let content: FrameContent
    package let count: Int

    /// Calls `body` with each record.
    package func forEach<E: Error>(_ body: (SnapshotRecord) throws(E) -> Void) throws(E) {
        try content.withUnsafeBytes { (bytes) throws(E) in
            var position = 0
            while position < bytes.count {
                let record = Self.record(in: bytes, at: position)
                position += SnapshotFormat.recordHeadBytes + record.bytes.count
                try body(record)
            }
        }
    }

    /// Appends them as records of an image, which share this frame's memory; their bytes.
    func append(to image: inout [ImageRecord]) -> Int {
        content.withUnsafeBytes { bytes in
            var position = 0
            var recordBytes = 0
            while position < bytes.count {
                let record = Self.record(in: bytes, at: position)
                let start = position + SnapshotFormat.recordHeadBytes
                image.append(
                    ImageRecord(
                        revision: record.revision, isTombstone: record.isTombstone, frame: content.bytes,
                        start: content.range.lowerBound + start, count: record.bytes.count))
                recordBytes += record.bytes.count
                position = start + record.bytes.count
            }
            return recordBytes
        }
    }

    /// The record at `position`, whose length is known to be right.
    private static func record(in bytes: UnsafeRawBufferPointer, at position: Int) -> SnapshotRecord {
        let start = position + SnapshotFormat.recordHeadBytes
        let count = Int(SnapshotFormat.load(bytes, start - 4) as UInt32)
        return SnapshotRecord(
            revision: revision(in: bytes, at: position),
            isTombstone: bytes[position + RevisionKey.byteCount] == SnapshotFormat.tombstoneFlag,
            bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + count)]))
    }

    fileprivate static func revision(in bytes: UnsafeRawBufferPointer, at position: Int) -> Revision {
        let key = UnsafeRawBufferPointer(rebasing: bytes[position..<(position + RevisionKey.byteCount)])
        return RevisionKey.read(key).unsafelyUnwrapped
    }

    /// Checks the form of all records; the last one's revision, or what is wrong.
    fileprivate static func check(
        _ bytes: UnsafeRawBufferPointer, count: Int, after last: Revision, through newest: Int64
    ) -> Result<Revision, ContentFault> {
        var last = last
        var position = 0
        var left = count
        while left > 0 {
            let start = position + SnapshotFormat.recordHeadBytes
            guard start <= bytes.count else { return .failure("a frame ends within a record") }
            let flags = bytes[position + RevisionKey.byteCount]
            guard flags & ~SnapshotFormat.tombstoneFlag == 0 else { return .failure("a record's flags are not known") }
            let length = Int(SnapshotFormat.load(bytes, start - 4) as UInt32)
            guard length <= bytes.count - start else { return .failure("a record ends outside of its frame") }
            let revision = revision(in: bytes, at: position)
            guard revision > last, revision.main <= newest else { return .failure("revisions are out of order") }
            last = revision
            position = start + length
            left -= 1
        }
        return position == bytes.count ? .success(last) : .failure("a frame has more than its records")
    }
}

/// What is wrong with a frame whose checksum is right.
struct ContentFault: Error, ExpressibleByStringLiteral {
    var detail: String
    init(stringLiteral value: String) { detail = value }
}

/// Takes a snapshot's stream in pieces of any size and gives its parts, each checked.
///
/// Memory: one frame's body and content, and one piece. Owner: one thread at a time.
package final class SnapshotReader {
    private enum Stage {
        case header, frames, padding, digest
    }

    /// Known after the first part.
    package private(set) var header: SnapshotHeader?
    /// Of the parts given so far.
    package private(set) var totals = SnapshotTotals()

    private let decompressor = Decompressor()
    private var stage = Stage.header
    private var failure: SnapshotError?
    /// Bytes that came and are not used yet, from `used` on.
    private var buffer: [UInt8] = []
    private var used = 0
    /// Where in the stream the first unused byte is.
    private var offset: UInt64 = 0
    private var chain: UInt32 = 0
    private var frame: SnapshotFormat.FrameHeader?
    private var lastRevision = Revision(main: 0, sub: .max)
    private var lastMetaKey: Bytes?
    private var paddingLeft = 0
    private var digest: [UInt8] = []

    package init() {}

    /// Takes the next bytes of the stream without copying them, if everything that came before was used. Take all parts
    /// with `next` before more is given: what waits is kept.
    package func append(_ bytes: Bytes) {
        guard used == buffer.count else { return bytes.withUnsafeBytes { append($0) } }
        buffer = bytes.array
        used = 0
    }

    /// Takes the next bytes of the stream. Take all parts with `next` before more is given: what waits is kept.
    package func append(_ bytes: UnsafeRawBufferPointer) {
        if used > 0 {
            buffer.removeFirst(used)
            used = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next part; nil when more of the stream is needed for it, or after the end.
    ///
    /// - Throws: `.notSnapshot`, `.unsupportedVersion` or `.damaged`; the same again at every later call.
    package func next() throws(SnapshotError) -> SnapshotPart? {
        if let failure { throw failure }
        do throws(SnapshotError) {
            switch stage {
            case .header: return try readHeader()
            case .frames: return try readFrame()
            case .padding, .digest:
                try readTrailer()
                return nil
            }
        } catch {
            failure = error
            throw error
        }
    }

    /// Ends the stream.
    ///
    /// - Throws: `.truncated` when the end has not come, and what `next` throws.
    package func finish() throws(SnapshotError) -> SnapshotStatus {
        while try next() != nil {}
        let isWhole = stage == .digest && (digest.isEmpty || digest.count == SnapshotFormat.digestBytes)
        guard isWhole, let header else { throw .truncated(offset: offset + UInt64(buffer.count - used)) }
        return SnapshotStatus(
            header: header, totals: totals, streamBytes: offset - UInt64(digest.count),
            digest: digest.isEmpty ? nil : Bytes(digest))
    }

    // MARK: Stages

    /// Runs `body` with the next `count` bytes and then drops them; nil when there are not so many yet.
    private func take<R>(
        _ count: Int, _ body: (UnsafeRawBufferPointer) throws(SnapshotError) -> R
    ) throws(SnapshotError) -> R? {
        guard buffer.count - used >= count else { return nil }
        let range = used..<(used + count)
        let result: Result<R, SnapshotError> = buffer.withUnsafeBytes { bytes in
            do throws(SnapshotError) {
                return .success(try body(UnsafeRawBufferPointer(rebasing: bytes[range])))
            } catch { return .failure(error) }
        }
        used += count
        offset += UInt64(count)
        return try result.get()
    }

    private func readHeader() throws(SnapshotError) -> SnapshotPart? {
        // What is no snapshot is told as soon as it can be, be it ever so short.
        let begin = min(SnapshotFormat.magic.count, buffer.count)
        guard buffer[..<begin].elementsEqual(SnapshotFormat.magic[..<begin]) else { throw .notSnapshot }
        let read = try take(SnapshotFormat.headerBytes) { (bytes) throws(SnapshotError) in
            try SnapshotFormat.decodeHeader(bytes)
        }
        guard let (header, checksum) = read else { return nil }
        self.header = header
        chain = checksum
        stage = .frames
        return .header(header)
    }

    private func readFrame() throws(SnapshotError) -> SnapshotPart? {
        if frame == nil {
            let (chain, offset) = (chain, offset)
            frame = try take(SnapshotFormat.frameHeaderBytes) { (bytes) throws(SnapshotError) in
                try SnapshotFormat.FrameHeader(bytes, chain: chain, offset: offset)
            }
            if let frame { self.chain = frame.chainChecksum }
        }
        guard let frame else { return nil }
        let start = offset
        guard let content = try takeContent(frame) else { return nil }
        self.frame = nil
        switch frame.kind {
        case SnapshotFormat.kindRecords: return .records(try records(content, frame, offset: start))
        case SnapshotFormat.kindMeta: return .meta(try meta(content, frame, offset: start))
        default: return .end(try end(content, offset: start))
        }
    }

    private func readTrailer() throws(SnapshotError) {
        if stage == .padding {
            let count = min(paddingLeft, buffer.count - used)
            let start = offset
            _ = try take(count) { (bytes) throws(SnapshotError) in
                if let wrong = bytes.firstIndex(where: { $0 != 0 }) {
                    throw .damaged(offset: start + UInt64(wrong), detail: "the padding is not zero")
                }
            }
            paddingLeft -= count
            if paddingLeft > 0 { return }
            stage = .digest
        }
        let rest = buffer.count - used
        guard digest.count + rest <= SnapshotFormat.digestBytes else {
            let end = offset + UInt64(SnapshotFormat.digestBytes - digest.count)
            throw .damaged(offset: end, detail: "the file goes on after its end")
        }
        _ = try take(rest) { (bytes) throws(SnapshotError) in digest.append(contentsOf: bytes) }
    }

    // MARK: Contents

    /// The content of the frame whose body comes next; nil when it is not there yet.
    private func takeContent(_ frame: SnapshotFormat.FrameHeader) throws(SnapshotError) -> FrameContent? {
        guard buffer.count - used >= frame.bodyBytes else { return nil }
        let stored = FrameContent(bytes: Bytes(buffer), range: used..<(used + frame.bodyBytes))
        let start = offset
        used += frame.bodyBytes
        offset += UInt64(frame.bodyBytes)
        return try stored.withUnsafeBytes { (body) throws(SnapshotError) in
            guard CRC32C.checksum(body) == frame.bodyChecksum else {
                throw .damaged(offset: start, detail: "a frame's body does not match its checksum")
            }
            guard frame.encoding == SnapshotFormat.encodingZlib else { return stored }
            return try decompress(frame, body, offset: start)
        }
    }

    private func decompress(
        _ frame: SnapshotFormat.FrameHeader, _ body: UnsafeRawBufferPointer, offset: UInt64
    ) throws(SnapshotError) -> FrameContent {
        var isWhole = false
        let content = Bytes(count: frame.contentBytes) { target in
            isWhole = decompressor.decompress(body, into: target)
            // All of it counts as written, so all of it must be.
            if !isWhole { target.initializeMemory(as: UInt8.self, repeating: 0) }
        }
        guard isWhole else { throw .damaged(offset: offset, detail: "a frame cannot be decompressed") }
        return FrameContent(bytes: content, range: 0..<frame.contentBytes)
    }

    /// Counts a frame's content into the totals.
    private func count(_ content: UnsafeRawBufferPointer) {
        totals.contentBytes += UInt64(content.count)
        totals.contentChecksum = CRC32C.checksum(content, continuing: totals.contentChecksum)
    }

    private func records(
        _ content: FrameContent, _ frame: SnapshotFormat.FrameHeader, offset: UInt64
    ) throws(SnapshotError) -> SnapshotRecords {
        guard let header, lastMetaKey == nil else {
            throw .damaged(offset: offset, detail: "records after the meta entries")
        }
        let last = content.withUnsafeBytes { bytes in
            count(bytes)
            return SnapshotRecords.check(
                bytes, count: frame.itemCount, after: lastRevision, through: header.currentRevision)
        }
        switch last {
        case .success(let revision): lastRevision = revision
        case .failure(let fault): throw .damaged(offset: offset, detail: fault.detail)
        }
        totals.recordCount += UInt64(frame.itemCount)
        return SnapshotRecords(content: content, count: frame.itemCount)
    }

    private func meta(
        _ content: FrameContent, _ frame: SnapshotFormat.FrameHeader, offset: UInt64
    ) throws(SnapshotError) -> [MetaChange] {
        var entries: [MetaChange] = []
        try content.withUnsafeBytes { (bytes) throws(SnapshotError) in
            count(bytes)
            var position = 0
            while entries.count < frame.itemCount {
                let start = position + SnapshotFormat.metaHeadBytes
                guard start <= bytes.count else {
                    throw .damaged(offset: offset, detail: "a frame ends within a meta entry")
                }
                let keyCount = Int(SnapshotFormat.load(bytes, position) as UInt32)
                let valueCount = Int(SnapshotFormat.load(bytes, position + 4) as UInt32)
                guard keyCount + valueCount <= bytes.count - start else {
                    throw .damaged(offset: offset, detail: "a meta entry ends outside of its frame")
                }
                let key = Bytes(copying: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + keyCount)]))
                position = start + keyCount + valueCount
                let value = Bytes(copying: UnsafeRawBufferPointer(rebasing: bytes[(start + keyCount)..<position]))
                guard lastMetaKey.map({ $0 < key }) ?? true else {
                    throw .damaged(offset: offset, detail: "meta entries are out of order")
                }
                lastMetaKey = key
                entries.append(MetaChange(key: key, value: value))
            }
            guard position == bytes.count else {
                throw .damaged(offset: offset, detail: "a frame has more than its meta entries")
            }
        }
        totals.metaCount += UInt64(entries.count)
        return entries
    }

    private func end(_ content: FrameContent, offset: UInt64) throws(SnapshotError) -> SnapshotTotals {
        let written = content.withUnsafeBytes { SnapshotFormat.decodeTotals($0) }
        guard let written, written == totals, totals.recordCount == header?.recordCount else {
            throw .damaged(offset: offset, detail: "the totals are not those of what was read")
        }
        stage = .padding
        paddingLeft = SnapshotFormat.padding(after: self.offset)
        return totals
    }
}
