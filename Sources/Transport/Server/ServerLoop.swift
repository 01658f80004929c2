import NIOCore

/// What the connections of one event loop share. Owner: that loop.
final class ServerLoop {
    let eventLoop: any EventLoop
    let dispatcher: any RPCDispatcher
    let configuration: ServerConfiguration
    let wheel: DeadlineWheel
    let output: OutputBuffer
    let gzip = Gzip()
    /// Where a `SlicedBody` writes.
    var slice: ByteBuffer
    var counters: ServerCounters
    /// Open connections, to be told of a shutdown. Order does not matter: each is told the same.
    private(set) var handlers: [ObjectIdentifier: HTTPConnectionHandler] = [:]
    private(set) var isShuttingDown = false

    private var unflushed: [ServerConnection] = []
    private var flushTask: (@Sendable () -> Void)?
    private let responderFactory: @Sendable (any EventLoop, String) -> (any HTTPResponder)?
    private var responders: [String: any HTTPResponder] = [:]

    init(
        eventLoop: any EventLoop, dispatcher: any RPCDispatcher, configuration: ServerConfiguration,
        responders: @escaping @Sendable (any EventLoop, String) -> (any HTTPResponder)?
    ) {
        self.eventLoop = eventLoop
        self.dispatcher = dispatcher
        self.configuration = configuration
        wheel = DeadlineWheel(loop: eventLoop)
        output = OutputBuffer(allocator: ByteBufferAllocator())
        slice = ByteBufferAllocator().buffer(capacity: configuration.limits.sliceBytes)
        counters = ServerCounters(methodCount: dispatcher.methodCount)
        responderFactory = responders
    }

    /// The responder of `listener`, made at first use.
    func responder(listener: String) -> (any HTTPResponder)? {
        if let known = responders[listener] { return known }
        guard let made = responderFactory(eventLoop, listener) else { return nil }
        responders[listener] = made
        return made
    }

    func opened(_ handler: HTTPConnectionHandler) {
        handlers[ObjectIdentifier(handler)] = handler
        counters.connectionsOpened += 1
    }

    func closed(_ handler: HTTPConnectionHandler) {
        guard handlers.removeValue(forKey: ObjectIdentifier(handler)) != nil else { return }
        counters.connectionsClosed += 1
    }

    /// Flushes `connection` once, after what the loop is doing now: many replies, one write.
    func flushSoon(_ connection: ServerConnection) {
        unflushed.append(connection)
        guard unflushed.count == 1 else { return }
        if let flushTask { return eventLoop.execute(flushTask) }
        let loop = NIOLoopBound(self, eventLoop: eventLoop)
        let task: @Sendable () -> Void = { loop.value.flushAll() }
        flushTask = task
        eventLoop.execute(task)
    }

    private func flushAll() {
        let connections = unflushed
        unflushed.removeAll(keepingCapacity: true)
        for connection in connections { connection.flushFromTask() }
    }

    /// Tells every connection to finish; new ones are refused. Idempotent.
    func beginShutdown() {
        isShuttingDown = true
        for handler in Array(handlers.values) { handler.beginShutdown() }
    }

    /// Closes what is left.
    func endShutdown() {
        for handler in Array(handlers.values) { handler.endShutdown() }
        flushTask = nil
    }
}
