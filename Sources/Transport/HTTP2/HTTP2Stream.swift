import NIOCore

/// One HTTP/2 stream, as `HTTP2Session` sees it: bytes that wait to be sent and bytes that wait to be whole.
/// `RPCCall` (server) and `ClientCall` (client) are its two kinds. Owner: the connection's event loop.
package class HTTP2Stream: DeadlineEntry {
    /// Capacity a stream keeps of each buffer when it goes back to its pool.
    static let bufferBytesKept = 16 * 1024

    final var streamID: Int32 = 0
    /// Position in the session's table of open streams.
    final var position = -1
    final let outbound = RawBuffer()
    final let inbound = RawBuffer()
    /// Nothing more will be appended to `outbound`; after its last byte comes `endOfOutbound`.
    final var outboundClosed = false
    /// nghttp2 asked for bytes when there were none, and waits to be told.
    final var outboundDeferred = false
    /// The peer has sent END_STREAM.
    final var remoteClosed = false

    /// Makes bytes available in `outbound` if a source of them is attached; called when it
    /// holds less than a frame.
    func refillOutbound(session: HTTP2Session) {}

    /// The last byte of `outbound` is about to go. True: the DATA frame bears END_STREAM; false: trailers were
    /// submitted.
    func endOfOutbound(session: HTTP2Session) -> Bool { true }

    /// Bytes have left `outbound`.
    func outboundSent(session: HTTP2Session) {}
}
