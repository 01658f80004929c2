import NIOCore
import Primitives
import Testing

@testable import Transport

struct StreamTests {
    @Test func echoMessageByMessage() throws {
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Bidi", end: false)
        for index in 0..<50 {
            probe.write(id, frame(text("\(index)")))
            #expect(probe.answers[id]?.messages?.last == text("\(index)"))
        }
        probe.write(id, frame([1]) + frame([2]) + frame([3]), end: true)
        #expect(probe.answers[id]?.messages?.count == 53)
        #expect(probe.answers[id]?.status == 0)
        #expect(probe.server.dispatcher.handlers[0].events == ["halfClosed"])
    }

    @Test(arguments: 0..<30) func messagesMayBeCutAnywhere(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Collect", end: false)
        let sizes = (0..<30).map { _ in random.next(in: 0..<3000) }
        var rest = sizes.flatMap { frame(Array(repeating: 1, count: $0)) }[...]
        while !rest.isEmpty {
            let count = min(rest.count, random.next(in: 1..<5000))
            probe.write(id, Array(rest.prefix(count)), end: count == rest.count)
            rest = rest.dropFirst(count)
        }
        #expect(probe.answers[id]?.messages == [text("\(sizes.reduce(0, +))")])
        #expect(probe.server.dispatcher.handlers[0].messages.map(\.count) == sizes)
        #expect(probe.server.loop.counters.streamsClosed == 1)
    }

    @Test func pausingAndResumingWithinAMessageLosesNone() throws {
        let probe = Probe(try EmbeddedServer())
        let messages = [7, 1, 7, 7, 3, 7].map { [UInt8](repeating: UInt8($0), count: $0) }
        let bytes = messages.flatMap { frame($0) }
        let whole = probe.open("/test.T/Collect", body: bytes)
        #expect(probe.answers[whole]?.messages == [text("32")])
        let cut = probe.open("/test.T/Collect", body: Array(bytes[..<8]), end: false)
        probe.write(cut, Array(bytes[8...]), end: true)
        #expect(probe.server.dispatcher.handlers.map(\.messages) == [messages, messages])
    }

    @Test func truncatedStreamFails() throws {
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Collect", body: frame([1]) + [0, 0, 0, 0, 9, 1])
        #expect(probe.answers[id]?.status == 13)
    }

    @Test func pausedReceivingHoldsTheWindow() throws {
        var configuration = ServerConfiguration()
        configuration.limits.streamWindowBytes = 100_000
        let probe = Probe(try EmbeddedServer(configuration))
        let id = probe.open("/test.T/Collect", end: false)
        let handler = probe.server.dispatcher.handlers[0]
        handler.call.pauseReceiving()
        for _ in 0..<50 { probe.write(id, frame(Array(repeating: 1, count: 10_000))) }
        #expect(handler.messages.isEmpty)
        #expect(handler.call.inbound.count <= 100_000)
        handler.call.resumeReceiving()
        probe.exchange()
        #expect(handler.messages.count == 50)
        probe.write(id, [], end: true)
        #expect(probe.answers[id]?.messages == [text("500000")])
        probe.write(probe.open("/test.T/Echo", body: frame([1])), [])
    }

    // MARK: Flow control

    @Test(arguments: [(0, 65_535), (1, 1), (1_000_000, 1), (5_000_000, 7), (3_000_000, 100_000), (70_000, 65_535)])
    func slicedBodyThroughSmallWindows(length: Int, window: Int32) throws {
        let probe = Probe(try EmbeddedServer(), window: window)
        if window < 100 {
            // One byte or a few at a time is slow; a part of it proves the same.
            probe.consumes = false
            let id = probe.open("/test.T/Sliced", body: frame(text("\(length) \(length)")))
            #expect(probe.answers[id]!.data.count == min(Int(window), length + 5))
            for _ in 0..<200 {
                probe.giveBack(Int(window), streamID: id)
                probe.exchange()
            }
            #expect(probe.answers[id]!.data.count == min(Int(window) * 201, length + 5))
            #expect(probe.server.dispatcher.bodies.first?.produced ?? 0 <= 2 * 65_536)
            return
        }
        let id = probe.open("/test.T/Sliced", body: frame(text("\(length) \(length)")))
        #expect(probe.answers[id]?.status == 0)
        #expect(probe.answers[id]?.messages?.first?.count == length)
        let right = probe.answers[id]!.messages![0].enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: $0) }
        #expect(right)
        #expect(probe.server.dispatcher.bodies.first.map { $0.largest <= 65_536 && !$0.isCancelled } ?? true)
    }

    @Test func bodyOfTheWrongLengthResets() throws {
        let probe = Probe(try EmbeddedServer())
        for request in ["100 50", "100 200", "100000 99999"] {
            let id = probe.open("/test.T/Sliced", body: frame(text(request)))
            #expect(probe.answers[id]?.status == nil)
            #expect(probe.answers[id]?.closedWith == .internalError)
        }
        #expect(probe.call("/test.T/Echo", [1]).status == 0)
    }

    @Test func sourceIsPulledAsTheWindowAllows() throws {
        let probe = Probe(try EmbeddedServer(), window: 10_000)
        probe.consumes = false
        let id = probe.open("/test.T/Source", body: frame(text("5000")))
        let handler = probe.server.dispatcher.handlers[0]
        #expect(probe.answers[id]!.data.count == 10_000)
        #expect(handler.pulls < 100)
        probe.giveBack(10_000, streamID: id)
        probe.consumes = true
        probe.exchange()
        #expect(probe.answers[id]?.messages?.count == 5000)
        #expect(probe.answers[id]?.status == 0)
    }

    @Test func pushedStreamStopsAtTheHighWaterMark() throws {
        let probe = Probe(try EmbeddedServer(), window: 10_000)
        probe.consumes = false
        let id = probe.open("/test.T/Many", body: frame(text("10000")))
        let handler = probe.server.dispatcher.handlers[0]
        let limits = ServerConfiguration().limits
        #expect(handler.call.bufferedBytes >= limits.streamHighWaterBytes - 12_000)
        #expect(handler.call.bufferedBytes < limits.streamHighWaterBytes + 12_000)
        #expect(handler.left > 0 && !handler.events.contains("writable"))
        probe.giveBack(10_000, streamID: id)
        probe.consumes = true
        probe.exchange()
        #expect(probe.answers[id]?.messages?.count == 10_000)
        #expect(handler.events.contains("writable"))
        #expect(probe.answers[id]?.status == 0)
    }

    /// One stream that is not read stalls nobody else, and holds no more than its mark.
    @Test func stalledStreamStallsNobody() throws {
        let probe = Probe(try EmbeddedServer(), window: 20_000)
        probe.consumes = false
        let stalled = probe.open("/test.T/Many", body: frame(text("100000")))
        #expect(probe.answers[stalled]?.data.count == 20_000)
        probe.consumes = true
        for _ in 0..<200 { #expect(probe.call("/test.T/Echo", Array(repeating: 1, count: 15_000)).status == 0) }
        let sliced = probe.open("/test.T/Sliced", body: frame(text("3000000 3000000")))
        #expect(probe.answers[sliced]?.messages?.first?.count == 3_000_000)
        #expect(
            probe.server.dispatcher.handlers[0].call.bufferedBytes <= ServerConfiguration().limits.streamHighWaterBytes
                + 2000)
    }

    /// Long answers share the connection frame by frame; a short one does not wait for their end.
    @Test func longAnswersTakeTurns() throws {
        var limits = HTTP2Limits()
        limits.streamWindowBytes = 1 << 24
        let server = try EmbeddedServer()
        let probe = Probe(server, window: 1 << 24)
        let ids = (0..<4).map { _ in
            probe.open("/test.T/Sliced", body: frame(text("900000 900000")), exchanging: false)
        }
        let short = probe.open("/test.T/Echo", body: frame([1]), exchanging: false)
        probe.exchange()
        for id in ids { #expect(probe.answers[id]?.messages?.first?.count == 900_000) }
        #expect(probe.answers[short]?.status == 0)
        let order = server.frameOrder(streams: ids.map { UInt32($0) } + [UInt32(short)])
        #expect(order.lastIndex(of: UInt32(short))! < 12)
        let firsts = ids.map { order.firstIndex(of: UInt32($0))! }
        #expect(firsts.max()! < 12)
        let lasts = ids.map { order.lastIndex(of: UInt32($0))! }
        #expect(lasts.max()! - lasts.min()! < 12)
    }

    @Test func bodyThatIsNotReadyGoesOnLater() throws {
        final class Slow: SlicedBody {
            var ready = 0
            func next(maxBytes: Int, into buffer: inout ByteBuffer) -> Bool {
                buffer.writeBytes(Array(repeating: 9, count: ready))
                defer { ready = 0 }
                return ready != 100
            }
            func cancelled() {}
        }
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Hold", body: frame([]))
        let body = Slow()
        let call = probe.server.dispatcher.held[0]
        call.reply(length: 150, body: body)
        probe.exchange()
        #expect(probe.answers[id]?.data.count == 5)
        body.ready = 50
        call.bodyReady()
        probe.exchange()
        #expect(probe.answers[id]?.data.count == 55)
        body.ready = 100
        call.bodyReady()
        probe.exchange()
        #expect(probe.answers[id]?.data.count == 155 && probe.answers[id]?.status == 0)
    }

    @Test func bufferedAnswersAreBounded() throws {
        var configuration = ServerConfiguration()
        configuration.limits.outboundBufferedBytesMax = 500_000
        let probe = Probe(try EmbeddedServer(configuration), window: 0)
        var refused = 0
        for _ in 0..<50 {
            let id = probe.open("/test.T/Echo", body: frame(Array(repeating: 1, count: 50_000)))
            if probe.answers[id]?.closedWith == .refusedStream { refused += 1 }
        }
        #expect(refused == 40)
    }

    @Test func unfinishedRequestsAreBounded() throws {
        var configuration = ServerConfiguration()
        configuration.limits.inboundBufferedBytesMax = 500_000
        let probe = Probe(try EmbeddedServer(configuration))
        var failed = 0
        for _ in 0..<50 {
            let body = Array(frame(Array(repeating: 1, count: 50_000)).dropLast())
            let id = probe.open("/test.T/Echo", body: body, end: false)
            if probe.answers[id]?.status == 8 { failed += 1 }
        }
        #expect(failed > 30)
        probe.server.disconnect()
    }
}
