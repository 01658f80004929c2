import Foundation
import NIOCore
import NIOPosix
import Testing
import TransportSecurity

/// Sends back what it gets, and notes handshakes and errors for the test's thread to read after the connection.
final class Echo: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let done: EventLoopPromise<TLSError?>

    init(done: EventLoopPromise<TLSError?>) { self.done = done }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.write(data, promise: nil) }
    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { done.succeed(error as? TLSError) }
    func channelInactive(context: ChannelHandlerContext) { done.succeed(nil) }
}

/// Collects until `wanted` bytes are there; fails when the channel ends before.
final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let wanted: Int
    private let all: EventLoopPromise<ByteBuffer>
    private let handshake: EventLoopPromise<TLSHandshakeCompleted>
    private var got = ByteBuffer()

    init(wanted: Int, all: EventLoopPromise<ByteBuffer>, handshake: EventLoopPromise<TLSHandshakeCompleted>) {
        self.wanted = wanted
        self.all = all
        self.handshake = handshake
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        got.writeBuffer(&part)
        if got.readableBytes >= wanted { all.succeed(got) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSHandshakeCompleted { handshake.succeed(event) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { end(error) }
    func channelInactive(context: ChannelHandlerContext) { end(ChannelError.eof) }

    private func end(_ error: any Error) {
        all.fail(error)
        handshake.fail(error)
    }
}

/// An echo server on a free port of 127.0.0.1.
struct EchoServer {
    let channel: any Channel
    /// One outcome for each connection, in the order of acceptance.
    let outcomes: AsyncStream<TLSError?>

    var port: Int { channel.localAddress?.port ?? 0 }

    init(_ source: TLSContextSource, limits: TLSLimits = TLSLimits()) async throws {
        let (stream, continuation) = AsyncStream.makeStream(of: TLSError?.self)
        outcomes = stream
        channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let done = channel.eventLoop.makePromise(of: TLSError?.self)
                    done.futureResult.whenSuccess { continuation.yield($0) }
                    try channel.pipeline.syncOperations.addHandlers([
                        TLSHandler(source: source, limits: limits), Echo(done: done),
                    ])
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    func nextOutcome() async -> TLSError? {
        for await outcome in outcomes { return outcome }
        return nil
    }
}

/// A client connection to 127.0.0.1 that waits for `wanted` bytes.
struct EchoClient {
    let channel: any Channel
    let handshake: EventLoopFuture<TLSHandshakeCompleted>
    let all: EventLoopFuture<ByteBuffer>

    init(port: Int, _ source: TLSContextSource, wanted: Int) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let all = loop.makePromise(of: ByteBuffer.self)
        let handshake = loop.makePromise(of: TLSHandshakeCompleted.self)
        channel = try await ClientBootstrap(group: loop)
            .connectTimeout(.minutes(1))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        TLSHandler(source: source, serverName: "localhost"),
                        Collector(wanted: wanted, all: all, handshake: handshake),
                    ])
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        self.all = all.futureResult
        self.handshake = handshake.futureResult
    }
}

@Suite(.timeLimit(.minutes(5))) struct LoopbackTests {
    @Test(arguments: TLSVersion.allCases) func sixteenMebibytesThereAndBack(version: TLSVersion) async throws {
        let files = try Certificates()
        var configuration = files.serverConfiguration(mutual: true)
        configuration.maximumVersion = version
        let server = try await EchoServer(TLSContextSource(configuration))
        let bytes = ByteBuffer(bytes: TransferTests.numbers(16 << 20, seed: 3))
        let client = try await EchoClient(
            port: server.port, TLSContextSource(files.clientConfiguration(mutual: true)),
            wanted: bytes.readableBytes)
        #expect(try await client.handshake.get().version == version)
        var rest = bytes
        var generator = SeededNumbers(seed: 8)
        while rest.readableBytes > 0 {
            let count = min(Int.random(in: 1...300_000, using: &generator), rest.readableBytes)
            if let part = rest.readSlice(length: count) { client.channel.write(part, promise: nil) }
        }
        client.channel.flush()
        #expect(try await client.all.get() == bytes)
        try await client.channel.close().get()
        #expect(await server.nextOutcome() == nil)
        try await server.channel.close().get()
    }

    @Test func certificateSwappedWhileAConnectionIsOpen() async throws {
        let files = try Certificates()
        let old = files.server.certificate.serialNumber
        let source = try TLSContextSource(files.serverConfiguration(), checkInterval: .nanoseconds(0))
        let server = try await EchoServer(source)
        let clients = try TLSContextSource(files.clientConfiguration())
        let first = try await EchoClient(port: server.port, clients, wanted: 3)
        #expect(try await first.handshake.get().peer?.serialNumber == old)
        let new = try files.replaceServer().certificate.serialNumber
        let second = try await EchoClient(port: server.port, clients, wanted: 3)
        #expect(try await second.handshake.get().peer?.serialNumber == new)
        for client in [first, second] {
            try await client.channel.writeAndFlush(ByteBuffer(string: "abc")).get()
            #expect(try await client.all.get() == ByteBuffer(string: "abc"))
            try await client.channel.close().get()
        }
        try await server.channel.close().get()
    }

    @Test func peerThatVanishes() async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration()))
        let client = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: server.port).get()
        try await client.close().get()
        #expect(await server.nextOutcome()?.code == .closedDuringHandshake)
        try await server.channel.close().get()
    }

    @Test func silentPeerIsCutOff() async throws {
        let files = try Certificates()
        var limits = TLSLimits()
        limits.handshakeTimeoutMilliseconds = 50
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration()), limits: limits)
        let client = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: server.port).get()
        #expect(await server.nextOutcome()?.code == .handshakeTimeout)
        try await client.closeFuture.get()
        try await server.channel.close().get()
    }
}
