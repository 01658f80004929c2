import Glibc
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix

/// What a client connection needs to know.
package struct ClientConfiguration: Sendable {
    package var limits: HTTP2Limits
    package var keepalive: KeepaliveConfiguration
    /// Whether silence is probed while no call is open. Servers of etcd's kind forbid it.
    package var pingsWithoutCalls = false
    /// Sends requests gzip-compressed.
    package var compressesRequests = false
    /// Time for the TCP connection and the handshake together.
    package var connectTimeout: TimeAmount = .seconds(20)
    package var userAgent = "martlet"
    /// `:authority`; nil: the host and port connected to.
    package var authority: String?

    package init() {
        limits = HTTP2Limits()
        limits.receivedMessageBytesMax = Int(Int32.max)
        keepalive = KeepaliveConfiguration()
    }
}

/// A gRPC client on one connection. Any thread may use it; the work is done on the connection's loop, whose own code
/// can reach `ClientConnection` directly (`withConnection`, `connection`).
package final class RPCChannel: Sendable {
    package let eventLoop: any EventLoop
    /// Done when the connection is closed, for whatever reason.
    package let closed: EventLoopFuture<Void>
    private let bound: NIOLoopBound<ClientConnection>

    private init(_ bound: NIOLoopBound<ClientConnection>, channel: any Channel) {
        self.bound = bound
        eventLoop = channel.eventLoop
        closed = channel.closeFuture
    }

    /// The connection itself; on its loop only.
    package var connection: ClientConnection { bound.value }

    /// Connects; returns when calls can be made (after the handshake, if `security` is given).
    /// Throws UNAVAILABLE with the reason.
    package static func connect(
        to address: GRPCServer.Listener.Address, on group: any EventLoopGroup,
        configuration: ClientConfiguration = ClientConfiguration(), security: PipelineSecurity? = nil
    ) async throws(RPCStatus) -> RPCChannel {
        let authority: String
        switch address {
        case .tcp(let host, let port): authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix: authority = "localhost"
        }
        do {
            return try await connect(address, group, configuration, security, authority)
        } catch let error as RPCStatus {
            throw error
        } catch {
            throw RPCStatus(.unavailable, "connection error: \(Self.reason(error))")
        }
    }

    /// An error of connecting in the words of the system, without what the attempt consisted of.
    private static func reason(_ error: any Error) -> String {
        if let error = error as? IOError { return String(cString: strerror(error.errnoCode)).lowercased() }
        if case .connectTimeout = error as? ChannelError { return "timed out" }
        guard let error = error as? NIOConnectionError else { return "\(error)" }
        if let first = error.connectionErrors.first { return reason(first.error) }
        if let dns = error.dnsAError ?? error.dnsAAAAError { return "\(error.host) is not known: \(dns)" }
        return "\(error.host) is not known"
    }

    private static func connect(
        _ address: GRPCServer.Listener.Address, _ group: any EventLoopGroup, _ configuration: ClientConfiguration,
        _ security: PipelineSecurity?, _ authority: String
    ) async throws -> RPCChannel {
        let eventLoop = group.next()
        let ready = eventLoop.makePromise(of: NIOLoopBound<ClientConnection>.self)
        let timeout = eventLoop.scheduleTask(in: configuration.connectTimeout) {
            ready.fail(RPCStatus(.unavailable, "connection error: timed out"))
        }
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(configuration.connectTimeout)
            .channelOption(.writeBufferWaterMark, value: .init(low: 64 * 1024, high: 256 * 1024))
            .channelOption(.maxMessagesPerRead, value: 4)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let security { try security.install(channel) }
                    let handler = ClientHandler(
                        configuration: configuration, security: security,
                        authority: configuration.authority ?? authority, ready: ready)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
        let channel: any Channel
        do {
            switch address {
            case .tcp(let host, let port):
                channel = try await bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .connect(host: host, port: port).get()
            case .unix(let path): channel = try await bootstrap.connect(unixDomainSocketPath: path).get()
            }
        } catch {
            timeout.cancel()
            ready.fail(error)
            _ = try? await ready.futureResult.get()
            throw error
        }
        do {
            let bound = try await ready.futureResult.get()
            timeout.cancel()
            return RPCChannel(bound, channel: channel)
        } catch {
            timeout.cancel()
            channel.close(promise: nil)
            throw error
        }
    }

    /// Runs `body` on the loop, with the connection.
    package func withConnection(_ body: @escaping @Sendable (ClientConnection) -> Void) {
        if eventLoop.inEventLoop { return body(bound.value) }
        eventLoop.execute { [bound] in body(bound.value) }
    }

    /// A unary call with a callback on the loop; `message` in the result is valid until it returns.
    package func call(
        _ path: RPCPath, _ message: [UInt8], metadata: [(name: String, value: String)] = [],
        deadline: NIODeadline? = nil, completion: @escaping @Sendable (RPCResult) -> Void
    ) {
        withConnection { connection in
            connection.call(
                path, size: message.count, metadata: metadata, deadline: deadline,
                fill: { target in message.withUnsafeBytes { target.copyMemory(from: $0) } }, completion: completion)
        }
    }

    /// A unary call. Throws the status when it is not OK; a cancelled task cancels the call.
    package func unary(
        _ path: RPCPath, _ message: [UInt8], metadata: [(name: String, value: String)] = [],
        deadline: NIODeadline? = nil
    ) async throws(RPCStatus) -> [UInt8] {
        let running = NIOLockedValueBox<RunningCall>(RunningCall())
        let result: Result<[UInt8], RPCStatus> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                withConnection { connection in
                    let call = connection.call(
                        path, size: message.count, metadata: metadata, deadline: deadline,
                        fill: { target in message.withUnsafeBytes { target.copyMemory(from: $0) } },
                        completion: { result in
                            continuation.resume(
                                returning: result.status.isOK
                                    ? .success([UInt8](result.message)) : .failure(result.status))
                        })
                    let isCancelled = running.withLockedValue { running in
                        running.call = call
                        return running.isCancelled
                    }
                    if isCancelled { call.cancel() }
                }
            }
        } onCancel: {
            let call = running.withLockedValue { running in
                running.isCancelled = true
                return running.call
            }
            if let call { eventLoop.execute { call.cancel() } }
        }
        running.withLockedValue { $0.call = nil }
        return try result.get()
    }

    /// A streaming call as an asynchronous sequence of answers.
    package func stream(
        _ path: RPCPath, metadata: [(name: String, value: String)] = [], deadline: NIODeadline? = nil
    ) -> RPCStream {
        let stream = RPCStream(eventLoop: eventLoop)
        withConnection { connection in
            stream.began(connection.stream(path, metadata: metadata, deadline: deadline, handler: stream))
        }
        return stream
    }

    /// Closes the connection; open calls end with UNAVAILABLE. Returns when it is closed.
    package func close() async {
        withConnection { $0.close() }
        try? await closed.get()
    }
}

private struct RunningCall {
    var call: ClientCall?
    var isCancelled = false
}
