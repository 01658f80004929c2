import IOInterfaces
import Logging
import MVCC
import NIOCore
import NIOPosix
import Primitives
import ServerCore
import Synchronization
import Transport
import TransportSecurity

/// What clients meet: the listeners and, for each event loop, the state and services behind them.
struct Front {
    /// The names that tell a listener's connections apart.
    enum ListenerName {
        static let client = "client"
        /// The plain HTTP of clients on addresses of its own.
        static let clientHTTP = "client-http"
        static let metrics = "metrics"
    }

    let server: GRPCServer
    /// The state of each event loop, in order of loop index.
    let loops: [NIOLoopBound<LoopState>]
    let addresses: [SocketAddress]

    static func open(
        context: ServerContext, group: MultiThreadedEventLoopGroup, inboxes: [LoopInbox], random: inout PRNG
    ) async throws -> Front {
        let seed = random.next()
        let states = Mutex<[Int: NIOLoopBound<LoopState>]>([:])
        let metrics = MetricsCollector(context: context)
        let startNumber = RequestID.firstNumber(wallClockMilliseconds: WallClock.nanoseconds() / 1_000_000)
        let server = try await GRPCServer.make(
            group: group, configuration: transportConfiguration(context),
            dispatcher: { eventLoop in
                let index = inboxes.firstIndex { $0.eventLoop === eventLoop } ?? 0
                do throws(StoreError) {
                    let state = try LoopState(
                        context: context, inbox: inboxes[index], index: index,
                        random: PRNG(seed: seed &+ UInt64(index)), startNumber: startNumber)
                    let bound = NIOLoopBound(state, eventLoop: eventLoop)
                    states.withLock { $0[index] = bound }
                    return LoopDispatcher(state: state)
                } catch {
                    context.stopProcess("opening a reader of the store: \(error)")
                }
            },
            responder: { eventLoop, listener in
                // Plain HTTP with addresses of its own has left the others.
                if listener == ListenerName.client, !context.configuration.listenClientHTTPURLs.isEmpty { return nil }
                guard let index = inboxes.firstIndex(where: { $0.eventLoop === eventLoop }),
                    let state = states.withLock({ $0[index] })
                else { return nil }
                return HTTPEndpoints(state: state.value, metrics: metrics)
            })
        let bounds = states.withLock { states in states.sorted { $0.key < $1.key }.map(\.value) }
        metrics.adopt(servers: [server], loops: bounds, eventLoops: inboxes.map(\.eventLoop))
        return Front(server: server, loops: bounds, addresses: try await listen(server, context))
    }

    private static func listen(_ server: GRPCServer, _ context: ServerContext) async throws -> [SocketAddress] {
        let configuration = context.configuration
        let security = try security(context)
        var addresses: [SocketAddress] = []
        let listeners =
            configuration.listenClientURLs.map { ($0, ListenerName.client, true) }
            + configuration.listenClientHTTPURLs.map { ($0, ListenerName.clientHTTP, false) }
            + configuration.listenMetricsURLs.map { ($0, ListenerName.metrics, false) }
        for (url, name, isGRPC) in listeners {
            // Whatever the checks of the flags say: nobody who asks for TLS is served in clear text.
            if url.isSecure, security == nil {
                throw StartError("listening on \(url.text): there is no certificate: --cert-file and --key-file")
            }
            let address: GRPCServer.Listener.Address =
                url.isUnix ? .unix(path: url.host) : .tcp(host: url.host, port: url.port)
            let listener = GRPCServer.Listener(
                address: address, name: name, security: url.isSecure ? security : nil, isGRPCEnabled: isGRPC)
            do { addresses.append(try await server.bind(listener)) } catch {
                throw StartError("listening on \(url.text): \(GRPCServer.reason(ofBindFailure: error))")
            }
            context.logger.info("listening", metadata: ["url": "\(url.text)", "for": "\(name)"])
        }
        return addresses
    }

    /// TLS as the flags want it; nil without a certificate.
    private static func security(_ context: ServerContext) throws -> PipelineSecurity? {
        let configuration = context.configuration
        guard let files = try certificateFiles(configuration) else { return nil }
        var tls = TLSConfiguration.server(
            certificateFile: files.certificate, keyFile: files.key,
            trustedCAFile: configuration.trustedCAFile.isEmpty ? nil : configuration.trustedCAFile)
        tls.minimumVersion = TLSVersion(rawValue: configuration.tlsMinimumVersion) ?? .tls12
        tls.maximumVersion = TLSVersion(rawValue: configuration.tlsMaximumVersion)
        tls.cipherSuites = configuration.cipherSuites
        tls.revocationListFile = configuration.clientCRLFile.isEmpty ? nil : configuration.clientCRLFile
        tls.allowedHostnames = configuration.clientAllowedHostnames
        let logger = context.logger
        let source: TLSContextSource
        do {
            try tls.validate()
            source = try TLSContextSource(
                tls,
                report: { event in
                    switch event {
                    case .reloaded(let count):
                        logger.info("certificates were reloaded", metadata: ["reloads": "\(count)"])
                    case .failed(let error):
                        logger.error(
                            "certificates on disk are bad; the old ones serve on", metadata: ["error": "\(error)"])
                    }
                })
        } catch { throw StartError("\(error)") }
        return PipelineSecurity(
            install: { channel in try channel.pipeline.syncOperations.addHandler(TLSHandler(source: source)) },
            inspect: { event in
                guard let done = event as? TLSHandshakeCompleted else { return nil }
                return ConnectionSecurity(applicationProtocol: done.negotiatedProtocol, peerIdentity: done.peer)
            })
    }

    /// The server's certificate and key: those given, or self-signed ones in the data directory; nil without TLS.
    private static func certificateFiles(
        _ configuration: ServerConfiguration
    ) throws -> (certificate: String, key: String)? {
        if !configuration.certificateFile.isEmpty { return (configuration.certificateFile, configuration.keyFile) }
        guard configuration.autoTLS else { return nil }
        let hosts = configuration.listenClientURLs.filter { !$0.isUnix }.map(\.host)
        do {
            let directory = configuration.effectiveDataDirectory + "/fixtures"
            try SystemFileSystem().createDirectory(directory)
            let files = try SelfSigned.ensure(
                directory: directory + "/client", hosts: hosts, validityYears: configuration.selfSignedValidityYears)
            return (files.certificateFile, files.keyFile)
        } catch { throw StartError("--auto-tls: \(error)") }
    }

    private static func transportConfiguration(_ context: ServerContext) -> Transport.ServerConfiguration {
        let configuration = context.configuration
        var transport = Transport.ServerConfiguration()
        transport.connectionsMax = DescriptorLimit.clientConnectionsMax(under: DescriptorLimit.current)
        let logger = context.logger
        transport.onTrouble = { trouble in
            logger.warning("connections of clients are not taken", metadata: ["reason": "\(trouble)"])
        }
        transport.measuresHandling = configuration.metricsLevel == .extensive
        transport.limits.receivedMessageBytesMax = configuration.maxRequestBytes + (512 << 10)
        // A connection can always bring one message of the largest size, besides what it is granted anyway.
        transport.limits.inboundBufferedBytesMax += transport.limits.receivedMessageBytesMax
        transport.limits.concurrentStreamsMax =
            configuration.maxConcurrentStreams ?? transport.limits.concurrentStreamsMax
        transport.keepalive.minimumPingInterval = .nanoseconds(Int64(configuration.keepaliveMinSeconds * 1e9))
        transport.keepalive.interval = .nanoseconds(Int64(configuration.keepaliveIntervalSeconds * 1e9))
        transport.keepalive.timeout = .nanoseconds(Int64(configuration.keepaliveTimeoutSeconds * 1e9))
        return transport
    }
}
