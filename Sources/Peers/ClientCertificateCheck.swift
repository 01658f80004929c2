import Glibc
import NIOCore
import NIOPosix
import Transport
import TransportSecurity

/// Asks that a client's certificate have an allowed name and be valid for the address it comes from. Stands behind the TLS
/// handler of an accepted connection, and holds back the end of the handshake while names are looked up. Owner: the
/// connection's event loop.
///
/// The handshake is over by then, so that who is refused can be told why, by a GOAWAY whose reason its log shows.
///
/// The address as etcd: a certificate without alternative names passes; one with addresses must have the client's; failing that,
/// one of its names must lead to the client's address, or the address to one of its names. Source: etcd-behaviour.md
/// section 8, "peer SAN check".
final class ClientCertificateCheck: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case handshaking
        /// Bytes that came while names are looked up. The socket is not read meanwhile.
        case lookingUp(TLSHandshakeCompleted, held: [ByteBuffer])
        case passed
        case refused
    }

    /// How long a client that was told why it is refused may take to go.
    private static let partingTime = TimeAmount.seconds(1)

    private let tls: PeerTLS
    private let refused: (String) -> Void
    private var state = State.handshaking

    /// - Parameters:
    ///   - tls: says which names are allowed, and whether addresses are looked at.
    ///   - refused: hears the reason, once.
    init(_ tls: PeerTLS, _ refused: @escaping (String) -> Void) {
        self.tls = tls
        self.refused = refused
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshaking = state, let done = event as? TLSHandshakeCompleted else {
            return context.fireUserInboundEventTriggered(event)
        }
        guard let peer = done.peer else { return pass(context, done, held: []) }
        let reason = peer.refusal(allowedHostnames: tls.allowedHostnames, allowedCommonNames: tls.allowedCommonNames)
        if let reason { return refuse(context, reason) }
        guard !tls.skipsClientSANVerification, let remote = context.remoteAddress?.ipAddress else {
            return pass(context, done, held: [])
        }
        let address = Self.plain(remote)
        switch Self.verdict(peer, address) {
        case .valid: pass(context, done, held: [])
        case .invalid(let reason): refuse(context, reason)
        case .dependsOn(let names): lookUp(context, done, names, address)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch state {
        case .lookingUp(let done, var held):
            held.append(unwrapInboundIn(data))
            state = .lookingUp(done, held: held)
        case .refused: break
        case .handshaking, .passed: context.fireChannelRead(data)
        }
    }

    /// The IPv4 address that a socket of both families shows as an IPv6 one (RFC 4291, section 2.5.5.2), or `address`.
    static func plain(_ address: String) -> String {
        let prefix = "::ffff:"
        guard address.hasPrefix(prefix), address.contains(".") else { return address }
        return String(address.dropFirst(prefix.count))
    }

    // MARK: Verdicts

    enum Verdict: Equatable {
        case valid
        case invalid(String)
        /// Valid if one of these names is the address's.
        case dependsOn([String])
    }

    /// What can be said without looking up names.
    static func verdict(_ peer: PeerCertificate, _ address: String) -> Verdict {
        if peer.dnsNames.isEmpty, peer.addresses.isEmpty { return .valid }
        if !peer.addresses.isEmpty, peer.isValid(for: address) { return .valid }
        if !peer.dnsNames.isEmpty { return .dependsOn(peer.dnsNames) }
        return .invalid(refusal(address, peer.addresses))
    }

    private static func refusal(_ address: String, _ names: [String]) -> String {
        "the client's certificate is valid for \(names.joined(separator: ", ")), but it comes from \(address)"
    }

    private func lookUp(
        _ context: ChannelHandlerContext, _ done: TLSHandshakeCompleted, _ names: [String], _ address: String
    ) {
        state = .lookingUp(done, held: [])
        _ = context.channel.syncOptions.map { try? $0.setOption(.autoRead, value: false) }
        let bound = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        NIOThreadPool.singleton.submit { state in
            let isValid = state == .active && NameLookup.leads(names, to: address)
            eventLoop.execute {
                let (handler, context) = bound.value
                guard case .lookingUp(let done, let held) = handler.state else { return }
                if isValid {
                    handler.pass(context, done, held: held)
                    _ = context.channel.syncOptions.map { try? $0.setOption(.autoRead, value: true) }
                } else {
                    handler.refuse(context, Self.refusal(address, names))
                }
            }
        }
    }

    private func pass(_ context: ChannelHandlerContext, _ done: TLSHandshakeCompleted, held: [ByteBuffer]) {
        state = .passed
        context.fireUserInboundEventTriggered(done)
        guard !held.isEmpty else { return }
        for bytes in held { context.fireChannelRead(wrapInboundOut(bytes)) }
        context.fireChannelReadComplete()
    }

    private func refuse(_ context: ChannelHandlerContext, _ reason: String) {
        state = .refused
        refused(reason)
        context.writeAndFlush(wrapOutboundOut(HTTP2Parting.insecure(reason)), promise: nil)
        // Closed at once, the connection could be reset before the reason is read. What comes meanwhile is dropped.
        _ = context.channel.syncOptions.map { try? $0.setOption(.autoRead, value: true) }
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.partingTime) { channel.close(promise: nil) }
    }
}

/// Names and addresses, by the system's resolver. Blocks.
enum NameLookup {
    /// Whether one of `names`, the names of a certificate, is `address`'s, or has it among its addresses. A name that
    /// begins with `*.` is compared with the address's own names only.
    static func leads(_ names: [String], to address: String) -> Bool {
        let wildcards = names.filter { $0.hasPrefix("*.") }.map { $0.dropFirst() }
        let plain = names.filter { !$0.hasPrefix("*.") }
        if let own = self.name(of: address) {
            if plain.contains(own) || wildcards.contains(where: { own.hasSuffix($0) }) { return true }
        }
        return plain.contains { addresses(of: $0).contains(address) }
    }

    private static func name(of address: String) -> String? {
        withInfo(address, flags: AI_NUMERICHOST) { info in
            guard let info else { return nil }
            var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard
                getnameinfo(
                    info.pointee.ai_addr, info.pointee.ai_addrlen, &host, socklen_t(host.count), nil, 0, NI_NAMEREQD)
                    == 0
            else { return nil }
            let name = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return name.hasSuffix(".") ? String(name.dropLast()) : name
        }
    }

    private static func addresses(of name: String) -> [String] {
        withInfo(name, flags: 0) { info in
            var found: [String] = []
            var next = info
            while let info = next {
                var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
                if getnameinfo(
                    info.pointee.ai_addr, info.pointee.ai_addrlen, &host, socklen_t(host.count), nil, 0,
                    NI_NUMERICHOST) == 0
                {
                    found.append(String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
                }
                next = info.pointee.ai_next
            }
            return found
        }
    }

    private static func withInfo<R>(
        _ host: String, flags: Int32, _ body: (UnsafeMutablePointer<addrinfo>?) -> R
    ) -> R {
        var hints = addrinfo()
        hints.ai_flags = flags
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var info: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &info) == 0 else { return body(nil) }
        defer { freeaddrinfo(info) }
        return body(info)
    }
}
