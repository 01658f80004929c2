import NIOCore

/// The HTTP end of one client connection. Owner: the connection's event loop.
final class ClientHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let configuration: ClientConfiguration
    private let security: PipelineSecurity?
    private let authority: String
    private let ready: EventLoopPromise<NIOLoopBound<ClientConnection>>
    private var context: ChannelHandlerContext?
    private var connection: ClientConnection?
    private var timer: ClientTimer?
    private var isClosed = false

    init(
        configuration: ClientConfiguration, security: PipelineSecurity?, authority: String,
        ready: EventLoopPromise<NIOLoopBound<ClientConnection>>
    ) {
        self.configuration = configuration
        self.security = security
        self.authority = authority
        self.ready = ready
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive, security == nil { begin() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        closed()
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        if security == nil { begin() }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        closed()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard connection == nil, let result = security?.inspect(event) else {
            return context.fireUserInboundEventTriggered(event)
        }
        guard result.applicationProtocol == nil || result.applicationProtocol == "h2" else {
            ready.fail(RPCStatus(.unavailable, "connection error: the server does not speak HTTP/2"))
            return context.close(promise: nil)
        }
        begin()
    }

    private func begin() {
        guard connection == nil, !isClosed, let context else { return }
        let connection = ClientConnection(
            eventLoop: context.eventLoop, configuration: configuration, authority: authority,
            isSecure: security != nil, transport: self)
        self.connection = connection
        let timer = ClientTimer(self)
        self.timer = timer
        connection.flush()
        timerFired(now: context.eventLoop.now)
        ready.succeed(NIOLoopBound(connection, eventLoop: context.eventLoop))
    }

    private func closed() {
        guard !isClosed else { return }
        isClosed = true
        ready.fail(RPCStatus(.unavailable, "connection error: closed before it was ready"))
        if let timer { connection?.wheel.cancel(timer) }
        timer = nil
        let last = connection
        connection = nil
        last?.connectionClosed()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let connection else { return }
        unwrapInboundIn(data).withUnsafeReadableBytes { connection.bytesRead($0) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        connection?.readFinished()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { connection?.flush() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        ready.fail(RPCStatus(.unavailable, "connection error: \(error)"))
        context.close(promise: nil)
    }

    // MARK: For ClientConnection

    var isWritable: Bool { context?.channel.isWritable ?? false }

    func write(_ output: OutputBuffer) {
        output.flush { context?.writeAndFlush(wrapOutboundOut($0), promise: nil) }
    }

    func closeNow() { context?.close(promise: nil) }

    fileprivate func timerFired(now: NIODeadline) {
        guard let connection, let timer else { return }
        let next = connection.checkTimers(now: now)
        if next < .distantFuture, self.timer != nil { connection.wheel.schedule(timer, due: next) }
    }
}

private final class ClientTimer: DeadlineEntry {
    // Weak: another entry that is due in the same tick may close the connection first.
    private weak var handler: ClientHandler?

    init(_ handler: ClientHandler) { self.handler = handler }

    override func expired(now: NIODeadline) { handler?.timerFired(now: now) }
}
