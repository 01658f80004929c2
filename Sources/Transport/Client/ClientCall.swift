package import NIOCore

/// A method's path in the form the wire wants it, made once and kept: its bytes are never freed.
package struct RPCPath: @unchecked Sendable {
    // Points to memory that is never freed nor written again.
    let bytes: UnsafeMutableBufferPointer<UInt8>

    /// `path`: `/package.Service/Method`. Costs no memory.
    package init(_ path: StaticString) {
        bytes = UnsafeMutableBufferPointer(
            start: UnsafeMutablePointer(mutating: path.utf8Start), count: path.utf8CodeUnitCount)
    }

    /// Keeps a copy of `path` for the life of the process: for paths that are known at start, not per call.
    package init(immortal path: String) { bytes = StaticHeaderBlock.immortal(path) }
}

/// How a unary call ended.
package struct RPCResult {
    package let status: RPCStatus
    /// The answer when `status` is OK, else empty. Valid until the completion returns.
    package let message: UnsafeRawBufferPointer
}

/// The application's side of one streaming call of a client. Called on the connection's loop.
package protocol RPCClientStreamHandler: AnyObject {
    /// One whole message, valid until this returns.
    func received(message: UnsafeRawBufferPointer)
    /// The call is over. Last method called, exactly once.
    func ended(status: RPCStatus)
    /// `bufferedBytes` had reached the high-water mark and has fallen below the low one.
    func writable()
}

extension RPCClientStreamHandler {
    package func writable() {}
}

/// One call of a client. Owner: the connection's event loop; `Sendable` so that others can hold it and come back with
/// `eventLoop.execute`. Everything is a no-op once the call is over.
package final class ClientCall: HTTP2Stream, @unchecked Sendable {
    package let eventLoop: any EventLoop
    var connection: ClientConnection?
    var completion: ((RPCResult) -> Void)?
    var handler: (any RPCClientStreamHandler)?
    /// Whether the outcome has been told.
    var isEnded = false
    var isFull = false
    package internal(set) var isReceivingPaused = false
    var isDelivering = false
    var unreturnedWindowBytes = 0
    // Response headers and trailers.
    var httpStatus = 0
    var grpcStatus = -1
    var grpcMessage = ""
    var isGzip = false
    /// The outcome, while messages that came before it wait for `resumeReceiving`.
    var heldOutcome: RPCStatus?

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    package var isLive: Bool { connection != nil && !isEnded }

    /// Bytes that wait for the peer's window or the socket.
    package var bufferedBytes: Int { outbound.count }
    package var isWritable: Bool { outbound.count < (connection?.limits.streamHighWaterBytes ?? 0) }

    /// Sends one message of `size` bytes that `fill` writes completely.
    package func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        assert(eventLoop.inEventLoop)
        guard isLive, !outboundClosed, let connection else { return }
        connection.append(self, size: size, fill)
        connection.resume(self)
        connection.flushSoon()
    }

    package func send(_ bytes: [UInt8]) {
        send(size: bytes.count) { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
    }

    /// Sends no more messages.
    package func halfClose() {
        guard isLive, !outboundClosed, let connection else { return }
        outboundClosed = true
        connection.resume(self)
        connection.flushSoon()
    }

    /// Gives the call up: it ends with CANCELLED before this returns.
    package func cancel() { abort(RPCStatus(.cancelled, "context canceled")) }

    /// Stops giving the server window for this stream; `received` is not called until `resumeReceiving`.
    package func pauseReceiving() { isReceivingPaused = true }

    package func resumeReceiving() {
        guard isReceivingPaused, let connection else { return }
        isReceivingPaused = false
        connection.giveBack(unreturnedWindowBytes, streamID: streamID)
        unreturnedWindowBytes = 0
        // Called from within `received`: the delivery under way goes on.
        if isDelivering { return }
        connection.deliverHeld(self)
        connection.flushSoon()
    }

    /// Ends the call from this side.
    func abort(_ status: RPCStatus) {
        guard isLive, let connection else { return }
        if position >= 0 { connection.reset(streamID: streamID, code: .cancel) }
        end(status, message: UnsafeRawBufferPointer(start: nil, count: 0))
        connection.flushSoon()
    }

    /// Tells the outcome, once.
    func end(_ status: RPCStatus, message: UnsafeRawBufferPointer) {
        guard !isEnded else { return }
        isEnded = true
        connection?.wheel.cancel(self)
        if let completion {
            self.completion = nil
            completion(RPCResult(status: status, message: message))
        } else if let handler {
            self.handler = nil
            handler.ended(status: status)
        }
    }

    func recycle() {
        inbound.clear(capacityKept: Self.bufferBytesKept)
        outbound.clear(capacityKept: Self.bufferBytesKept)
        outboundClosed = false
        outboundDeferred = false
        remoteClosed = false
        isEnded = false
        isFull = false
        isReceivingPaused = false
        unreturnedWindowBytes = 0
        httpStatus = 0
        grpcStatus = -1
        if !grpcMessage.isEmpty { grpcMessage = "" }
        isGzip = false
        heldOutcome = nil
    }

    package override func expired(now: NIODeadline) { abort(RPCStatus(.deadlineExceeded, "context deadline exceeded")) }

    override func outboundSent(session: HTTP2Session) {
        guard isFull, outbound.count < session.limits.streamLowWaterBytes else { return }
        isFull = false
        if handler != nil { connection?.becameWritable(self) }
    }
}
