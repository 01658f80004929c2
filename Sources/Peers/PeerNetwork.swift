package import Logging
package import NIOCore
import NIOPosix
package import Primitives
package import RaftCore
import Transport

/// One member's side of everything between members. See the top of `Peers.swift`.
package final class PeerNetwork: Sendable {
    package let configuration: PeerConfiguration
    private let core: PeerCore
    private let group: any EventLoopGroup
    private let receiving: SnapshotReceiving
    private let server: StartedServer
    /// For what belongs to no link.
    private let home: any EventLoop

    /// `group` serves incoming connections and links; it must outlive `stop()`. The delegate is held until then.
    /// `stop()` must be called in the end, also when `start()` has thrown. Throws `configuration` for bad TLS files or
    /// URLs.
    package init(
        configuration: PeerConfiguration, group: any EventLoopGroup, delegate: any PeerDelegate, logger: Logger
    ) throws(PeerError) {
        let security = try PeerSecurity(configuration.tls, logger: logger)
        if !security.hasCertificate, let url = configuration.listenURLs.first(where: \.isSecure) {
            throw PeerError(.configuration, "listening on \(url) needs --peer-cert-file and --peer-key-file")
        }
        self.configuration = configuration
        self.group = group
        home = group.next()
        core = PeerCore(configuration: configuration, security: security, delegate: delegate, logger: logger)
        receiving = SnapshotReceiving(core: core, timers: home)
        server = StartedServer()
        core.chunkThread.start()
    }

    // MARK: Life

    /// Listens on the peer URLs; returns the addresses bound, in the URLs' order. Throws `listen`.
    @discardableResult
    package func start() async throws(PeerError) -> [SocketAddress] {
        let (core, receiving) = (core, receiving)
        let methods = PeerProtocol.methods(configuration.limits)
        let security = core.dialer.security.listening { address, reason in
            core.logRefusal("unknown", address: address, reason)
        }
        do {
            let server = try await GRPCServer.make(group: group, configuration: serverConfiguration) { _ in
                PeerDispatcher(core: core, receiving: receiving, methods: methods)
            }
            self.server.set(server)
            var addresses: [SocketAddress] = []
            for url in configuration.listenURLs {
                let listener = GRPCServer.Listener(
                    address: .tcp(host: url.host, port: url.port), name: "peer", security: url.isSecure ? security : nil
                )
                do { addresses.append(try await server.bind(listener)) } catch {
                    throw PeerError(.listen, "listening on \(url): \(GRPCServer.reason(ofBindFailure: error))")
                }
                core.logger.info("listening", metadata: ["url": "\(url)", "for": "peers"])
            }
            return addresses
        } catch {
            throw (error as? PeerError) ?? PeerError(.listen, "\(error)")
        }
    }

    /// Closes everything. Snapshots under way fail, and the delegate is told; it is not called after this returns.
    package func stop() async {
        let (links, streams) = core.beginStopping()
        for stream in streams { stream.end(PeerProtocol.stopping) }
        for link in links { try? await link.eventLoop.submit { link.stop() }.get() }
        await server.take()?.shutdown(gracePeriod: .milliseconds(500))
        await receiving.stop()
        await withCheckedContinuation { continuation in
            core.chunkThread.submit { _ in continuation.resume() }
        }
        try? await core.chunkThread.shutdownGracefully()
        // What the threads and connections had still to say is said.
        for link in links { try? await link.eventLoop.submit {}.get() }
        try? await home.submit {}.get()
        core.endStopping()
    }

    private var serverConfiguration: ServerConfiguration {
        let limits = configuration.limits
        var server = ServerConfiguration()
        server.connectionsMax = min(
            limits.connectionsMax, DescriptorLimit.peerConnectionsMax(under: DescriptorLimit.current))
        let logger = core.logger
        server.onTrouble = { trouble in
            logger.warning("connections of peers are not taken", metadata: ["reason": "\(trouble)"])
        }
        server.limits.receivedMessageBytesMax = limits.receivedBatchBytesMax
        server.limits.inboundBufferedBytesMax = limits.receivedBatchBytesMax + (16 << 20)
        server.limits.concurrentStreamsMax = UInt32(limits.callsMax) + 64
        server.keepalive.minimumPingInterval = .milliseconds(500)
        server.keepalive.interval = .seconds(5)
        server.keepalive.timeout = .seconds(5)
        return server
    }

    // MARK: Members

    /// The other members and their peer URLs; this member may be among them and is left out. Opens, changes and closes
    /// links. Any thread.
    package func setMembers(_ members: [(id: MemberID, peerURLs: [String])]) {
        var wanted: [MemberID: [PeerURL]] = [:]
        for member in members where member.id != configuration.memberID {
            let urls = member.peerURLs.compactMap { text in
                do throws(PeerError) { return try PeerURL(text) } catch {
                    core.logger.error("a peer's URL is bad", metadata: ["reason": "\(error)"])
                    return nil
                }
            }
            if !urls.isEmpty { wanted[member.id] = urls }
        }
        var started: [PeerLink] = []
        var retired: [PeerLink] = []
        core.changeLinks { links in
            retired = links.filter { wanted[$0.key] == nil }.map(\.value)
            for link in retired { links[link.member] = nil }
            for (member, urls) in wanted {
                if let link = links[member] {
                    link.change(urls: urls)
                } else {
                    let link = PeerLink(core: core, member: member, urls: urls, eventLoop: group.next())
                    links[member] = link
                    started.append(link)
                }
            }
            return retired
        }
        for link in retired { link.retire() }
        for link in started { link.start() }
        for stream in core.streams where wanted[stream.member] == nil { stream.checkRemoved() }
    }

    /// What is known of each other member, by identity. Any thread.
    package func statuses() -> [PeerStatus] {
        core.links.values.map(\.status).sorted { $0.member < $1.member }
    }

    // MARK: Sending

    /// Sends messages, each to the member it names; never blocks. `.snapshot` messages open and stream an image. Any
    /// thread; the order of messages to one member is that of the calls of one thread.
    package func send(_ messages: [Message]) {
        let links = core.links
        var encoding = SharedEncoding(encode: configuration.encode)
        var touched: [PeerLink] = []
        var unreachable: [MemberID] = []
        for message in messages {
            let link = links[message.to]
            if message.type == .snapshot {
                sendSnapshot(message, link)
            } else if let link {
                let isTaken = link.offer(message) { encoding.bytes(of: message) }
                if !touched.contains(where: { $0 === link }) { touched.append(link) }
                if !isTaken, !unreachable.contains(message.to) { unreachable.append(message.to) }
            }
        }
        for link in touched { link.wake() }
        guard !unreachable.isEmpty, let delegate = core.delegate else { return }
        for member in unreachable { delegate.unreachable(member) }
    }

    func link(_ member: MemberID) -> PeerLink? { core.link(member) }

    /// Says no to a call, where its completion expects to be called.
    func refuse(
        _ status: RPCStatus, _ completion: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {
        home.execute { completion(.failure(status)) }
    }

    private func sendSnapshot(_ message: Message, _ link: PeerLink?) {
        guard let link else {
            let core = core
            return home.execute { core.delegate?.snapshotSent(to: message.to, succeeded: false) }
        }
        link.eventLoop.execute { link.sendSnapshot(message) }
    }
}

/// Encodes a message once for all members it goes to: the copies differ only in the receiver, which is left out,
/// because a receiver knows who it is.
struct SharedEncoding {
    let encode: (Message) -> Bytes
    private var last: (message: Message, bytes: Bytes)?

    init(encode: @escaping (Message) -> Bytes) { self.encode = encode }

    mutating func bytes(of message: Message) -> Bytes {
        if let last, Self.areEqual(last.message, message) { return last.bytes }
        var copy = message
        copy.to = .none
        let bytes = encode(copy)
        last = (message, bytes)
        return bytes
    }

    /// Whether two messages of one sender are the same but for the receiver. Entries of the same index and term are the
    /// same entries (Raft paper, section 5.3), so that their payloads need not be compared.
    private static func areEqual(_ a: Message, _ b: Message) -> Bool {
        guard a.type == .append, b.type == .append, a.index == b.index, a.logTerm == b.logTerm, a.term == b.term,
            a.commit == b.commit, a.from == b.from, a.reject == b.reject, a.rejectHint == b.rejectHint,
            a.vote == b.vote, a.context == b.context, a.entries.count == b.entries.count
        else { return false }
        guard let first = a.entries.first, let last = a.entries.last else { return true }
        return first.index == b.entries[0].index && first.term == b.entries[0].term
            && last.index == b.entries[b.entries.count - 1].index && last.term == b.entries[b.entries.count - 1].term
    }
}
