import NIOCore
import Primitives
import Testing

@testable import Transport

struct CallTests {
    @Test(arguments: [0, 1, 100, 16_379, 16_384, 70_000, 1_500_000]) func unaryEcho(size: Int) throws {
        let probe = Probe(try EmbeddedServer())
        let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let answer = probe.call("/test.T/Echo", message)
        #expect(answer.status == 0)
        #expect(answer.messages == [message])
        #expect(answer.closedWith == .noError)
        #expect(answer.header("content-type") == "application/grpc")
        let counters = probe.server.loop.counters
        #expect(counters.started[0] == 1 && counters.handled(0, .ok) == 1)
        #expect(probe.server.loop.counters.streamsClosed == 1)
    }

    @Test func manyCallsInOneRead() throws {
        let probe = Probe(try EmbeddedServer())
        let ids = (0..<500).map { probe.open("/test.T/Echo", body: frame(text("\($0)")), exchanging: false) }
        probe.exchange()
        for (index, id) in ids.enumerated() { #expect(probe.answers[id]?.messages == [text("\(index)")]) }
        #expect(probe.server.loop.counters.handled(0, .ok) == 500)
    }

    /// The bytes of a call may be cut anywhere.
    @Test(arguments: 0..<60) func readsMayEndAnywhere(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let server = try EmbeddedServer()
        var bytes = RawFrames.start
        for index in 0..<8 {
            let stream = UInt32(index * 2 + 1)
            bytes += RawFrames.headers(stream: stream)
            let body = frame((0..<random.next(in: 0..<40)).map { _ in 0x41 })
            let cut = random.next(in: 0..<body.count + 1)
            bytes += RawFrames.data(stream: stream, Array(body[..<cut]), end: false)
            bytes += RawFrames.data(stream: stream, Array(body[cut...]), end: random.chance(oneIn: 2))
            if bytes[bytes.count - (body.count - cut) - 5] == 0 { bytes += RawFrames.data(stream: stream, []) }
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = min(rest.count, random.next(in: 1..<50))
            server.send(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        #expect(server.isOpen)
        #expect(server.loop.counters.handled(0, .ok) == 8)
    }

    @Test func failureIsTrailersOnlyAndEncoded() throws {
        let probe = Probe(try EmbeddedServer())
        let answer = probe.call("/test.T/Fail", text("why"))
        #expect(answer.status == 9)
        #expect(answer.message == "no: why ü%\n")
        #expect(answer.data.isEmpty && answer.header(":status") == "200")
        #expect(probe.server.loop.counters.handled(2, .failedPrecondition) == 1)
    }

    @Test func unknownNames() throws {
        let probe = Probe(try EmbeddedServer())
        let cases = [
            ("/test.T/Nope", "unknown method Nope for service test.T"), ("/other.S/Echo", "unknown service other.S"),
            ("/x", "malformed method name: \"/x\""), ("/", "malformed method name: \"/\""),
        ]
        for (path, message) in cases {
            let answer = probe.call(path, [])
            #expect(answer.status == 12)
            #expect(answer.message == message)
        }
    }

    @Test func requestsThatAreNotGRPC() throws {
        let probe = Probe(try EmbeddedServer(hasResponder: false))
        func call(_ name: String, _ value: String, more: [(name: String, value: String)] = []) -> Probe.Answer {
            let headers = Probe.grpc.map { $0.name == name ? (name: name, value: value) : $0 }
            return probe.answers[probe.open("/test.T/Echo", headers: headers, more: more, body: frame([]))]!
        }
        let plain = call("content-type", "application/json")
        #expect(plain.header(":status") == "415")
        #expect(plain.message == "invalid gRPC request content-type \"application/json\"")
        #expect(call("content-type", "application/grpcx").header(":status") == "415")
        #expect(call("content-type", "application/grpc+proto").status == 0)
        #expect(call("content-type", "application/grpc;x").status == 0)
        let put = call(":method", "PUT")
        #expect(put.header(":status") == "405" && put.status == 13)
        let timeout = call("te", "trailers", more: [("grpc-timeout", "soon")])
        #expect(timeout.header(":status") == "400" && timeout.status == 13)
    }

    @Test func oneMessageExactly() throws {
        let probe = Probe(try EmbeddedServer())
        func call(_ path: String, _ body: [UInt8]) -> Probe.Answer { probe.answers[probe.open(path, body: body)]! }
        for path in ["/test.T/Echo", "/test.T/Many"] {
            #expect(call(path, []).status == 13)
            #expect(call(path, frame(text("1")) + frame(text("1"))).status == 13)
            #expect(call(path, frame(text("1")) + [0]).status == 13)
            #expect(call(path, Array(frame(text("123")).dropLast())).status == 13)
            #expect(call(path, [0, 0, 0]).status == 13)
            #expect(call(path, [9, 0, 0, 0, 0]).status == 13)
        }
        #expect(probe.server.loop.counters.handled(0, .ok) == 0)
    }

    @Test func tooLargeIsRefusedAtThePrefix() throws {
        var configuration = ServerConfiguration()
        configuration.limits.receivedMessageBytesMax = 1000
        let probe = Probe(try EmbeddedServer(configuration))
        for path in ["/test.T/Echo", "/test.T/Bidi"] {
            let id = probe.open(path, body: [0, 0, 0, 3, 0xe9], end: false)
            #expect(probe.answers[id]?.status == 8)
            #expect(probe.answers[id]?.message == "grpc: received message larger than max (1001 vs. 1000)")
            #expect(probe.answers[id]?.closedWith == .noError)
        }
        #expect(probe.call("/test.T/Echo", Array(repeating: 1, count: 1000)).status == 0)
        #expect(probe.call("/test.T/Echo", Array(repeating: 1, count: 1001)).status == 8)
    }

    @Test func answersAboveTheSendLimitFail() throws {
        var configuration = ServerConfiguration()
        configuration.limits.sentMessageBytesMax = 100
        let probe = Probe(try EmbeddedServer(configuration))
        let answer = probe.call("/test.T/Echo", Array(repeating: 1, count: 101))
        #expect(answer.status == 8)
        #expect(answer.message == "grpc: trying to send message larger than max (101 vs. 100)")
        #expect(probe.call("/test.T/Sliced", text("101 101")).status == 8)
        #expect(probe.server.dispatcher.bodies[0].isCancelled)
    }

    // MARK: gzip

    private func packed(_ plain: [UInt8]) -> [UInt8] {
        let gzip = Gzip()
        plain.withUnsafeBytes { gzip.compress($0) }
        return Array(gzip.output.readable)
    }

    @Test func gzipBothWays() throws {
        let probe = Probe(try EmbeddedServer())
        let plain = Array(repeating: UInt8(7), count: 10_000)
        for path in ["/test.T/Echo", "/test.T/Bidi"] {
            let id = probe.open(path, more: [("grpc-encoding", "gzip")], body: frame(packed(plain), compressed: true))
            let answer = probe.answers[id]!
            #expect(answer.status == 0 && answer.header("grpc-encoding") == "gzip")
            #expect(answer.data.first == 1 && answer.data.count < 200)
            let message = answer.messages![0]
            let gzip = Gzip()
            try message.withUnsafeBytes { try gzip.decompress($0, bytesMax: 20_000) }
            #expect(Array(gzip.output.readable) == plain)
        }
        // Not compressed by the client itself: not compressed by us, whatever it accepts.
        let accepts = probe.call("/test.T/Echo", plain, more: [("grpc-accept-encoding", "gzip")])
        #expect(accepts.messages == [plain] && accepts.header("grpc-encoding") == nil)
    }

    @Test func gzipBombIsBounded() throws {
        let probe = Probe(try EmbeddedServer())
        let bomb = packed(Array(repeating: 0, count: 64 << 20))
        #expect(bomb.count < 1 << 20)
        let id = probe.open("/test.T/Echo", more: [("grpc-encoding", "gzip")], body: frame(bomb, compressed: true))
        #expect(probe.answers[id]?.status == 8)
        #expect(probe.server.loop.gzip.output.count <= ServerConfiguration().limits.receivedMessageBytesMax + 1)
    }

    @Test func badCompression() throws {
        let probe = Probe(try EmbeddedServer())
        let unknown = probe.call("/test.T/Echo", [], more: [("grpc-encoding", "snappy")])
        #expect(unknown.status == 12 && unknown.header("grpc-accept-encoding") == "gzip")
        #expect(unknown.message == "grpc: Decompressor is not installed for grpc-encoding \"snappy\"")
        let unannounced = probe.open("/test.T/Echo", body: frame(packed([1]), compressed: true))
        #expect(probe.answers[unannounced]?.status == 13)
        let broken = probe.open(
            "/test.T/Echo", more: [("grpc-encoding", "gzip")], body: frame([1, 2, 3], compressed: true))
        #expect(probe.answers[broken]?.status == 13)
    }

    // MARK: Metadata, deadlines, lateness

    @Test func metadata() throws {
        let probe = Probe(try EmbeddedServer())
        _ = probe.call("/test.T/Echo", [], more: [("x-other", "1"), ("x-test", "value"), ("x-test", "second")])
        #expect(probe.server.dispatcher.lastMetadata == "value")
        _ = probe.call("/test.T/Echo", [])
        #expect(probe.server.dispatcher.lastMetadata == nil)
    }

    @Test func deadlineEndsACall() throws {
        let probe = Probe(try EmbeddedServer())
        let unary = probe.open("/test.T/Hold", more: [("grpc-timeout", "100m")], body: frame([]))
        let stream = probe.open("/test.T/Bidi", more: [("grpc-timeout", "200m")], body: frame([1]), end: false)
        probe.server.advance(.milliseconds(90))
        probe.exchange()
        #expect(probe.answers[unary]?.status == nil)
        probe.server.advance(.milliseconds(30))
        probe.exchange()
        #expect(probe.answers[unary]?.status == 4)
        #expect(probe.answers[unary]?.message == "context deadline exceeded")
        #expect(probe.server.dispatcher.cancelled == 1)
        probe.server.advance(.milliseconds(100))
        probe.exchange()
        #expect(probe.answers[stream]?.status == 4)
        #expect(probe.server.dispatcher.handlers[0].events == ["cancelled"])
        // A late answer goes nowhere.
        probe.server.dispatcher.held[0].reply([1, 2, 3])
        probe.exchange()
        #expect(probe.answers[unary]?.data.isEmpty == true)
        #expect(probe.server.loop.counters.handled(1, .deadlineExceeded) == 1)
        // Time that is over before the request has been read: not even a call that would be answered at once is.
        for timeout in ["0n", "1n", "0S", "0H", "9u"] {
            let answer = probe.call("/test.T/Echo", [1], more: [("grpc-timeout", timeout)])
            #expect(answer.status == 4 && answer.message == "context deadline exceeded", "\(timeout)")
        }
    }

    @Test func resetTellsTheApplicationOnce() throws {
        let probe = Probe(try EmbeddedServer())
        let unary = probe.open("/test.T/Hold", body: frame([]))
        let stream = probe.open("/test.T/Bidi", body: frame([1]), end: false)
        probe.reset(streamID: unary, code: .cancel)
        probe.reset(streamID: stream, code: .cancel)
        probe.exchange()
        #expect(probe.server.dispatcher.cancelled == 1)
        #expect(probe.server.dispatcher.handlers[0].events == ["cancelled"])
        #expect(!probe.server.dispatcher.held[0].isLive)
        #expect(probe.server.loop.counters.handled(1, .cancelled) == 1)
        probe.server.disconnect()
        #expect(probe.server.dispatcher.cancelled == 1)
    }

    @Test func lostConnectionTellsTheApplication() throws {
        let probe = Probe(try EmbeddedServer())
        probe.consumes = false
        probe.open("/test.T/Hold", body: frame([]))
        probe.open("/test.T/Bidi", body: frame([1]), end: false)
        probe.open("/test.T/Sliced", body: frame(text("10000000 10000000")))
        probe.server.disconnect()
        #expect(probe.server.dispatcher.cancelled == 1)
        #expect(probe.server.dispatcher.handlers[0].events == ["cancelled"])
        #expect(probe.server.dispatcher.bodies[0].isCancelled)
        #expect(probe.server.dispatcher.held[0].connection == nil)
        probe.server.dispatcher.held[0].reply([])
        probe.server.dispatcher.handlers[0].call.send([1])
        probe.server.dispatcher.handlers[0].call.finish()
        #expect(probe.server.loop.handlers.isEmpty)
    }

    /// A call that somebody holds is not given to another stream; its late answer reaches nobody.
    @Test func heldCallsAreNotUsedAgain() throws {
        let probe = Probe(try EmbeddedServer())
        let first = probe.open("/test.T/Hold", body: frame([]))
        probe.reset(streamID: first, code: .cancel)
        probe.exchange()
        let late = probe.server.dispatcher.held.removeLast()
        for _ in 0..<20 {
            let id = probe.open("/test.T/Hold", body: frame([]))
            #expect(probe.server.dispatcher.held.last !== late)
            late.reply([0xbb])
            late.fail(RPCStatus(.internal, "late"))
            probe.exchange()
            #expect(probe.answers[id]?.status == nil)
            probe.server.dispatcher.held.removeLast().reply([1])
            probe.exchange()
            #expect(probe.answers[id]?.messages == [[1]])
        }
    }

    /// Calls that nobody holds are used again, on both sides.
    @Test func callsComeFromThePool() throws {
        let probe = Probe(try EmbeddedServer())
        let first = probe.call("/test.T/Echo", [1])
        let connection = try #require(probe.server.http2)
        #expect(first.status == 0 && connection.pool.count == 1)
        let pooled = ObjectIdentifier(connection.pool[0])
        for path in ["/test.T/Echo", "/test.T/Fail", "/test.T/Nope", "/test.T/Echo"] {
            _ = probe.call(path, [1], more: [("grpc-timeout", "1S")])
            #expect(connection.pool.map { ObjectIdentifier($0) } == [pooled])
        }
        #expect(connection.pool[0].deadline == nil && connection.pool[0].metadata("x-test") == nil)
    }

    @Test func onlyTheFirstAnswerCounts() throws {
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Hold", body: frame([]))
        let call = probe.server.dispatcher.held[0]
        call.reply([1])
        call.reply([2])
        call.fail(RPCStatus(.internal, "no"))
        call.finish()
        probe.exchange()
        #expect(probe.answers[id]?.messages == [[1]] && probe.answers[id]?.status == 0)
    }
}
