import NIOCore
import NIOEmbedded
import Primitives
import Testing

@testable import Transport

/// Valid byte streams, damaged. Nothing may trap, nothing may grow without bound, and a connection is either alive and
/// serves, or closed.
struct FuzzTests {
    private func validHTTP2(_ random: inout PRNG) -> [UInt8] {
        var bytes = RawFrames.start
        let paths = TestDispatcher.methods.map(\.path) + ["/nope", "/health", ""]
        for index in 0..<random.next(in: 1..<12) {
            let stream = UInt32(index * 2 + 1)
            switch random.next(in: 0..<8) {
            case 0: bytes += RawFrames.frame(6, Array(repeating: 7, count: 8))
            case 1: bytes += RawFrames.frame(4, [0, 4, 0, 1, 0, 0])
            case 2: bytes += RawFrames.frame(8, stream: random.chance(oneIn: 2) ? 0 : stream, [0, 0, 1, 0])
            default:
                bytes += RawFrames.headers(stream: stream, path: paths[random.next(in: 0..<paths.count)])
                for _ in 0..<random.next(in: 0..<4) {
                    let message = text(["", "5", "100 100", "70000 70000", "x"][random.next(in: 0..<5)])
                    bytes += RawFrames.data(stream: stream, frame(message), end: random.chance(oneIn: 2))
                }
                if random.chance(oneIn: 5) { bytes += RawFrames.frame(3, stream: stream, [0, 0, 0, 8]) }
            }
        }
        return bytes
    }

    private func validHTTP1(_ random: inout PRNG) -> [UInt8] {
        (0..<random.next(in: 1..<6)).flatMap { _ in
            text(
                [
                    "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
                    "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                    "HEAD /parts HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\n\r\n", "GET /drop HTTP/1.0\r\n\r\n",
                    "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
                ][random.next(in: 0..<6)])
        }
    }

    private func damage(_ bytes: [UInt8], _ random: inout PRNG) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<random.next(in: 0..<6) where !bytes.isEmpty {
            let at = random.next(in: 0..<bytes.count)
            switch random.next(in: 0..<6) {
            case 0: bytes[at] = UInt8(random.next(in: 0..<256))
            case 1: bytes[at] ^= 1 << UInt8(random.next(in: 0..<8))
            case 2: bytes.remove(at: at)
            case 3: bytes.insert(UInt8(random.next(in: 0..<256)), at: at)
            case 4:
                let end = min(bytes.count, at + random.next(in: 0..<60))
                bytes.insert(contentsOf: bytes[at..<end], at: random.next(in: 0..<bytes.count))
            default: bytes.removeSubrange(at..<min(bytes.count, at + random.next(in: 0..<30)))
            }
        }
        return bytes
    }

    private func feed(_ server: EmbeddedServer, _ bytes: [UInt8], _ random: inout PRNG) -> Int {
        var rest = bytes[...]
        var answered = 0
        while !rest.isEmpty, server.isOpen {
            let count = min(rest.count, random.next(in: 1..<400))
            server.send(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
            answered += server.output().count
            if random.chance(oneIn: 10) { server.advance(.milliseconds(Int64(random.next(in: 0..<500)))) }
            if random.chance(oneIn: 20) { for call in server.dispatcher.held { call.reply([1, 2, 3]) } }
        }
        return answered
    }

    @Test(arguments: 0..<40) func damagedHTTP2(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        for _ in 0..<40 {
            let server = try EmbeddedServer()
            let bytes = damage(validHTTP2(&random), &random)
            let answered = feed(server, bytes, &random)
            #expect(answered < 2 << 20)
            let calls = server.dispatcher.handlers.map(\.call) + server.dispatcher.held
            for call in calls { #expect(call.inbound.count <= bytes.count) }
            server.disconnect()
            #expect(!server.isOpen)
            for call in calls { #expect(!call.isLive && call.connection == nil) }
            for handler in server.dispatcher.handlers {
                // A source is told as the source it is, too.
                #expect(handler.events.filter { $0 == "cancelled" }.count <= (handler.name == "Source" ? 2 : 1))
            }
            let counters = server.loop.counters
            #expect(counters.streamsOpened == counters.streamsClosed)
            #expect(counters.started.reduce(0, +) == counters.handled.reduce(0, +))
            #expect(server.loop.handlers.isEmpty)
        }
    }

    @Test(arguments: 0..<40) func damagedHTTP1(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        for _ in 0..<40 {
            let server = try EmbeddedServer()
            let answered = feed(server, damage(validHTTP1(&random), &random), &random)
            #expect(answered < 1 << 20)
            server.disconnect()
            #expect(server.loop.handlers.isEmpty)
        }
    }

    @Test(arguments: 0..<20) func noise(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        for start in [[], RawFrames.preface, RawFrames.start] {
            let server = try EmbeddedServer()
            _ = feed(server, start + (0..<3000).map { _ in UInt8(random.next(in: 0..<256)) }, &random)
            server.advance(.seconds(30))
            #expect(!server.isOpen)
        }
    }

    /// What a damaged server sends must not hurt a client either.
    @Test(arguments: 0..<40) func damagedAnswers(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let probe = Probe(try EmbeddedServer())
        for path in ["/test.T/Echo", "/test.T/Fail", "/test.T/Sliced", "/test.T/Bidi"] {
            probe.open(path, body: frame(text("3000 3000")), exchanging: false)
        }
        probe.exchange()
        let good = probe.server.everything
        for _ in 0..<40 {
            let client = try EmbeddedClient()
            var outcomes = 0
            for path in ["/test.T/Echo", "/test.T/Fail", "/test.T/Sliced"] {
                let path = RPCPath(immortal: path)
                client.connection?.call(path, size: 3, fill: { $0.copyBytes(from: [1, 2, 3]) }) { _ in outcomes += 1 }
            }
            let listener = Listener()
            client.connection?.stream(RPCPath("/test.T/Bidi"), handler: listener).send([1, 2, 3])
            client.channel.embeddedEventLoop.run()
            var rest = damage(good, &random)[...]
            while !rest.isEmpty, client.channel.isActive {
                let count = min(rest.count, random.next(in: 1..<2000))
                _ = try? client.channel.writeInbound(ByteBuffer(bytes: rest.prefix(count)))
                client.channel.embeddedEventLoop.run()
                rest = rest.dropFirst(count)
            }
            client.channel.close(promise: nil)
            client.channel.embeddedEventLoop.run()
            #expect(outcomes == 3 && listener.outcomes == 1)
        }
    }
}

private final class Listener: RPCClientStreamHandler {
    var outcomes = 0
    func received(message: UnsafeRawBufferPointer) {}
    func ended(status: RPCStatus) { outcomes += 1 }
}

/// One client connection on an embedded channel.
final class EmbeddedClient {
    let channel = EmbeddedChannel()
    let connection: ClientConnection?

    init(_ configuration: ClientConfiguration = ClientConfiguration()) throws {
        let ready = channel.eventLoop.makePromise(of: NIOLoopBound<ClientConnection>.self)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        let handler = ClientHandler(configuration: configuration, security: nil, authority: "a", ready: ready)
        try channel.pipeline.syncOperations.addHandler(handler)
        channel.embeddedEventLoop.run()
        connection = try ready.futureResult.wait().value
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }
}
