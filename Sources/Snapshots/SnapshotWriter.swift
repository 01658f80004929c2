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
    /// Content of the frame that is being made.
    private var content: [UInt8] = []

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
        content.reserveCapacity(options.frameBytes)
    }

    deinit { reader.end() }

    /// How many of the image's records are in the frames written so far, 0...1.
    package var progress: Double {
        header.recordCount == 0 ? 1 : Double(totals.recordCount) / Double(header.recordCount)
    }

    /// The next part of the stream: the header, or one frame; nil after the last, when the image has been let go.
    ///
    /// Costs reading and compressing `SnapshotOptions.frameBytes`: some milliseconds.
    ///
    /// - Throws: `.store`; `.itemTooLarge` for an item above `SnapshotFormat.contentBytesMax`. The writer is then of no
    ///   further use.
    package func nextChunk() throws(SnapshotError) -> Bytes? {
        let chunk: [UInt8]
        switch stage {
        case .header:
            chunk = SnapshotFormat.encode(header).bytes
            stage = .items
        case .items:
            content.removeAll(keepingCapacity: true)
            let records = try fillRecords()
            let entries = records == 0 ? try fillMeta() : 0
            if records > 0 {
                totals.recordCount += UInt64(records)
                chunk = try frame(SnapshotFormat.kindRecords, itemCount: records)
            } else if entries > 0 {
                totals.metaCount += UInt64(entries)
                chunk = try frame(SnapshotFormat.kindMeta, itemCount: entries)
            } else {
                chunk = endFrame()
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
                if count > 0, content.count + size > options.frameBytes { break }
                SnapshotFormat.appendRecord(record, to: &content)
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
            if count > 0, content.count + size > options.frameBytes { break }
            SnapshotFormat.appendMeta(key: key, value: value, to: &content)
            count += 1
            metaIndex += 1
        }
        return count
    }

    // MARK: Frames

    /// A frame of `content`, compressed if that makes it smaller.
    private func frame(_ kind: UInt8, itemCount: Int) throws(SnapshotError) -> [UInt8] {
        guard content.count <= SnapshotFormat.contentBytesMax else { throw .itemTooLarge(bytes: content.count) }
        totals.contentBytes += UInt64(content.count)
        let head = SnapshotFormat.frameHeaderBytes
        return content.withUnsafeBytes { content in
            totals.contentChecksum = CRC32C.checksum(content, continuing: totals.contentChecksum)
            return [UInt8](unsafeUninitializedCapacity: head + content.count) { buffer, initialized in
                let target = UnsafeMutableRawBufferPointer(buffer)
                // One byte less than the content: what does not fit is better left as it is.
                let room = UnsafeMutableRawBufferPointer(rebasing: target[head..<(head + content.count - 1)])
                let compressed = compressor?.compress(content, into: room)
                if compressed == nil {
                    UnsafeMutableRawBufferPointer(rebasing: target[head...]).copyMemory(from: content)
                }
                let count = compressed ?? content.count
                writeHeader(
                    to: target, kind: kind,
                    encoding: compressed == nil ? SnapshotFormat.encodingPlain : SnapshotFormat.encodingZlib,
                    contentBytes: content.count, bodyBytes: count, itemCount: itemCount)
                initialized = head + count
            }
        }
    }

    /// The last frame, and the padding.
    private func endFrame() -> [UInt8] {
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
