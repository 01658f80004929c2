import CNghttp2
package import NIOCore
import Primitives

/// One call on the server, from its headers to its trailers.
///
/// Owner: the connection's event loop; every method and property is used there only. It is `Sendable` so that a thread
/// that works for the call can hold it and bring the answer back with `eventLoop.execute`. A call that has died in the
/// meantime ignores every answer; its object is used again only when nobody else holds it, so an answer can never reach
/// another call.
package final class RPCCall: HTTP2Stream, @unchecked Sendable {
    /// The connection while the stream is open; nil once the call is dead.
    var server: ServerConnection?
    /// The loop that owns the call.
    package let eventLoop: any EventLoop

    package internal(set) var method = RPCMethod(index: -1, kind: .unary)
    /// When the request is given up, from `grpc-timeout`; nil without one.
    package internal(set) var deadline: NIODeadline?
    /// When the request's headers arrived (the read that brought them).
    package internal(set) var startedAt = NIODeadline.uptimeNanoseconds(0)

    // Request headers.
    let request = RequestHead()
    // Request messages.
    var handler: (any RPCStreamHandler)?
    /// A whole message has gone to the application.
    var messageComplete = false
    package internal(set) var isReceivingPaused = false
    var isDelivering = false
    var unreturnedWindowBytes = 0
    // Answer.
    var headersSubmitted = false
    /// Bytes of a message have gone to the socket.
    var answerBegan = false
    /// Whether the outcome is decided; nothing the application says afterwards counts.
    var isFinished = false
    var status = RPCStatus.ok
    var bodyBytesLeft = 0
    var body: (any SlicedBody)?
    var source: (any RPCMessageSource)?
    var isFull = false
    var isRefilling = false
    var takesTurns = false
    /// Counted as started: it will be counted as handled.
    var isStarted = false
    /// The request is plain HTTP, not gRPC.
    var isPlainHTTP = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    // MARK: The request

    /// The connection; nil once the call is dead.
    package var connection: ConnectionInfo? { server?.info }

    /// Whether an answer would still go anywhere.
    package var isLive: Bool { server != nil && !isFinished }

    /// The first value of request header `name` (lower case), except those HTTP/2 and gRPC use themselves. O(headers).
    package func metadata(_ name: StaticString) -> String? {
        request.value(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    }

    /// As above, for a name that is not a literal.
    package func metadata(named name: String) -> String? {
        var name = name
        return name.withUTF8 { request.value(UnsafeRawBufferPointer($0)) }
    }

    /// Bytes of answer that wait for the peer's window or the socket.
    package var bufferedBytes: Int { outbound.count }

    /// Whether `bufferedBytes` is below the high-water mark (`HTTP2Limits.streamHighWaterBytes`). Sending is never
    /// refused, but an application that goes on while this is false is not bounded by the transport.
    package var isWritable: Bool { outbound.count < (server?.limits.streamHighWaterBytes ?? 0) }

    /// Ready for the pool: as new, except for memory worth keeping.
    func recycle() {
        inbound.clear(capacityKept: Self.bufferBytesKept)
        outbound.clear(capacityKept: Self.bufferBytesKept)
        request.clear()
        outboundClosed = false
        outboundDeferred = false
        remoteClosed = false
        deadline = nil
        messageComplete = false
        isReceivingPaused = false
        unreturnedWindowBytes = 0
        headersSubmitted = false
        answerBegan = false
        isFinished = false
        if status.code != .ok { status = .ok }
        bodyBytesLeft = 0
        isFull = false
        takesTurns = false
        isPlainHTTP = false
        isStarted = false
        method = RPCMethod(index: -1, kind: .unary)
    }

    // MARK: Ends without our doing

    /// The deadline has passed.
    package override func expired(now: NIODeadline) {
        guard isLive, let server else { return }
        server.now = now
        let isAnswered = headersSubmitted
        if (isAnswered && !outbound.isEmpty) || bodyBytesLeft > 0 {
            status = RPCStatus(.deadlineExceeded, "context deadline exceeded")
            isFinished = true
            server.reset(streamID: streamID, code: .cancel)
            server.flushSoon()
        } else {
            fail(RPCStatus(.deadlineExceeded, "context deadline exceeded"))
        }
        tellCancelled(isAnswered: isAnswered)
    }

    /// The stream is gone. `server` must still be set; the caller clears it.
    func streamClosed() {
        if !isFinished {
            isFinished = true
            status = RPCStatus(.cancelled, "context canceled")
            tellCancelled(isAnswered: headersSubmitted)
        } else if bodyBytesLeft > 0 || body != nil || source != nil {
            dropProducers()
        }
        handler = nil
    }

    /// Tells whoever works for the call that it is over. At most once: the handler is let go. `isAnswered`: an answer
    /// had been begun, so a unary call's application has nothing left to do.
    func tellCancelled(isAnswered: Bool) {
        dropProducers()
        if let handler {
            self.handler = nil
            handler.cancelled()
        } else if method.kind == .unary, messageComplete, !isAnswered {
            server?.loop.dispatcher.unaryCancelled(self)
        }
    }

    func dropProducers() {
        let (body, source) = (body, source)
        self.body = nil
        self.source = nil
        body?.cancelled()
        source?.cancelled()
    }

    // MARK: HTTP2Stream

    override func refillOutbound(session: HTTP2Session) {
        if body != nil || source != nil { refill() }
    }

    override func endOfOutbound(session: HTTP2Session) -> Bool {
        guard !isPlainHTTP else { return true }
        submitTrailers()
        return false
    }

    override func outboundSent(session: HTTP2Session) {
        answerBegan = true
        // A client may measure the path with pings as long as data comes (gRPC proposal A8).
        server?.payloadSent()
        guard isFull, outbound.count < session.limits.streamLowWaterBytes else { return }
        isFull = false
        if handler != nil { server?.becameWritable(self) }
    }
}
