package import NIOCore

/// Every bound the transport puts on one connection, and what happens at it. One struct for server and client.
package struct HTTP2Limits: Sendable {
    /// Streams open at once; announced in SETTINGS, beyond it nghttp2 answers REFUSED_STREAM.
    package var concurrentStreamsMax: UInt32 = 4096
    /// Bytes of one request's header list, 32 added per field (RFC 9113, 6.5.2); beyond it the request gets 431.
    package var headerListBytesMax = 64 * 1024
    /// CONTINUATION frames after one HEADERS frame; beyond it the connection is closed.
    package var continuationsMax = 8
    /// Bytes the peer may have in flight on one stream.
    package var streamWindowBytes: Int32 = 1 << 20
    /// Bytes the peer may have in flight on the connection.
    package var connectionWindowBytes: Int32 = 4 << 20
    /// Message bytes that have arrived but are not yet whole (or not yet asked for), summed over the connection's
    /// streams; the stream that passes it fails with RESOURCE_EXHAUSTED.
    package var inboundBufferedBytesMax = 32 << 20
    /// Answer bytes waiting for the peer's window, summed over the connection's streams; at it, new streams are
    /// refused with REFUSED_STREAM.
    package var outboundBufferedBytesMax = 64 << 20
    /// One received message, bytes after decompression; beyond it RESOURCE_EXHAUSTED.
    package var receivedMessageBytesMax = 1_572_864 + 524_288
    /// One sent message, bytes; beyond it RESOURCE_EXHAUSTED.
    package var sentMessageBytesMax = Int(Int32.max)
    /// A stream whose unsent bytes reach this is not writable ...
    package var streamHighWaterBytes = 1 << 20
    /// ... until they fall below this, when its handler's `writable()` is called.
    package var streamLowWaterBytes = 256 << 10
    /// Bytes asked of a `SlicedBody` at a time.
    package var sliceBytes = 64 << 10
    /// Streams the peer may reset before they asked anything (or have reset for breaking the protocol) in a burst, and
    /// per second after it; beyond it GOAWAY ENHANCE_YOUR_CALM (CVE-2023-44487, CVE-2025-8671).
    ///
    /// A reset is how gRPC cancels, so a busy client sends many that are no attack. What makes a flood of them cheap for
    /// its sender is that the stream is gone before anything was asked or answered; only those count here. A stream
    /// whose answer has begun to leave costs nothing: it was served, like any call, and calls are not counted either.
    package var resetsBurst = 5000
    package var resetsPerSecond = 500
    /// The same for streams that had a message for the application and no answer yet, and for resets that cross with
    /// the end of their stream. Each costs what a call costs, and calls given up on a slow server come in thousands.
    package var servedResetsBurst = 20_000
    package var servedResetsPerSecond = 2000
    /// SETTINGS and empty DATA frames in a burst, and per second after it; beyond it GOAWAY
    /// ENHANCE_YOUR_CALM.
    package var controlFramesBurst = 1000
    package var controlFramesPerSecond = 100
    /// PING and SETTINGS acknowledgements waiting to be written; beyond it the connection is closed.
    package var outboundAcknowledgementsMax = 1000
    /// Time from accept (or from the first byte of a later header block) to the HTTP/2 preface or the whole header;
    /// beyond it the connection is closed.
    package var headersTimeout: TimeAmount = .seconds(10)
    /// Time without progress while written bytes wait for the socket; beyond it the connection is closed.
    package var writeStallTimeout: TimeAmount = .seconds(60)
    /// HTTP/1.1: bytes of one request's line and headers; beyond it 431.
    package var http1HeaderBytesMax = 16 * 1024
    /// HTTP/1.1 and plain HTTP/2 requests: bytes of one body; beyond it 413.
    package var httpBodyBytesMax = 1_572_864 + 524_288
    /// HTTP/1.1: requests read ahead of their answers; at it the connection is read no further.
    package var http1PipelinedRequestsMax = 16
    /// HTTP/1.1: time a kept-alive connection may wait for its next request; beyond it it is closed.
    package var httpIdleTimeout: TimeAmount = .seconds(120)

    package init() {}
}

/// When connections are probed, and how often a peer may probe (etcd: `--grpc-keepalive-*`).
package struct KeepaliveConfiguration: Sendable {
    /// A peer that pings more often than this collects strikes.
    package var minimumPingInterval: TimeAmount = .seconds(5)
    /// Strikes allowed since the last DATA or HEADERS we sent; one more is GOAWAY `too_many_pings`. grpc-go allows 2.
    package var pingStrikesMax = 4
    /// Silence after which we ping.
    package var interval: TimeAmount = .hours(2)
    /// Silence after our ping at which the connection is closed.
    package var timeout: TimeAmount = .seconds(20)

    package init() {}
}
