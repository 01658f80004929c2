import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import TestSupport
import Testing

@testable import Transport

/// `#expect` of values that are thrown for.
private func same<T: Equatable>(_ value: T, _ wanted: T, _ location: SourceLocation = #_sourceLocation) {
    #expect(value == wanted, sourceLocation: location)
}

/// Server and client on real sockets.
struct LoopbackTests {
    private static let echo = RPCPath("/test.T/Echo")
    private static let hold = RPCPath("/test.T/Hold")
    private static let bidi = RPCPath("/test.T/Bidi")
    private static let many = RPCPath("/test.T/Many")

    private func with(
        _ configuration: ServerConfiguration = ServerConfiguration(),
        client: ClientConfiguration = ClientConfiguration(),
        _ body: (GRPCServer, SocketAddress, RPCChannel) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let server = try await GRPCServer.make(
            group: group, configuration: configuration, dispatcher: { _ in TestDispatcher() },
            responder: { _, _ in TestResponder() })
        let address = try await server.bind(.init(address: .tcp(host: "127.0.0.1", port: 0)))
        let channel = try await RPCChannel.connect(
            to: .tcp(host: "127.0.0.1", port: address.port!), on: group, configuration: client)
        try await body(server, address, channel)
        await channel.close()
        await server.shutdown(gracePeriod: .milliseconds(100))
        try await Self.settle { server.connectionCount == 0 }
        #expect(server.connectionCount == 0)
        try await group.shutdownGracefully()
    }

    private func failure(_ body: () async throws -> Void) async -> RPCStatus? {
        do {
            try await body()
            return nil
        } catch { return error as? RPCStatus }
    }

    @Test func unaryCalls() async throws {
        try await with { server, _, channel in
            for size in [0, 1, 1000, 100_000, 1_500_000] {
                let message = [UInt8](repeating: 3, count: size)
                same(try await channel.unary(Self.echo, message), message)
            }
            let failed = await failure { _ = try await channel.unary(RPCPath("/test.T/Fail"), text("x")) }
            #expect(failed == RPCStatus(.failedPrecondition, "no: x ü%\n"))
            let unknown = await failure { _ = try await channel.unary(RPCPath("/test.T/X"), []) }
            #expect(unknown?.code == .unimplemented)
            let counters = await server.counters()
            #expect(counters.handled(0, .ok) == 5 && counters.started[0] == 5)
            #expect(counters.receivedBytes > 1_600_000 && counters.sentBytes > 1_600_000)
        }
    }

    @Test func gzipRequests() async throws {
        var client = ClientConfiguration()
        client.compressesRequests = true
        try await with(client: client) { server, _, channel in
            let message = [UInt8](repeating: 3, count: 500_000)
            same(try await channel.unary(Self.echo, message), message)
            let receivedBytesNow = await server.counters().receivedBytes
            #expect(receivedBytesNow < 50_000)
            let sentBytesNow = await server.counters().sentBytes
            #expect(sentBytesNow < 50_000)
        }
    }

    @Test func thousandsOfCallsAtOnce() async throws {
        try await with { _, _, channel in
            let done = channel.eventLoop.makePromise(of: Int.self)
            channel.withConnection { connection in
                var right = 0
                var left = 10_000
                for index in 0..<10_000 {
                    connection.call(
                        Self.echo, size: 8, fill: { $0.storeBytes(of: index, as: Int.self) },
                        completion: { result in
                            if result.status.isOK, result.message.loadUnaligned(as: Int.self) == index { right += 1 }
                            left -= 1
                            if left == 0 { done.succeed(right) }
                        })
                }
            }
            same(try await done.futureResult.get(), 10_000)
        }
    }

    /// Waits up to a minute; what is expected then, the test says.
    private static func settle(_ condition: () async -> Bool) async throws {
        let end = NIODeadline.now() + .minutes(1)
        while !(await condition()), NIODeadline.now() < end { try await Task.sleep(nanoseconds: 5_000_000) }
    }

    @Test func deadlineAndCancel() async throws {
        try await with { server, _, channel in
            // On a slow machine the time may be over before the call has left the client; then with more of it.
            var given = TimeAmount.milliseconds(50)
            var late: UInt64 = 0
            while late == 0, given < .minutes(1) {
                let status = await failure { _ = try await channel.unary(Self.hold, [], deadline: .now() + given) }
                #expect(status == RPCStatus(.deadlineExceeded, "context deadline exceeded"))
                // Whatever was sent before this has arrived with it.
                same(try await channel.unary(Self.echo, [1]), [1])
                late = await server.counters().started[1]
                given = given * 10
            }
            #expect(late == 1)
            let task = Task { await failure { _ = try await channel.unary(Self.hold, []) } }
            try await Self.settle { await server.counters().started[1] == 2 }
            task.cancel()
            #expect(await task.value?.code == .cancelled)
            try await Self.settle {
                let counters = await server.counters()
                return counters.handled.reduce(0, +) == counters.started.reduce(0, +)
            }
            let counters = await server.counters()
            #expect(counters.started[1] == 2 && counters.streamsOpened == counters.streamsClosed)
            #expect(counters.handled.reduce(0, +) == counters.started.reduce(0, +))
        }
    }

    @Test func bidirectionalStream() async throws {
        try await with { _, _, channel in
            let stream = channel.stream(Self.bidi)
            var sizes: [Int] = []
            for index in 0..<100 {
                try await stream.send([UInt8](repeating: 1, count: index * 10))
                sizes.append(try await stream.next()!.count)
            }
            stream.finishSending()
            same(try await stream.next(), nil)
            #expect(sizes == (0..<100).map { $0 * 10 })
            let cancelled = channel.stream(Self.bidi)
            try await cancelled.send([1])
            _ = try await cancelled.next()
            cancelled.cancel()
            #expect(await failure { _ = try await cancelled.next() }?.code == .cancelled)
        }
    }

    @Test func sequenceHoldsTheServerBack() async throws {
        try await with { server, _, channel in
            let stream = channel.stream(Self.many)
            try await stream.send(text("20000"))
            stream.finishSending()
            try await Self.settle { await server.counters().sentBytes > 1_000_000 }
            try await Task.sleep(nanoseconds: 200_000_000)
            // 20 MB are asked for; what is not read is not taken.
            let sentBytesNow = await server.counters().sentBytes
            #expect(sentBytesNow > 1_000_000 && sentBytesNow < 8_000_000)
            same(try await channel.unary(Self.echo, [1]), [1])
            var count = 0
            for try await message in stream { count += message.count }
            #expect(count == 20_000_000)
        }
    }

    @Test func lostConnectionIsUnavailable() async throws {
        try await with { server, _, channel in
            let pending = Task { await failure { _ = try await channel.unary(Self.hold, []) } }
            let stream = channel.stream(Self.bidi)
            try await stream.send([1])
            _ = try await stream.next()
            await server.shutdown(gracePeriod: .milliseconds(50))
            #expect(await pending.value?.code == .unavailable)
            #expect(await failure { _ = try await stream.next() }?.code == .unavailable)
            try await channel.closed.get()
            #expect(await failure { _ = try await channel.unary(Self.echo, []) }?.code == .unavailable)
            // Not the server's own port: a test beside this one may have been given it by now.
            let silent = try ReservedPort()
            let refused = await failure {
                let address = GRPCServer.Listener.Address.tcp(host: "127.0.0.1", port: silent.number)
                _ = try await RPCChannel.connect(to: address, on: channel.eventLoop)
            }
            #expect(refused?.code == .unavailable)
        }
    }

    @Test func goAwayLetsCallsFinish() async throws {
        try await with { server, _, channel in
            let stream = channel.stream(Self.bidi)
            try await stream.send([1])
            _ = try await stream.next()
            let shutdown = Task { await server.shutdown(gracePeriod: .minutes(1)) }
            func isGoingAway() async -> Bool {
                (try? await channel.eventLoop.submit { channel.connection.isGoingAway }.get()) == true
            }
            try await Self.settle { await isGoingAway() }
            #expect(await isGoingAway())
            #expect(await failure { _ = try await channel.unary(Self.echo, []) }?.code == .unavailable)
            try await stream.send([2])
            same(try await stream.next(), [2])
            stream.finishSending()
            same(try await stream.next(), nil)
            await shutdown.value
            try await channel.closed.get()
        }
    }

    @Test func silentServersAreGivenUp() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let listener = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        var client = ClientConfiguration()
        client.keepalive.interval = .milliseconds(50)
        client.keepalive.timeout = .milliseconds(50)
        let channel = try await RPCChannel.connect(
            to: .tcp(host: "127.0.0.1", port: listener.localAddress!.port!), on: group, configuration: client)
        #expect(await failure { _ = try await channel.unary(Self.echo, []) }?.code == .unavailable)
        try await channel.closed.get()
        try await listener.close()
        try await group.shutdownGracefully()
    }

    @Test func unixSocketsAndConnectionLimit() async throws {
        var configuration = ServerConfiguration()
        configuration.connectionsMax = 2
        try await with(configuration) { server, _, channel in
            let path = "/tmp/martlet-transport-\(UInt64.random(in: 0..<UInt64.max)).sock"
            defer { unlink(path) }
            // The client's end is connected before the server has accepted its own; only an answer shows that it has,
            // and that the connection takes one of the two places.
            same(try await channel.unary(Self.echo, [8]), [8])
            _ = try await server.bind(.init(address: .unix(path: path), name: "unix"))
            let second = try await RPCChannel.connect(to: .unix(path: path), on: channel.eventLoop)
            same(try await second.unary(Self.echo, [9]), [9])
            let third = await failure {
                let third = try await RPCChannel.connect(to: .unix(path: path), on: channel.eventLoop)
                _ = try await third.unary(Self.echo, [9])
            }
            #expect(third?.code == .unavailable)
            await second.close()
        }
    }

    /// Answers come back from another thread.
    @Test func repliesFromOtherThreads() async throws {
        final class Threaded: RPCDispatcher {
            let methodCount = TestDispatcher.table.count
            let pool: NIOThreadPool
            init(_ pool: NIOThreadPool) { self.pool = pool }
            func resolve(path: UnsafeRawBufferPointer) -> RPCMethod? { TestDispatcher.table.find(path) }
            func hasService(_ service: String) -> Bool { true }
            func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? { nil }
            func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) {
                let bytes = [UInt8](message)
                pool.submit { _ in call.eventLoop.execute { call.reply(bytes) } }
            }
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let pool = NIOThreadPool(numberOfThreads: 2)
        pool.start()
        let server = try await GRPCServer.make(group: group, dispatcher: { _ in Threaded(pool) })
        let address = try await server.bind(.init(address: .tcp(host: "127.0.0.1", port: 0)))
        await withTaskGroup(of: Int.self) { tasks in
            for _ in 0..<4 {
                tasks.addTask {
                    guard
                        let channel = try? await RPCChannel.connect(
                            to: .tcp(host: "127.0.0.1", port: address.port!), on: group)
                    else { return 0 }
                    var right = 0
                    for index in 0..<500 {
                        if index % 3 == 0 {
                            _ = try? await channel.unary(Self.echo, [1], deadline: .now() + .microseconds(50))
                        }
                        let bytes = text("\(index)")
                        if (try? await channel.unary(Self.echo, bytes)) == bytes { right += 1 }
                    }
                    await channel.close()
                    return right
                }
            }
            for await right in tasks { #expect(right == 500) }
        }
        await server.shutdown(gracePeriod: .zero)
        try await pool.shutdownGracefully()
        try await group.shutdownGracefully()
    }
}
