import NIOConcurrencyHelpers
package import NIOCore
package import Transport
package import TransportSecurity

/// How a client comes to an endpoint: address and security of the transport, made of what the user wrote.
package struct Dialer: Sendable {
    private let address: GRPCServer.Listener.Address
    private let security: PipelineSecurity?
    private var configuration: ClientConfiguration

    /// Reads the TLS files when the endpoint wants TLS; throws UNAVAILABLE with the reason when they are bad.
    /// `transport`: everything about the connection but the time it may take, which is `timeout`.
    package init(
        _ endpoint: Endpoint, tls: TLSConfiguration?, timeout: TimeAmount,
        transport: ClientConfiguration = ClientConfiguration()
    ) throws(ClientError) {
        configuration = transport
        switch endpoint.address {
        case .host(let host, let port): address = .tcp(host: host, port: port)
        case .unixSocket(let path): address = .unix(path: path)
        }
        configuration.connectTimeout = timeout
        guard endpoint.security != .plaintext, var tls = tls ?? (endpoint.security == .tls ? .client() : nil) else {
            security = nil
            return
        }
        if tls.serverName == nil, case .host(let host, _) = endpoint.address { tls.serverName = host }
        let source: TLSContextSource
        do throws(TLSError) { source = try TLSContextSource(tls) } catch {
            throw ClientError(.unavailable, error.message)
        }
        security = PipelineSecurity(
            install: { channel in
                try channel.pipeline.syncOperations.addHandler(TLSHandler(source: source))
            },
            inspect: { event in
                guard let event = event as? TLSHandshakeCompleted else { return nil }
                return ConnectionSecurity(applicationProtocol: event.negotiatedProtocol, peerIdentity: event.peer)
            })
    }

    /// Connects on a loop of `group`.
    package func connect(on group: any EventLoopGroup) async throws(ClientError) -> RPCChannel {
        do throws(RPCStatus) {
            return try await RPCChannel.connect(
                to: address, on: group, configuration: configuration, security: security)
        } catch { throw ClientError(error) }
    }
}

/// One connection to one endpoint.
final class Connection: Sendable {
    private let channel: RPCChannel
    private let isClosed = NIOLockedValueBox(false)

    private init(_ channel: RPCChannel) {
        self.channel = channel
        channel.closed.whenComplete { [isClosed] _ in isClosed.withLockedValue { $0 = true } }
    }

    /// False once the connection is known to be gone: a call on it would fail without being sent.
    var isOpen: Bool { !isClosed.withLockedValue { $0 } }

    static func connect(
        _ endpoint: Endpoint, tls: TLSConfiguration?, timeout: TimeAmount, transport: ClientConfiguration,
        group: any EventLoopGroup
    ) async throws(ClientError) -> Connection {
        let dialer = try Dialer(endpoint, tls: tls, timeout: timeout, transport: transport)
        return Connection(try await dialer.connect(on: group))
    }

    func unary(
        _ path: RPCPath, _ message: [UInt8], metadata: [(String, String)], deadline: NIODeadline
    ) async throws(ClientError) -> [UInt8] {
        do throws(RPCStatus) {
            return try await channel.unary(path, message, metadata: metadata, deadline: deadline)
        } catch { throw ClientError(error) }
    }

    func stream(_ path: RPCPath, metadata: [(String, String)]) -> RPCStream {
        channel.stream(path, metadata: metadata)
    }

    func close() async { await channel.close() }
}
