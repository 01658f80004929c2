import Glibc
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix

/// A loop's state, held by other threads and opened only on the loop.
private struct LoopReference: Sendable {
    private let bound: NIOLoopBound<ServerLoop>
    private let eventLoop: any EventLoop

    init(_ loop: ServerLoop, _ eventLoop: any EventLoop) {
        bound = NIOLoopBound(loop, eventLoop: eventLoop)
        self.eventLoop = eventLoop
    }

    var value: ServerLoop { bound.value }

    /// Runs `body` on the loop and returns when it has; at once when the loop has stopped.
    func run(_ body: @escaping @Sendable (ServerLoop) -> Void) async {
        try? await eventLoop.submit { body(bound.value) }.get()
    }

    /// Nil when the loop has stopped.
    func counters() async -> ServerCounters? {
        try? await eventLoop.submit { bound.value.counters }.get()
    }
}

/// What a server needs to know besides what it serves.
package struct ServerConfiguration: Sendable {
    package var limits = HTTP2Limits()
    package var keepalive = KeepaliveConfiguration()
    /// Connections open at once over all listeners; further ones are closed at once.
    package var connectionsMax = 20_000
    /// Whether the durations of calls are counted (`ServerCounters.handlingCounts`): costs a look at the clock for each.
    package var measuresHandling = false
    /// Connections that wait to be accepted.
    package var listenBacklog: Int32 = 1024
    /// Told when connections are refused or cannot be accepted, at most every ten seconds; on any thread.
    package var onTrouble: (@Sendable (ConnectionTrouble) -> Void)?

    package init() {}
}

/// A gRPC and HTTP/1.1 server on any number of addresses.
///
/// Any thread may call its methods. Each connection belongs to one loop of the group, with that loop's dispatcher;
/// connections share nothing across loops but the count of open ones.
package final class GRPCServer: Sendable {
    /// One address to listen on.
    package struct Listener: Sendable {
        package enum Address: Sendable {
            case tcp(host: String, port: Int)
            case unix(path: String)
        }

        package var address: Address
        /// Tells connections apart (`ConnectionInfo.listener`) and chooses the responder.
        package var name: String
        package var security: PipelineSecurity?
        /// False: HTTP/1.1 only, for a listener of metrics and probes.
        package var isGRPCEnabled: Bool

        package init(
            address: Address, name: String = "", security: PipelineSecurity? = nil, isGRPCEnabled: Bool = true
        ) {
            self.address = address
            self.name = name
            self.security = security
            self.isGRPCEnabled = isGRPCEnabled
        }
    }

    /// TCP_USER_TIMEOUT, in milliseconds (tcp(7)); Glibc's Swift module does not have it.
    private static let userTimeout = NIOBSDSocket.Option(rawValue: 18)

    private struct State {
        var listeners: [any Channel] = []
        var isShutDown = false
    }

    private let group: any EventLoopGroup
    private let configuration: ServerConfiguration
    // By loop; filled in init only.
    private let loops: [ObjectIdentifier: LoopReference]
    private let state = NIOLockedValueBox(State())
    private let openConnections = NIOLockedValueBox(0)
    private let reporter: TroubleReporter

    /// Errors: none yet; `bind` opens the sockets.
    /// - Parameters:
    ///   - dispatcher: makes the dispatcher of a loop; called once per loop, on it.
    ///   - responder: makes the plain HTTP side of a loop and listener name; nil answers 404 (415 over HTTP/2).
    package static func make(
        group: any EventLoopGroup, configuration: ServerConfiguration = ServerConfiguration(),
        dispatcher: @escaping @Sendable (any EventLoop) -> any RPCDispatcher,
        responder: @escaping @Sendable (any EventLoop, String) -> (any HTTPResponder)? = { _, _ in nil }
    ) async throws -> GRPCServer {
        var loops: [ObjectIdentifier: LoopReference] = [:]
        for eventLoop in group.makeIterator() {
            loops[ObjectIdentifier(eventLoop)] = try await eventLoop.submit {
                let loop = ServerLoop(
                    eventLoop: eventLoop, dispatcher: dispatcher(eventLoop), configuration: configuration,
                    responders: responder)
                return LoopReference(loop, eventLoop)
            }.get()
        }
        return GRPCServer(group: group, configuration: configuration, loops: loops)
    }

    private init(
        group: any EventLoopGroup, configuration: ServerConfiguration,
        loops: [ObjectIdentifier: LoopReference]
    ) {
        self.group = group
        self.configuration = configuration
        self.loops = loops
        reporter = TroubleReporter(configuration.onTrouble)
    }

    /// Opens one address. Returns the address bound (the port, where 0 was asked). Throws NIO's socket errors.
    package func bind(_ listener: Listener) async throws -> SocketAddress {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: configuration.listenBacklog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { [reporter] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptPause(reporter: reporter))
                }
            }
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 64 * 1024, high: 256 * 1024))
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.accept(channel, listener) }
            }
        let channel: any Channel
        switch listener.address {
        case .tcp(let host, let port):
            channel =
                try await bootstrap
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                // A peer that vanished with our bytes unacknowledged, however few they are.
                .childChannelOption(
                    ChannelOptions.Types.SocketOption(level: .tcp, name: Self.userTimeout),
                    value: SocketOptionValue(configuration.limits.writeStallTimeout.nanoseconds / 1_000_000)
                )
                .bind(host: host, port: port).get()
        case .unix(let path):
            channel = try await bootstrap.bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
        }
        let refused = state.withLockedValue { state in
            if !state.isShutDown { state.listeners.append(channel) }
            return state.isShutDown
        }
        guard !refused, let address = channel.localAddress else {
            try? await channel.close()
            throw ChannelError.alreadyClosed
        }
        return address
    }

    /// Why `bind` failed, in an operator's words.
    package static func reason(ofBindFailure error: any Error) -> String {
        switch error {
        case let error as IOError:
            let text = String(cString: strerror(error.errnoCode))
            return text.prefix(1).lowercased() + text.dropFirst()
        case SocketAddressError.unknown(let host, _): return "the host \(host) is not known"
        default: return "\(error)"
        }
    }

    /// Serves a connection made by other means (a socket handed over, a test's channel). On the channel's loop, which
    /// must be one of the group's.
    package func accept(_ channel: any Channel, _ listener: Listener) throws {
        guard let loop = loops[ObjectIdentifier(channel.eventLoop)] else { throw ChannelError.operationUnsupported }
        let connectionsMax = configuration.connectionsMax
        let isAccepted = openConnections.withLockedValue { count in
            guard count < connectionsMax else { return false }
            count += 1
            return true
        }
        guard isAccepted else {
            loop.value.counters.connectionsRefused += 1
            reporter.note(.tooMany(connectionsMax: connectionsMax))
            throw ChannelError.connectPending
        }
        channel.closeFuture.whenComplete { [openConnections] _ in openConnections.withLockedValue { $0 -= 1 } }
        if let security = listener.security { try security.install(channel) }
        try channel.pipeline.syncOperations.addHandler(HTTPConnectionHandler(loop: loop.value, listener: listener))
    }

    /// Stops listening, refuses new streams, lets calls finish for `gracePeriod`, then fails them and closes. Returns
    /// when every connection is closed. Idempotent.
    package func shutdown(gracePeriod: TimeAmount) async {
        let listeners = state.withLockedValue { state in
            defer { state.listeners = [] }
            state.isShutDown = true
            return state.listeners
        }
        for listener in listeners { try? await listener.close() }
        // Not before every loop has run what it was given: a connection accepted last is counted only then.
        for loop in loops.values { await loop.run { $0.beginShutdown() } }
        let end = NIODeadline.now() + gracePeriod
        while openConnections.withLockedValue({ $0 }) > 0, NIODeadline.now() < end {
            try? await Task.sleep(nanoseconds: 5_000_000)
        }
        for loop in loops.values { await loop.run { $0.endShutdown() } }
        let hardEnd = NIODeadline.now() + .seconds(2)
        while openConnections.withLockedValue({ $0 }) > 0, NIODeadline.now() < hardEnd {
            try? await Task.sleep(nanoseconds: 5_000_000)
        }
    }

    /// What all loops have counted, as of about now.
    package func counters() async -> ServerCounters {
        var sum: ServerCounters?
        for loop in loops.values {
            guard let counters = await loop.counters() else { continue }
            if sum == nil { sum = counters } else { sum?.add(counters) }
        }
        return sum ?? ServerCounters(methodCount: 0)
    }

    /// Connections open now.
    package var connectionCount: Int { openConnections.withLockedValue { $0 } }
}
