import NIOCore

/// The bytes of one flush. One per event loop, not per connection: it is filled and handed to the socket within one
/// call, and its storage comes back for the next as soon as the socket has taken the bytes at once (as it mostly does).
/// Owner: one event loop.
package final class OutputBuffer {
    final var bytes: ByteBuffer

    /// Passes the bytes to `write` and is empty afterwards. `write` may come back here: it finds the buffer empty
    /// already.
    func flush(_ write: (ByteBuffer) -> Void) {
        var taken = bytes
        bytes = ByteBuffer()
        write(taken)
        guard bytes.capacity == 0 else { return }
        swap(&taken, &bytes)
        bytes.clear()
    }

    init(allocator: ByteBufferAllocator) { bytes = allocator.buffer(capacity: 64 * 1024) }
}
