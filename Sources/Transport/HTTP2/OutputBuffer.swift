import NIOCore

/// The bytes of one flush. One per event loop, not per connection: it is filled and handed to the socket within one
/// call, and its storage comes back for the next as soon as the socket has taken the bytes at once (as it mostly does).
/// Owner: one event loop.
package final class OutputBuffer {
    final var bytes: ByteBuffer

    init(allocator: ByteBufferAllocator) { bytes = allocator.buffer(capacity: 64 * 1024) }
}
