import CZlib
import Primitives

/// gzip, whole messages at a time, with zlib. Reused by all calls of a loop. Owner: one event loop.
final class Gzip {
    enum Failure: Error, Equatable {
        /// Not gzip, or damaged, or cut short.
        case malformed
        /// More than the limit came out; no more than that was ever held.
        case tooLarge
    }

    private static let chunkBytes = 16 * 1024
    private var inflater = z_stream()
    private var deflater = z_stream()
    private var isInflaterReady = false
    private var isDeflaterReady = false
    /// What the last call made; valid until the next.
    let output = RawBuffer()

    deinit {
        if isInflaterReady { inflateEnd(&inflater) }
        if isDeflaterReady { deflateEnd(&deflater) }
    }

    /// Decompresses one or more gzip members into `output`, which stays at or below `bytesMax` bytes.
    func decompress(_ input: UnsafeRawBufferPointer, bytesMax: Int) throws(Failure) {
        output.clear(capacityKept: Self.chunkBytes * 4)
        if !isInflaterReady {
            let status = inflateInit2_(&inflater, 16 + 15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
            invariant(status == Z_OK, "zlib: cannot initialise")
            isInflaterReady = true
        }
        inflateReset(&inflater)
        inflater.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        inflater.avail_in = UInt32(clamping: input.count)
        while true {
            let room = output.reserve(min(Self.chunkBytes, bytesMax - output.count + 1))
            inflater.next_out = room.bindMemory(to: UInt8.self).baseAddress
            inflater.avail_out = UInt32(room.count)
            let status = inflate(&inflater, Z_NO_FLUSH)
            output.commit(room.count - Int(inflater.avail_out))
            guard output.count <= bytesMax else { throw .tooLarge }
            if status == Z_STREAM_END {
                if inflater.avail_in == 0 { return }
                inflateReset(&inflater)
            } else if status != Z_OK {
                throw .malformed
            }
        }
    }

    /// Compresses `input` into `output` as one gzip member, fast rather than small.
    func compress(_ input: UnsafeRawBufferPointer) {
        output.clear(capacityKept: Self.chunkBytes * 4)
        if !isDeflaterReady {
            let status = deflateInit2_(
                &deflater, 1, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                Int32(MemoryLayout<z_stream>.size))
            invariant(status == Z_OK, "zlib: cannot initialise")
            isDeflaterReady = true
        }
        deflateReset(&deflater)
        var status = Z_OK
        var rest = input
        while status != Z_STREAM_END {
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            deflater.next_in = UnsafeMutablePointer(mutating: part.bindMemory(to: UInt8.self).baseAddress)
            deflater.avail_in = UInt32(part.count)
            let room = output.reserve(Self.chunkBytes)
            deflater.next_out = room.bindMemory(to: UInt8.self).baseAddress
            deflater.avail_out = UInt32(room.count)
            status = deflate(&deflater, part.count == rest.count ? Z_FINISH : Z_NO_FLUSH)
            invariant(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, "zlib: cannot compress")
            output.commit(room.count - Int(deflater.avail_out))
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count - Int(deflater.avail_in)))
        }
    }
}
