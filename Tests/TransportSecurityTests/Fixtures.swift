import Foundation
import NIOCore
import NIOEmbedded
import TransportSecurity

/// SplitMix64: the tests' own source of numbers, the same for the same seed.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// A directory with a CA and the certificates of one test; removed with the object.
final class Certificates {
    let directory: String
    let authority: CertificateAuthority
    private(set) var server: IssuedCertificate
    private(set) var client: IssuedCertificate

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        authority = try CertificateAuthority(commonName: "test CA")
        server = try authority.issue(Self.serverRequest())
        var request = CertificateRequest(commonName: "alice", hosts: ["client.test"], validitySeconds: 3600)
        request.isForServers = false
        client = try authority.issue(request)
        try server.write(certificateFile: path("server.pem"), keyFile: path("server-key.pem"))
        try client.write(certificateFile: path("client.pem"), keyFile: path("client-key.pem"))
        try write(authority.certificatePEM, "ca.pem")
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    static func serverRequest() -> CertificateRequest {
        CertificateRequest(
            commonName: "server", hosts: ["localhost", "*.wild.test", "127.0.0.1", "::1"], validitySeconds: 3600)
    }

    func path(_ name: String) -> String { directory + "/" + name }

    /// Writes into the file itself. What was there before is older by a second at least: in its place, with as many
    /// bytes and in the same tick of the kernel's clock, nobody could tell the new from it.
    func write(_ bytes: [UInt8], _ name: String) throws {
        let before = try? FileManager.default.attributesOfItem(atPath: path(name))[.modificationDate] as? Date
        try Data(bytes).write(to: URL(fileURLWithPath: path(name)))
        guard let before else { return }
        try FileManager.default.setAttributes([.modificationDate: before + 1], ofItemAtPath: path(name))
    }

    func write(_ issued: IssuedCertificate, as name: String) throws {
        try issued.write(certificateFile: path(name + ".pem"), keyFile: path(name + "-key.pem"))
    }

    /// Issues a certificate and makes it the server's on disk.
    @discardableResult
    func replaceServer(_ request: CertificateRequest = Certificates.serverRequest()) throws -> IssuedCertificate {
        server = try authority.issue(request)
        try write(server, as: "server")
        return server
    }

    func serverConfiguration(mutual: Bool = false) -> TLSConfiguration {
        .server(
            certificateFile: path("server.pem"), keyFile: path("server-key.pem"),
            trustedCAFile: mutual ? path("ca.pem") : nil)
    }

    func clientConfiguration(mutual: Bool = false) -> TLSConfiguration {
        .client(
            trustedCAFile: path("ca.pem"), serverName: "localhost",
            certificateFile: mutual ? path("client.pem") : nil, keyFile: mutual ? path("client-key.pem") : nil)
    }
}

/// Notes everything that comes up.
final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    var bytes = ByteBuffer()
    var handshakes: [TLSHandshakeCompleted] = []
    var errors: [TLSError] = []
    var isInactive = false
    var inputClosed = false
    /// True when plaintext came before the handshake's event.
    var outOfOrder = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if handshakes.isEmpty { outOfOrder = true }
        var part = unwrapInboundIn(data)
        bytes.writeBuffer(&part)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSHandshakeCompleted { handshakes.append(event) }
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { inputClosed = true }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? TLSError { errors.append(error) }
    }

    func channelInactive(context: ChannelHandlerContext) { isInactive = true }
}

/// One side of a connection in memory.
final class Side {
    let channel: EmbeddedChannel
    let handler: TLSHandler
    let recorder = Recorder()
    var isOpen: Bool { channel.isActive }

    init(_ handler: TLSHandler) throws {
        self.handler = handler
        channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandlers([handler, recorder])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    /// Takes the ciphertext that wants to leave.
    func takeOutput() throws -> ByteBuffer {
        var all = ByteBuffer()
        while var part = try channel.readOutbound(as: ByteBuffer.self) { all.writeBuffer(&part) }
        return all
    }

    func receive(_ bytes: ByteBuffer) throws {
        guard channel.isActive else { return }
        try channel.writeInbound(bytes)
        channel.embeddedEventLoop.run()
    }

    /// Passes all that the channel has noted as unhandled, so that `finish` does not throw.
    func finish() { _ = try? channel.finish(acceptAlreadyClosed: true) }
}

/// Two sides in memory, with the test as their network.
final class Pair {
    let server: Side
    let client: Side

    init(
        server: TLSContextSource, client: TLSContextSource, serverName: String? = nil,
        limits: TLSLimits = TLSLimits(), allowsHalfClosure: Bool = false
    ) throws {
        self.server = try Side(
            TLSHandler(source: server, limits: limits, allowsHalfClosure: allowsHalfClosure))
        self.client = try Side(
            TLSHandler(
                source: client, serverName: serverName, limits: limits, allowsHalfClosure: allowsHalfClosure))
    }

    convenience init(_ server: TLSConfiguration, _ client: TLSConfiguration, serverName: String? = nil) throws {
        try self.init(
            server: TLSContextSource(server), client: TLSContextSource(client), serverName: serverName)
    }

    deinit {
        server.finish()
        client.finish()
    }

    /// Carries bytes both ways, in pieces of at most `piece` bytes, until nothing moves; a side that closed is seen to
    /// be closed by the other.
    func exchange(piece: Int = Int.max) throws {
        var moved = true
        while moved {
            moved = false
            for (from, to) in [(client, server), (server, client)] {
                var bytes = try from.takeOutput()
                if bytes.readableBytes > 0 { moved = true }
                while let part = bytes.readSlice(length: min(piece, bytes.readableBytes)), part.readableBytes > 0 {
                    try to.receive(part)
                }
            }
        }
        for (side, other) in [(client, server), (server, client)] where !side.isOpen && other.isOpen {
            _ = try? other.channel.close().wait()
            other.channel.embeddedEventLoop.run()
        }
    }
}
