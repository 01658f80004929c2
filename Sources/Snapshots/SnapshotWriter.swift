package import MVCC
package import Primitives

/// Makes the stream of one image, a chunk at a time as it is asked for.
///
/// The image stays open from `init` to the end of the stream (or of the writer), and pins pages of the backend's file: do
/// not keep an unfinished writer. Owner: one thread at a time.
package final class SnapshotWriter {
    private enum Stage {
        case header, items, done
    }

    package let header: SnapshotHeader
    /// Of the frames written so far.
    package private(set) var totals = SnapshotTotals()
    /// Bytes of the stream handed out so far.
    package private(set) var streamBytes: UInt64 = 0

    private let reader: any BackendReader
    private let options: SnapshotOptions
    private let compressor: Compressor?
    private var stage = Stage.header
    /// The next record; borrowed from the image.
    private var pending: StoredRecord?
    /// Read once all records are written.
    private var meta: [(key: Bytes, value: Bytes)]?
    private var metaIndex = 0
    private var chain: UInt32
    /// The frame that is being made: room for its header, and the content.
    private var frame: [UInt8] = []

    /// Opens an image with `reader`, which must have none open and is the writer's from now on.
    ///
    /// - Throws: `.store` when the backend cannot be read.
    package init(
        reader: any BackendReader, clusterID: UInt64, memberID: MemberID, options: SnapshotOptions = SnapshotOptions()
    ) throws(SnapshotError) {
        invariant(
            options.frameBytes > 0 && options.frameBytes <= SnapshotFormat.contentBytesMax, "a frame of no size")
        self.reader = reader
        self.options = options
        compressor = options.compressionLevel > 0 ? Compressor(level: options.compressionLevel) : nil
        do throws(StoreError) {
            try reader.begin()
            let summary = try reader.summary()
            header = SnapshotHeader(
                clusterID: clusterID, memberID: memberID, appliedIndex: summary.appliedIndex,
                appliedTerm: summary.appliedTerm, currentRevision: summary.currentRevision,
                compactRevision: summary.compactRevision, recordCount: UInt64(summary.recordCount))
            chain = SnapshotFormat.encode(header).checksum
            pending = try reader.seek(Revision(main: 0, sub: 0))
        } catch {
            reader.end()
            throw .store(error)
        }
    }

    deinit { reader.end() }

    /// How many of the image's records are in the frames written so far, 0...1.
    package var progress: Double {
        header.recordCount == 0 ? 1 : Double(totals.recordCount) / Double(header.recordCount)
    }

    /// The next part of the stream: the header, or one frame; nil after the last, when the image has been let go.
    ///
    /// Costs reading `SnapshotOptions.frameBytes`, a quarter of a millisecond, and compressing them: some milliseconds.
    ///
    /// - Parameter compressing: whether the frame may be compressed; false costs more bytes and less time. Readers take
    ///   either, in any mixture.
    /// - Throws: `.store`; `.itemTooLarge` for an item above `SnapshotFormat.contentBytesMax`. The writer is then of no
    ///   further use.
    package func nextChunk(compressing: Bool = true) throws(SnapshotError) -> Bytes? {
        let chunk: [UInt8]
        switch stage {
        case .header:
            chunk = SnapshotFormat.encode(header).bytes
            stage = .items
        case .items:
            beginFrame()
            let records = try fillRecords()
            let entries = records == 0 ? try fillMeta() : 0
            if records > 0 {
                totals.recordCount += UInt64(records)
                chunk = try endFrame(SnapshotFormat.kindRecords, itemCount: records, compressing)
            } else if entries > 0 {
                totals.metaCount += UInt64(entries)
                chunk = try endFrame(SnapshotFormat.kindMeta, itemCount: entries, compressing)
            } else {
                chunk = lastFrame()
                reader.end()
                stage = .done
            }
        case .done: return nil
        }
        streamBytes += UInt64(chunk.count)
        return Bytes(chunk)
    }

    // MARK: Contents

    private func fillRecords() throws(SnapshotError) -> Int {
        var count = 0
        do throws(StoreError) {
            while let record = pending {
                let size = SnapshotFormat.recordHeadBytes + record.bytes.count
                if count > 0, frame.count + size > frameBytesMax { break }
                SnapshotFormat.appendRecord(record, to: &frame)
                count += 1
                pending = try reader.next()
            }
        } catch { throw .store(error) }
        return count
    }

    private func fillMeta() throws(SnapshotError) -> Int {
        if meta == nil {
            do throws(StoreError) { meta = try reader.allMeta() } catch { throw .store(error) }
        }
        guard let entries = meta else { return 0 }
        var count = 0
        while metaIndex < entries.count {
            let (key, value) = entries[metaIndex]
            let size = SnapshotFormat.metaHeadBytes + key.count + value.count
            if count > 0, frame.count + size > frameBytesMax { break }
            SnapshotFormat.appendMeta(key: key, value: value, to: &frame)
            count += 1
            metaIndex += 1
        }
        return count
    }

    // MARK: Frames

    private var frameBytesMax: Int { SnapshotFormat.frameHeaderBytes + options.frameBytes }

    private func beginFrame() {
        frame.removeAll(keepingCapacity: true)
        frame.reserveCapacity(frameBytesMax)
        frame.append(contentsOf: repeatElement(0, count: SnapshotFormat.frameHeaderBytes))
    }

    /// Ends the frame that is being made: compressed, if that is wanted and makes it smaller, or else as it is, without
    /// another copy.
    private func endFrame(_ kind: UInt8, itemCount: Int, _ compressing: Bool) throws(SnapshotError) -> [UInt8] {
        let head = SnapshotFormat.frameHeaderBytes
        let contentBytes = frame.count - head
        guard contentBytes <= SnapshotFormat.contentBytesMax else { throw .itemTooLarge(bytes: contentBytes) }
        totals.contentBytes += UInt64(contentBytes)
        let compressed: [UInt8]? = frame.withUnsafeBytes { frame in
            let content = UnsafeRawBufferPointer(rebasing: frame[head...])
            totals.contentChecksum = CRC32C.checksum(content, continuing: totals.contentChecksum)
            return compressing ? compress(content, kind, itemCount: itemCount) : nil
        }
        if let compressed { return compressed }
        var stored: [UInt8] = []
        swap(&stored, &frame)
        stored.withUnsafeMutableBytes { target in
            writeHeader(
                to: target, kind: kind, encoding: SnapshotFormat.encodingPlain, contentBytes: contentBytes,
                bodyBytes: contentBytes, itemCount: itemCount)
        }
        return stored
    }

    /// Nil when compressing does not make it smaller.
    private func compress(_ content: UnsafeRawBufferPointer, _ kind: UInt8, itemCount: Int) -> [UInt8]? {
        guard let compressor else { return nil }
        let head = SnapshotFormat.frameHeaderBytes
        // One byte less than the content: what does not fit is better left as it is.
        let bytes = [UInt8](unsafeUninitializedCapacity: head + content.count - 1) { buffer, initialized in
            let target = UnsafeMutableRawBufferPointer(buffer)
            guard let count = compressor.compress(content, into: .init(rebasing: target[head...])) else { return }
            writeHeader(
                to: target, kind: kind, encoding: SnapshotFormat.encodingZlib, contentBytes: content.count,
                bodyBytes: count, itemCount: itemCount)
            initialized = head + count
        }
        return bytes.isEmpty ? nil : bytes
    }

    /// The last frame, and the padding.
    private func lastFrame() -> [UInt8] {
        let body = SnapshotFormat.encode(totals)
        let head = SnapshotFormat.frameHeaderBytes
        var bytes = [UInt8](repeating: 0, count: head) + body
        bytes.withUnsafeMutableBytes { target in
            writeHeader(
                to: target, kind: SnapshotFormat.kindEnd, encoding: SnapshotFormat.encodingPlain,
                contentBytes: body.count, bodyBytes: body.count, itemCount: 1)
        }
        let padding = SnapshotFormat.padding(after: streamBytes + UInt64(bytes.count))
        return bytes + [UInt8](repeating: 0, count: padding)
    }

    /// Writes the header of the frame at `target`, whose body is there already.
    private func writeHeader(
        to target: UnsafeMutableRawBufferPointer, kind: UInt8, encoding: UInt8, contentBytes: Int, bodyBytes: Int,
        itemCount: Int
    ) {
        let head = SnapshotFormat.frameHeaderBytes
        let body = UnsafeRawBufferPointer(rebasing: target[head..<(head + bodyBytes)])
        var header = SnapshotFormat.FrameHeader(
            kind: kind, encoding: encoding, contentBytes: contentBytes, bodyBytes: bodyBytes, itemCount: itemCount,
            bodyChecksum: CRC32C.checksum(body))
        header.write(to: UnsafeMutableRawBufferPointer(rebasing: target[..<head]), chain: chain)
        chain = header.chainChecksum
    }
}
