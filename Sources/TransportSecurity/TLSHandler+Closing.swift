package import NIOCore

/// The ends of a connection: ours, the peer's, the network's, and every failure.
extension TLSHandler {
    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        switch (mode, phase) {
        case (.all, .open): beginClosing(context, promise: promise)
        case (.all, .closing):
            if let promise { closePromises.append(promise) }
        case (.all, _):
            phase = .closed
            release(ChannelError.ioOnClosedChannel)
            context.close(mode: .all, promise: promise)
        case (.output, .open): closeOutput(context, promise: promise)
        default: context.close(mode: mode, promise: promise)
        }
    }

    /// Says close_notify after everything written so far; reading goes on.
    private func closeOutput(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        if isOutputClosed {
            promise?.fail(ChannelError.outputClosed)
            return
        }
        sealPending(context)
        guard phase == .open else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        isOutputClosed = true
        var output = ByteBuffer()
        session?.close(into: &output)
        if session?.hasReceivedCloseNotify == true { return send(context, lastBytes: output, promise: promise) }
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in context.close(mode: .output, promise: promise) }
        context.writeAndFlush(wrapOutboundOut(output), promise: sent)
    }

    /// Says close_notify and closes the channel when it has left, or after `closeTimeoutMilliseconds`. Writes that were
    /// not flushed fail, as they do on any NIO channel.
    func beginClosing(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        var output = ByteBuffer()
        session?.close(into: &output)
        send(context, lastBytes: output, promise: promise)
    }

    /// Ends the connection because of `error`: sends the alert (or the answer in plain text), tells the handlers above,
    /// closes. Does nothing when the connection is already ending.
    func fail(_ context: ChannelHandlerContext, _ error: TLSError, lastBytes: ByteBuffer = ByteBuffer()) {
        guard phase != .closing, phase != .closed else { return }
        phase = .closing
        release(error)
        context.fireErrorCaught(error)
        send(context, lastBytes: lastBytes, promise: nil)
    }

    private func send(_ context: ChannelHandlerContext, lastBytes: ByteBuffer, promise: EventLoopPromise<Void>?) {
        if let promise { closePromises.append(promise) }
        if phase == .closed { return finishClosing(context) }
        phase = .closing
        release(ChannelError.ioOnClosedChannel)
        deadline = schedule(context, milliseconds: limits.closeTimeoutMilliseconds) { handler, context in
            handler.finishClosing(context)
        }
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in self.finishClosing(context) }
        // An empty write is a fence behind the writes before it.
        context.writeAndFlush(wrapOutboundOut(lastBytes), promise: sent)
    }

    private func finishClosing(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = nil
        let promises = closePromises
        closePromises = []
        if phase == .closed {
            promises.forEach { $0.succeed(()) }
            return
        }
        phase = .closed
        var first: EventLoopPromise<Void>?
        for promise in promises {
            if let first { first.futureResult.cascade(to: promise) } else { first = promise }
        }
        context.close(mode: .all, promise: first)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        let before = phase
        let error = endError()
        phase = .closed
        release(error ?? ChannelError.ioOnClosedChannel)
        finishClosing(context)
        if let error, before == .handshaking || before == .open { context.fireErrorCaught(error) }
        context.fireChannelInactive()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent {
            // The end of the TCP stream: said before by close_notify, or a truncation.
            if let error = endError(), phase == .handshaking || phase == .open { fail(context, error) }
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        phase = .closed
        release(ChannelError.ioOnClosedChannel)
        closePromises.forEach { $0.fail(ChannelError.ioOnClosedChannel) }
        closePromises = []
        session = nil
    }

    /// What it means that no more bytes come now; nil when the peer has said so properly.
    private func endError() -> TLSError? {
        switch phase {
        case .handshaking:
            return detector?.atEnd()
                ?? TLSError(.closedDuringHandshake, "the connection was closed before the handshake was complete")
        case .open where session?.hasReceivedCloseNotify != true:
            return TLSError(.truncated, "the connection ended without close_notify")
        default: return nil
        }
    }

    /// Fails the writes that were not sent and stops the clock.
    private func release(_ error: any Error) {
        deadline?.cancel()
        deadline = nil
        let writes = pending
        pending = []
        pendingBytes = 0
        writes.forEach { $0.promise?.fail(error) }
    }

    /// Runs `body` on the event loop after a time, unless cancelled; not kept alive by it longer than that.
    func schedule(
        _ context: ChannelHandlerContext, milliseconds: Int64,
        _ body: @escaping (TLSHandler, ChannelHandlerContext) -> Void
    ) -> Scheduled<Void> {
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(milliseconds)) { body(self, context) }
    }
}
