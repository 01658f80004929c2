import IOInterfaces
import Primitives

/// Reads a segment's records through a window of the file. Memory: the window, or the largest record.
final class SegmentReader {
    /// What is at a place in the file.
    enum Record {
        /// Its checksums are right. The body is valid until the next call.
        case valid(RecordHeader, UnsafeRawBufferPointer)
        /// Its header can be trusted, so its extent is known; its body can not.
        case brokenBody(RecordHeader)
        /// No header of this segment.
        case none
    }

    let file: any File
    /// The file's length in bytes.
    let size: Int
    private let salt: UInt32
    private let windowBytes: Int
    private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var windowStart = 0
    private var windowCount = 0

    init(_ file: any File, size: Int, salt: UInt32, windowBytes: Int = 256 << 10) {
        self.file = file
        self.size = size
        self.salt = salt
        self.windowBytes = windowBytes
    }

    deinit { buffer.deallocate() }

    /// The record at `offset`.
    func record(at offset: Int) throws(IOError) -> Record {
        guard let head = try bytes(at: offset, count: RecordHeader.bytes),
            let header = RecordHeader(head, salt: salt)
        else { return .none }
        guard let record = try bytes(at: offset, count: header.extent) else { return .brokenBody(header) }
        guard RecordHeader.checksum(record: record, salt: salt) == header.checksum else { return .brokenBody(header) }
        let body = record[RecordHeader.bytes..<RecordHeader.bytes + Int(header.length)]
        return .valid(header, UnsafeRawBufferPointer(rebasing: body))
    }

    /// The header at the start of `bytes`; nil when it is none of this segment.
    func header(_ bytes: UnsafeRawBufferPointer) -> RecordHeader? { RecordHeader(bytes, salt: salt) }

    /// Bytes of the file, valid until the next call; nil when the file ends before.
    func bytes(at offset: Int, count: Int) throws(IOError) -> UnsafeRawBufferPointer? {
        guard count <= size - offset else { return nil }
        if offset < windowStart || offset + count > windowStart + windowCount {
            try fill(at: offset, count: count)
            if windowCount < count { return nil }
        }
        let start = offset - windowStart
        return UnsafeRawBufferPointer(rebasing: buffer[start..<start + count])
    }

    private func fill(at offset: Int, count: Int) throws(IOError) {
        let wanted = min(max(count, windowBytes), size - offset)
        if buffer.count < wanted {
            buffer.deallocate()
            buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: wanted, alignment: 16)
        }
        windowCount = 0
        windowStart = offset
        windowCount = try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: offset)
    }
}
