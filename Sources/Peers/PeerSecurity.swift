import Logging
import NIOCore
import Transport
import TransportSecurity

/// TLS between members, for both sides of a connection. Immutable; its sources follow the files. Any thread.
final class PeerSecurity: Sendable {
    private let server: TLSContextSource?
    private let client: TLSContextSource
    private let tls: PeerTLS
    /// Whether those who dial show a certificate.
    private let verifiesClients: Bool

    /// Reads the files; throws `configuration` with the file and the reason. `tls` nil: the system's CAs for dialling.
    init(_ tls: PeerTLS?, logger: Logger) throws(PeerError) {
        let report: @Sendable (TLSContextSource.Event) -> Void = { event in
            switch event {
            case .reloaded(let count):
                logger.info("peer certificates were reloaded", metadata: ["reloads": "\(count)"])
            case .failed(let error):
                logger.error(
                    "peer certificates on disk are bad; the old ones serve on", metadata: ["error": "\(error)"])
            }
        }
        let tls = tls ?? PeerTLS()
        do throws(TLSError) {
            server = if let server = tls.server { try TLSContextSource(server, report: report) } else { nil }
            client = try TLSContextSource(tls.client, report: report)
        } catch { throw PeerError(.configuration, "peer TLS: \(error.message)") }
        self.tls = tls
        verifiesClients = server?.configuration.verification == .requireClientCertificate
    }

    /// Whether https can be listened on.
    var hasCertificate: Bool { server != nil }

    /// For a listener; nil without a certificate. `refused` hears, on the connection's loop, why a handshake failed.
    func listening(refused: @escaping @Sendable (SocketAddress?, String) -> Void) -> PipelineSecurity? {
        guard let server else { return nil }
        let (tls, verifiesClients) = (tls, verifiesClients)
        return PipelineSecurity(
            install: { channel in
                let address = channel.remoteAddress
                let failed: @Sendable (TLSError) -> Void = { error in
                    if !error.isRoutine { refused(address, error.message) }
                }
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(TLSHandler(source: server))
                try pipeline.addHandler(TLSFailureObserver(failed))
                if verifiesClients {
                    try pipeline.addHandler(ClientCertificateCheck(tls) { refused(address, $0) })
                }
            },
            inspect: Self.inspect)
    }

    /// For dialling `host`. `failed` hears, on the connection's loop, what went wrong, even after the handshake: the
    /// other side's refusal of our certificate comes only then (RFC 8446, section 4.4.2).
    func dialling(host: String, failed: @escaping @Sendable (TLSError) -> Void) -> PipelineSecurity {
        let client = client
        return PipelineSecurity(
            install: { channel in
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(TLSHandler(source: client, serverName: host))
                try pipeline.addHandler(TLSFailureObserver(failed))
            },
            inspect: Self.inspect)
    }

    private static let inspect: @Sendable (Any) -> ConnectionSecurity? = { event in
        guard let done = event as? TLSHandshakeCompleted else { return nil }
        return ConnectionSecurity(applicationProtocol: done.negotiatedProtocol, peerIdentity: done.peer)
    }
}

/// Tells of TLS errors, which the handlers behind it do not know, and passes them on.
private final class TLSFailureObserver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let failed: @Sendable (TLSError) -> Void

    init(_ failed: @escaping @Sendable (TLSError) -> Void) { self.failed = failed }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? TLSError { failed(error) }
        context.fireErrorCaught(error)
    }
}
