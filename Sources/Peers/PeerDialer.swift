import NIOConcurrencyHelpers
import NIOCore
import Transport
import TransportSecurity

/// Makes connections to other members. Any thread.
struct PeerDialer: Sendable {
    let security: PeerSecurity
    let limits: PeerLimits
    private let isStopped = NIOLockedValueBox(false)

    init(security: PeerSecurity, limits: PeerLimits) {
        self.security = security
        self.limits = limits
    }

    /// From here on no completion of `dial` is called: the event loops may be gone.
    func stop() { isStopped.withLockedValue { $0 = true } }

    /// Connects on `eventLoop`, where `completion` is called once, unless the dialer is stopped: with a connection on
    /// which calls can be made, or with the reason.
    func dial(
        _ url: PeerURL, on eventLoop: any EventLoop,
        completion: @escaping @Sendable (Result<PeerConnection, RPCStatus>) -> Void
    ) {
        // One task for a connection: the only way that resolving, connecting and the handshake are offered.
        Task {
            let result: Result<PeerConnection, RPCStatus>
            do throws(RPCStatus) {
                result = .success(try await connect(url, on: eventLoop))
            } catch { result = .failure(error) }
            if isStopped.withLockedValue({ $0 }) {
                if case .success(let connection) = result { connection.close() }
                return
            }
            eventLoop.execute { completion(result) }
        }
    }

    /// As above, for tasks.
    func connect(_ url: PeerURL, on eventLoop: any EventLoop) async throws(RPCStatus) -> PeerConnection {
        let failure = NIOLockedValueBox<TLSError?>(nil)
        let pipeline =
            !url.isSecure
            ? nil
            : security.dialling(host: url.host) { error in
                failure.withLockedValue { if $0 == nil { $0 = error } }
            }
        do throws(RPCStatus) {
            let channel = try await RPCChannel.connect(
                to: .tcp(host: url.host, port: url.port), on: eventLoop, configuration: configuration,
                security: pipeline)
            return PeerConnection(channel: channel, url: url, failure: failure)
        } catch {
            if let failure = failure.withLockedValue({ $0 }) { throw RPCStatus(.unavailable, "\(failure)") }
            throw error
        }
    }

    private var configuration: ClientConfiguration {
        var configuration = ClientConfiguration()
        configuration.connectTimeout = limits.connectTimeout
        configuration.userAgent = "martlet-peer"
        configuration.pingsWithoutCalls = true
        configuration.keepalive.interval = .seconds(2)
        configuration.keepalive.timeout = limits.probeTimeout
        configuration.limits.receivedMessageBytesMax = max(limits.callBytesMax, PeerProtocol.probeBytesMax) + 1024
        return configuration
    }
}

/// An open connection to another member. Any thread, but for what the channel keeps to its loop.
final class PeerConnection: Sendable {
    let channel: RPCChannel
    let url: PeerURL
    private let failure: NIOLockedValueBox<TLSError?>

    init(channel: RPCChannel, url: PeerURL, failure: NIOLockedValueBox<TLSError?>) {
        self.channel = channel
        self.url = url
        self.failure = failure
    }

    /// Why a call on the connection ended, in the words of TLS where it was TLS that ended the connection.
    func reason(_ status: RPCStatus) -> String {
        if status.code == .unavailable, let failure = failure.withLockedValue({ $0 }) { return "\(failure)" }
        return status.message.isEmpty ? "\(status.code)" : status.message
    }

    func close() { channel.withConnection { $0.close() } }
}
