import NIOCore

/// The HTTP end of one server connection: waits for the security layer, finds out which protocol is spoken (from ALPN
/// or the first bytes, both end in `start`), then hands bytes to `ServerConnection`, or lets them pass to the HTTP/1.1
/// handlers it adds. Owner: the connection's event loop.
final class HTTPConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Spoken { case http2, http1 }

    private enum State {
        /// The handshake is under way.
        case securing
        /// Bytes that may be the beginning of either protocol.
        case detecting(ByteBuffer)
        case http2(ServerConnection)
        case http1(HTTP1Handler)
        case closed
    }

    private static let lingerTime = TimeAmount.milliseconds(100)
    private static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    private let loop: ServerLoop
    private let listener: GRPCServer.Listener
    private var state: State
    private var context: ChannelHandlerContext?
    private var info: ConnectionInfo?
    private var openedAt = NIODeadline.uptimeNanoseconds(0)
    private var timer: ConnectionTimer?
    private var isClosing = false

    init(loop: ServerLoop, listener: GRPCServer.Listener) {
        self.loop = loop
        self.listener = listener
        state = listener.security == nil ? .detecting(ByteBuffer()) : .securing
    }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        timer = ConnectionTimer(self)
        if context.channel.isActive { opened() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        closed()
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        opened()
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        closed()
        context.fireChannelInactive()
    }

    private func opened() {
        guard openedAt == NIODeadline.uptimeNanoseconds(0), let context else { return }
        openedAt = loop.eventLoop.now
        loop.opened(self)
        if listener.security == nil { makeInfo(ConnectionSecurity(applicationProtocol: nil, peerIdentity: nil)) }
        if loop.isShuttingDown { return context.close(promise: nil) }
        timersChanged()
    }

    private func closed() {
        if let timer { loop.wheel.cancel(timer) }
        let last = state
        state = .closed
        if case .http2(let connection) = last { connection.connectionClosed() }
        loop.closed(self)
    }

    private func makeInfo(_ security: ConnectionSecurity) {
        guard let channel = context?.channel else { return }
        info = ConnectionInfo(
            remoteAddress: channel.remoteAddress, localAddress: channel.localAddress,
            isSecure: listener.security != nil, peerIdentity: security.peerIdentity, listener: listener.name)
    }

    // MARK: Inbound

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .securing = state, let security = listener.security?.inspect(event) {
            makeInfo(security)
            state = .detecting(ByteBuffer())
            switch security.applicationProtocol {
            case "h2": start(protocol: .http2, first: ByteBuffer())
            case "http/1.1", "http/1.0": start(protocol: .http1, first: ByteBuffer())
            default: break
            }
        } else if case .http1 = state, let event = event as? ChannelEvent, event == .inputClosed {
            context.fireUserInboundEventTriggered(event)
        } else if let event = event as? ChannelEvent, event == .inputClosed {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .http2(let connection) = state {
            guard !isClosing else { return }
            unwrapInboundIn(data).withUnsafeReadableBytes { connection.bytesRead($0) }
            return
        }
        switch state {
        case .http1(let handler):
            handler.bytesArrive(now: loop.eventLoop.now)
            context.fireChannelRead(data)
        case .detecting(var buffer):
            var bytes = unwrapInboundIn(data)
            buffer.writeBuffer(&bytes)
            state = .detecting(buffer)
            if let spoken = Self.detect(buffer) { start(protocol: spoken, first: buffer) }
        case .securing, .closed, .http2: break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if case .http2(let connection) = state {
            connection.readFinished()
        } else {
            context.fireChannelReadComplete()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if case .http2(let connection) = state, context.channel.isWritable { connection.socketWritable() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .http1 = state { return context.fireErrorCaught(error) }
        // A reset, a TLS alert, a broken pipe: the connection is of no more use, and it is not our error.
        context.close(promise: nil)
    }

    /// Nil: too few bytes to tell.
    static func detect(_ bytes: ByteBuffer) -> Spoken? {
        bytes.withUnsafeReadableBytes { bytes in
            let length = min(bytes.count, preface.utf8CodeUnitCount)
            for index in 0..<length where bytes[index] != preface.utf8Start[index] { return .http1 }
            // No HTTP/1.1 method is "PRI".
            return length >= 4 ? .http2 : nil
        }
    }

    /// The protocol is known; `first` is what was read while it was not.
    func start(protocol spoken: Spoken, first: ByteBuffer) {
        guard let context, let info, case .detecting = state else { return }
        let responder = loop.responder(listener: listener.name)
        switch spoken {
        case .http2:
            guard listener.isGRPCEnabled else { return context.close(promise: nil) }
            // HTTP/2 has no use for one direction alone. And where both may end apart, a write that fails while the end of
            // the input is being read trips an assertion of NIO (2.101, debug builds).
            try? context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: false)
            let connection = ServerConnection(loop: loop, info: info, responder: responder, transport: self)
            state = .http2(connection)
            connection.flush()
            if first.readableBytes > 0 { first.withUnsafeReadableBytes { connection.bytesRead($0) } }
        case .http1:
            let handler = HTTP1Handler(
                transport: self, eventLoop: loop.eventLoop, limits: loop.configuration.limits, info: info,
                responder: responder, openedAt: openedAt)
            state = .http1(handler)
            guard (try? handler.install(after: self, in: context)) != nil else { return context.close(promise: nil) }
            if first.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(first)) }
        }
        timersChanged()
    }

    // MARK: For ServerConnection

    /// The HTTP/2 side, if that is what is spoken.
    var http2: ServerConnection? {
        if case .http2(let connection) = state { connection } else { nil }
    }

    var isWritable: Bool { context?.channel.isWritable ?? false }

    /// Writes and empties `output`. The socket may become writable within this, and say so.
    func write(_ output: OutputBuffer) {
        output.flush { context?.writeAndFlush(wrapOutboundOut($0), promise: nil) }
    }

    /// What was written still goes; what is read from now on is thrown away. The peer has a moment to close first: if
    /// we did with unread bytes in the socket, the kernel would answer with a reset that can overtake our last frames.
    func closeAfterFlush() {
        guard !isClosing, let context else { return }
        isClosing = true
        let (eventLoop, channel) = (context.eventLoop, context.channel)
        let flushed = eventLoop.makePromise(of: Void.self)
        flushed.futureResult.whenComplete { _ in
            eventLoop.scheduleTask(in: Self.lingerTime) { channel.close(promise: nil) }
        }
        eventLoop.scheduleTask(in: loop.configuration.limits.writeStallTimeout) { channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: flushed)
    }

    func closeNow() {
        isClosing = true
        context?.close(promise: nil)
    }

    // MARK: Timers and shutdown

    /// Something that has a time limit began.
    func timersChanged() { timerFired(now: loop.eventLoop.now) }

    fileprivate func timerFired(now: NIODeadline) {
        guard let timer, !isClosing else { return }
        let limits = loop.configuration.limits
        var next = NIODeadline.distantFuture
        switch state {
        case .closed:
            return
        case .securing, .detecting:
            next = openedAt + limits.headersTimeout
        case .http2(let connection):
            if !connection.isEstablished { next = openedAt + limits.headersTimeout }
            if now < next { next = min(next, connection.checkTimers(now: now)) }
        case .http1(let handler):
            next = handler.closeAt
        }
        guard now < next else { return closeNow() }
        if case .closed = state { return }
        if next < .distantFuture { loop.wheel.schedule(timer, due: next) } else { loop.wheel.cancel(timer) }
    }

    func beginShutdown() {
        switch state {
        case .http2(let connection): connection.beginShutdown()
        case .http1(let handler): handler.beginShutdown()
        case .securing, .detecting: closeNow()
        case .closed: break
        }
    }

    /// The grace period is over.
    func endShutdown() {
        if case .http2(let connection) = state { connection.failAll() }
        closeNow()
    }
}

/// The connection's place in the deadline wheel.
private final class ConnectionTimer: DeadlineEntry {
    // Weak: another entry that is due in the same tick may close the connection first.
    private weak var handler: HTTPConnectionHandler?

    init(_ handler: HTTPConnectionHandler) { self.handler = handler }

    override func expired(now: NIODeadline) { handler?.timerFired(now: now) }
}
