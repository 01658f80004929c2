import CNghttp2
import NIOCore

/// Header lists that never change.
enum ResponseHeaders {
    static let plain = StaticHeaderBlock([(":status", "200"), ("content-type", "application/grpc")])
    static let gzip = StaticHeaderBlock([
        (":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
    ])
    static let okTrailers = StaticHeaderBlock([("grpc-status", "0")])
}

// The answer. Everything here is a no-op on a call that is dead or finished.
extension RPCCall {
    /// Answers fewer bytes than this uncompressed even where gzip was asked for.
    static let compressedBytesMin = 256

    /// Sends the answer's headers, one message of `size` bytes that `fill` writes completely, and OK.
    package func reply(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        guard append(size: size, fill) else { return }
        close(with: .ok)
    }

    /// As above, with bytes that exist already.
    package func reply(_ bytes: [UInt8]) {
        reply(size: bytes.count) { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
    }

    /// Sends headers, one message of exactly `length` bytes that `body` produces as the peer takes them, and OK. A body
    /// that ends early or late resets the stream.
    package func reply(length: Int, body: any SlicedBody) {
        guard isLive, let server else { return body.cancelled() }
        guard checkSize(length) else { return body.cancelled() }
        if length == 0 { return reply(size: 0) { _ in } }
        MessageFraming.writePrefix(
            outbound.reserve(MessageFraming.prefixBytes), length: length, compressed: false)
        outbound.commit(MessageFraming.prefixBytes)
        server.outboundBufferedBytes += MessageFraming.prefixBytes
        server.loop.counters.messagesSent[method.index] += 1
        bodyBytesLeft = length
        self.body = body
        takesTurns = true
        submitHeaders()
        server.resume(self)
        server.flushSoon()
    }

    /// Sends the messages of `source`, as the peer takes them, then OK.
    package func stream(from source: any RPCMessageSource) {
        guard isLive, let server else { return source.cancelled() }
        self.source = source
        takesTurns = true
        submitHeaders()
        server.resume(self)
        server.flushSoon()
    }

    /// A body or source that had nothing may have something now.
    package func bodyReady() {
        guard isLive, let server, body != nil || source != nil else { return }
        server.resume(self)
        server.flushSoon()
    }

    /// Sends one message of `size` bytes that `fill` writes completely (after the headers, if it is the first).
    package func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        guard append(size: size, fill), let server else { return }
        takesTurns = true
        submitHeaders()
        if !isRefilling {
            server.resume(self)
            server.flushSoon()
        }
    }

    /// As above, with bytes that exist already.
    package func send(_ bytes: [UInt8]) {
        send(size: bytes.count) { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
    }

    /// Ends the answer with OK, after the messages sent.
    package func finish() { close(with: .ok) }

    /// Ends the answer with `status`, after the messages sent; without any, as trailers only.
    package func fail(_ status: RPCStatus) { close(with: status) }

    // MARK: Receiving

    /// Stops giving the client window for this stream: what it has in flight is held, `received` is not called.
    package func pauseReceiving() { isReceivingPaused = true }

    /// Undoes `pauseReceiving`; held messages are delivered before this returns.
    package func resumeReceiving() {
        guard isReceivingPaused, let server else { return }
        isReceivingPaused = false
        server.giveBack(unreturnedWindowBytes, streamID: streamID)
        unreturnedWindowBytes = 0
        // Called from within `received`: the delivery under way goes on.
        if isDelivering { return }
        server.deliverHeld(self)
        server.flushSoon()
    }

    // MARK: Helpers

    /// Frames one message into `outbound`. False: dead, finished, or too large (then the call has failed).
    private func append(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        assert(eventLoop.inEventLoop)
        guard isLive, let server, checkSize(size) else { return false }
        let prefix = MessageFraming.prefixBytes
        if request.encoding == .gzip, size >= Self.compressedBytesMin {
            appendCompressed(size: size, fill, server)
        } else {
            let room = outbound.reserve(prefix + size)
            MessageFraming.writePrefix(room, length: size, compressed: false)
            if size > 0 { fill(UnsafeMutableRawBufferPointer(rebasing: room[prefix...])) }
            outbound.commit(prefix + size)
            server.outboundBufferedBytes += prefix + size
        }
        server.loop.counters.messagesSent[method.index] += 1
        if outbound.count >= server.limits.streamHighWaterBytes { isFull = true }
        return true
    }

    @inline(never)
    private func appendCompressed(
        size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void, _ server: ServerConnection
    ) {
        let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        defer { plain.deallocate() }
        fill(plain)
        let gzip = server.loop.gzip
        gzip.compress(UnsafeRawBufferPointer(plain))
        let count = gzip.output.count
        MessageFraming.writePrefix(
            outbound.reserve(MessageFraming.prefixBytes), length: count, compressed: true)
        outbound.commit(MessageFraming.prefixBytes)
        outbound.append(gzip.output.readable)
        server.outboundBufferedBytes += MessageFraming.prefixBytes + count
    }

    private func checkSize(_ size: Int) -> Bool {
        guard let bytesMax = server?.limits.sentMessageBytesMax, size > bytesMax else { return true }
        fail(
            RPCStatus(
                .resourceExhausted, "grpc: trying to send message larger than max (\(size) vs. \(bytesMax))"))
        return false
    }

    /// Decides the outcome, which no later call changes.
    func close(with status: RPCStatus) {
        assert(eventLoop.inEventLoop)
        guard isLive, let server else { return }
        isFinished = true
        if !status.isOK { self.status = status }
        server.loop.wheel.cancel(self)
        if bodyBytesLeft > 0 {
            // A message has been begun that will not be finished: only a reset says so.
            bodyBytesLeft = 0
            dropProducers()
            server.reset(streamID: streamID, code: .internalError)
        } else if !headersSubmitted, outbound.isEmpty {
            submitTrailersOnly(server)
        } else {
            outboundClosed = true
            submitHeaders()
            if !isRefilling { server.resume(self) }
        }
        server.flushSoon()
    }

    private func submitHeaders() {
        guard !headersSubmitted, let session = server?.session else { return }
        headersSubmitted = true
        let block = request.encoding == .gzip ? ResponseHeaders.gzip : ResponseHeaders.plain
        var provider = nghttp2_data_provider()
        provider.source.ptr = Unmanaged.passUnretained(self as HTTP2Stream).toOpaque()
        provider.read_callback = readData
        nghttp2_submit_response(session, streamID, block.fields, block.count, &provider)
        if takesTurns || outbound.count > 16 * 1024 { server?.takeTurns(streamID: streamID) }
        server?.payloadSent()
    }

    func submitTrailers() {
        guard let server, let session = server.session else { return }
        if status.isOK {
            let block = ResponseHeaders.okTrailers
            nghttp2_submit_trailer(session, streamID, block.fields, block.count)
        } else {
            let list = [
                (name: "grpc-status", value: "\(status.code.rawValue)"),
                (name: "grpc-message", value: PercentEncoding.encode(status.message)),
            ]
            _ = withHeaderFields(list) { nghttp2_submit_trailer(session, streamID, $0, $1) }
        }
        if !remoteClosed { server.resetAfterEnd() }
    }

    private func submitTrailersOnly(_ server: ServerConnection) {
        submitTrailersOnly(server, httpStatus: "200", acceptEncoding: false)
    }

    /// Answers with headers alone; `httpStatus` is not 200 for a request that is not gRPC as it should be.
    func submitTrailersOnly(_ server: ServerConnection, httpStatus: String, acceptEncoding: Bool) {
        guard let session = server.session else { return }
        headersSubmitted = true
        isFinished = true
        var list = [
            (name: ":status", value: httpStatus), (name: "content-type", value: "application/grpc"),
            (name: "grpc-status", value: "\(status.code.rawValue)"),
        ]
        if !status.message.isEmpty {
            list.append((name: "grpc-message", value: PercentEncoding.encode(status.message)))
        }
        if acceptEncoding { list.append((name: "grpc-accept-encoding", value: "gzip")) }
        _ = withHeaderFields(list) { nghttp2_submit_response(session, streamID, $0, $1, nil) }
        if !remoteClosed { server.resetAfterEnd() }
        server.payloadSent()
        server.flushSoon()
    }

    // MARK: Production as the peer takes it

    func refill() {
        guard let server else { return }
        if body != nil {
            refillFromBody(server)
        } else if let source {
            isRefilling = true
            let more = source.nextMessage(self)
            isRefilling = false
            if !more {
                self.source = nil
                close(with: .ok)
            }
        }
    }

    private func refillFromBody(_ server: ServerConnection) {
        guard let body else { return }
        let sliceBytes = min(server.limits.sliceBytes, bodyBytesLeft)
        server.loop.slice.clear()
        let more = body.next(maxBytes: sliceBytes, into: &server.loop.slice)
        let count = server.loop.slice.readableBytes
        let left = bodyBytesLeft - count
        guard left >= 0, more == (left > 0) else {
            self.body = nil
            if more { body.cancelled() }
            return close(with: RPCStatus(.internal, "grpc: the answer's length was wrong"))
        }
        server.loop.slice.withUnsafeReadableBytes { outbound.append($0) }
        server.outboundBufferedBytes += count
        bodyBytesLeft = left
        if left == 0 {
            self.body = nil
            isRefilling = true
            close(with: .ok)
            isRefilling = false
        }
    }
}
