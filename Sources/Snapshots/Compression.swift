import CZlib
import Primitives

/// zlib's compressor, one whole frame at a time. Its state stays where it was made, as zlib wants it.
final class Compressor {
    private let stream: UnsafeMutablePointer<z_stream>

    /// `level`: 1 (fast) to 9 (small).
    init(level: Int32) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let status = deflateInit_(stream, level, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        invariant(status == Z_OK, "zlib: cannot initialise at level \(level)")
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Compresses `input` into `output`; the count of bytes, or nil when they would not all fit.
    func compress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Int? {
        invariant(deflateReset(stream) == Z_OK, "zlib: cannot reset")
        stream.pointee.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(output.count)
        let status = deflate(stream, Z_FINISH)
        return status == Z_STREAM_END ? output.count - Int(stream.pointee.avail_out) : nil
    }
}

/// zlib's decompressor, one whole frame at a time.
final class Decompressor {
    private let stream: UnsafeMutablePointer<z_stream>

    init() {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let status = inflateInit_(stream, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        invariant(status == Z_OK, "zlib: cannot initialise")
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// Fills `output`; false when `input` is not, to its last byte, what gives exactly so many bytes.
    func decompress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        invariant(inflateReset(stream) == Z_OK, "zlib: cannot reset")
        stream.pointee.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(output.count)
        let status = inflate(stream, Z_FINISH)
        return status == Z_STREAM_END && stream.pointee.avail_in == 0 && stream.pointee.avail_out == 0
    }
}
