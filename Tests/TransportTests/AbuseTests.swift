import NIOCore
import NIOEmbedded
import Primitives
import Testing

@testable import Transport

/// Peers that break the rules, or stretch them.
struct AbuseTests {
    private static let calm: UInt32 = 0xb

    @Test func pingsAreAnsweredUntilTheyAreTooMany() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        for _ in 0..<20 {
            server.advance(.seconds(5))
            probe.ping(1)
            probe.exchange()
        }
        #expect(probe.pongs == 20 && probe.goAway == nil)
        for _ in 0..<4 {
            probe.ping(1)
            probe.exchange()
        }
        #expect(probe.goAway == nil)
        probe.ping(1)
        probe.exchange()
        #expect(probe.goAway?.code == .enhanceYourCalm && probe.goAway?.debug == "too_many_pings")
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func pingsBetweenAnswersAreFree() throws {
        let probe = Probe(try EmbeddedServer())
        for _ in 0..<100 {
            #expect(probe.call("/test.T/Echo", [1]).status == 0)
            for _ in 0..<4 { probe.ping(1) }
            probe.exchange()
        }
        #expect(probe.goAway == nil && probe.pongs == 400)
    }

    /// gRPC in Go measures the path by pings while a long answer comes; a snapshot was cut off for it.
    @Test func pingsWhileAnAnswerFlowsAreFree() throws {
        let probe = Probe(try EmbeddedServer())
        let id = probe.open("/test.T/Bidi", end: false)
        for _ in 0..<100 {
            probe.write(id, frame([1]))
            for _ in 0..<4 { probe.ping(1) }
            probe.exchange()
        }
        #expect(probe.goAway == nil && probe.pongs == 400)
    }

    @Test func rapidResetIsCut() throws {
        var configuration = ServerConfiguration()
        configuration.limits.resetsBurst = 100
        configuration.limits.resetsPerSecond = 10
        let server = try EmbeddedServer(configuration)
        server.send(RawFrames.start)
        var stream: UInt32 = 1
        while server.isOpen, stream < 1000 {
            server.send(RawFrames.headers(stream: stream) + RawFrames.frame(3, stream: stream, [0, 0, 0, 8]))
            stream += 2
            if RawFrames.goAway(server.output())?.code == Self.calm { break }
        }
        #expect(stream > 190 && stream < 220)
        server.advance(.seconds(1))
        #expect(!server.isOpen)
        #expect(server.loop.counters.connectionsRefused == 1)
    }

    /// gRPC cancels by a reset: a client that opens, is answered and cancels, as often as it likes, is no attacker.
    @Test func answeredStreamsMayBeCancelled() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        for _ in 0..<3000 {
            let id = probe.open("/test.T/Bidi", body: frame([1]), end: false)
            probe.reset(streamID: id, code: .cancel)
        }
        probe.exchange()
        #expect(probe.goAway == nil && server.loop.counters.streamsOpened == 3000)
        #expect(probe.call("/test.T/Echo", [1]).status == 0)
    }

    /// Calls given up before their answer have an allowance of their own, which is larger and has an end, too.
    @Test func unansweredCallsMayBeCancelledWithinBounds() throws {
        var configuration = ServerConfiguration()
        configuration.limits.resetsBurst = 10
        configuration.limits.servedResetsBurst = 3000
        configuration.limits.servedResetsPerSecond = 1
        let server = try EmbeddedServer(configuration)
        let probe = Probe(server)
        var count = 0
        while probe.goAway == nil, count < 4000 {
            let id = probe.open("/test.T/Hold", body: frame([1]))
            probe.reset(streamID: id, code: .cancel)
            probe.exchange()
            count += 1
        }
        #expect(count > 2900 && count < 3100, "cut after \(count)")
        #expect(probe.goAway?.code == .enhanceYourCalm && probe.goAway?.debug == "too_many_resets")
        #expect(server.dispatcher.cancelled >= 3000)
    }

    /// The peer makes us reset its streams (CVE-2025-8671): a window overflow each.
    @Test func madeYouResetIsCut() throws {
        var configuration = ServerConfiguration()
        configuration.limits.resetsBurst = 100
        configuration.limits.resetsPerSecond = 10
        let server = try EmbeddedServer(configuration)
        server.send(RawFrames.start)
        var stream: UInt32 = 1
        var code: UInt32?
        while server.isOpen, code == nil, stream < 1000 {
            let update = RawFrames.frame(8, stream: stream, [0x7f, 0xff, 0xff, 0xff])
            server.send(RawFrames.headers(stream: stream, path: "/test.T/Bidi") + update + update)
            code = RawFrames.goAway(server.output())?.code
            stream += 2
        }
        #expect(code == Self.calm)
    }

    @Test(arguments: [
        RawFrames.frame(4), RawFrames.frame(2, stream: 99, [0, 0, 0, 0, 1]), RawFrames.frame(0xfa, [1, 2]),
    ])
    func controlFrameFloodIsCut(flood: [UInt8]) throws {
        let server = try EmbeddedServer()
        server.send(RawFrames.start)
        var sent = 0
        var code: UInt32?
        while server.isOpen, code == nil, sent < 3000 {
            server.send(flood)
            sent += 1
            code = RawFrames.goAway(server.output())?.code
        }
        // PRIORITY and unknown types are dropped by nghttp2 and cost nothing.
        if flood[3] != 4 { #expect(sent == 3000) } else { #expect(code == Self.calm && sent < 1100) }
    }

    @Test func emptyDataFloodIsCut() throws {
        let server = try EmbeddedServer()
        server.send(RawFrames.start + RawFrames.headers(stream: 1, path: "/test.T/Bidi"))
        for _ in 0..<1500 where server.isOpen { server.send(RawFrames.data(stream: 1, [], end: false)) }
        #expect(RawFrames.goAway(server.output())?.code == Self.calm)
    }

    @Test func unreadAcknowledgementsAreBounded() throws {
        var configuration = ServerConfiguration()
        configuration.keepalive.pingStrikesMax = 1_000_000
        let server = try EmbeddedServer(configuration)
        server.send(RawFrames.start)
        server.channel.isWritable = false
        for _ in 0..<5000 where server.isOpen { server.send(RawFrames.frame(6, Array(repeating: 1, count: 8))) }
        server.advance(.seconds(61))
        #expect(!server.isOpen)
        #expect(server.output().count < 64 * 1024)
    }

    @Test func socketThatTakesNothingIsClosed() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        server.channel.isWritable = false
        probe.open("/test.T/Echo", body: frame([1]))
        server.advance(.seconds(59))
        #expect(server.isOpen)
        server.advance(.seconds(2))
        #expect(!server.isOpen)
    }

    @Test func nothingIsWrittenWhileTheSocketIsFull() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        server.channel.isWritable = false
        let id = probe.open("/test.T/Sliced", body: frame(text("1000000 1000000")))
        #expect(probe.answers[id]!.data.isEmpty)
        #expect(server.dispatcher.bodies[0].produced == 0)
        server.channel.isWritable = true
        server.channel.pipeline.fireChannelWritabilityChanged()
        probe.exchange()
        #expect(probe.answers[id]?.status == 0)
    }

    @Test func continuationFloodIsCut() throws {
        let server = try EmbeddedServer()
        server.send(
            RawFrames.start + RawFrames.frame(1, stream: 1, RawFrames.fields(RawFrames.request("/test.T/Echo"))))
        for index in 0..<50 where server.isOpen {
            server.send(RawFrames.frame(9, stream: 1, RawFrames.fields([("x-\(index)", "v")])))
        }
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func headerListLimit() throws {
        let probe = Probe(try EmbeddedServer())
        let big = String(repeating: "v", count: 4000)
        let fits = probe.call("/test.T/Echo", [1], more: (0..<10).map { ("x-\($0)", big) })
        #expect(fits.status == 0)
        let over = probe.open(
            "/test.T/Echo", more: (0..<14).map { ("x-\($0)", big) } + (0..<300).map { ("y-\($0)", "") })
        #expect(probe.answers[over]?.header(":status") == "431" && probe.answers[over]?.status == 8)
        #expect(probe.call("/test.T/Echo", [1]).status == 0)
    }

    /// A few bytes of HPACK that stand for megabytes of headers.
    @Test func hpackBombIsBounded() throws {
        let server = try EmbeddedServer()
        let stored =
            [0x40] + RawFrames.integer(1) + text("b") + RawFrames.integer(3000)
            + Array(repeating: UInt8(0x61), count: 3000)
        let block = RawFrames.fields(RawFrames.request("/test.T/Echo")) + stored + Array(repeating: 0xbe, count: 12_000)
        server.send(RawFrames.start + RawFrames.frame(1, flags: 5, stream: 1, block))
        #expect(server.isOpen)
        #expect(server.loop.counters.started[0] == 0)
        #expect(RawFrames.parse(server.output()).contains { $0.stream == 1 })
        // The compression state is intact: the next request works.
        server.send(RawFrames.headers(stream: 3) + RawFrames.data(stream: 3, frame([1])))
        #expect(server.loop.counters.handled(0, .ok) == 1)
    }

    @Test func streamsBeyondTheLimitAreRefused() throws {
        var configuration = ServerConfiguration()
        configuration.limits.concurrentStreamsMax = 10
        let server = try EmbeddedServer(configuration)
        server.send(RawFrames.start)
        for index in 0..<20 { server.send(RawFrames.headers(stream: UInt32(index * 2 + 1), path: "/test.T/Bidi")) }
        let resets = RawFrames.parse(server.output()).filter { $0.type == 3 }
        #expect(resets.count == 10 && resets.allSatisfy { $0.payload == [0, 0, 0, 7] })
        #expect(server.dispatcher.handlers.count == 10)
    }

    // MARK: Time

    @Test func prefaceAndHeadersHaveATimeLimit() throws {
        for first in [[], text("PR"), RawFrames.preface, text("GET / HT")] {
            let server = try EmbeddedServer()
            server.send(first)
            server.advance(.seconds(9))
            #expect(server.isOpen)
            server.advance(.seconds(2))
            #expect(!server.isOpen)
        }
        let server = try EmbeddedServer()
        server.send(RawFrames.start)
        server.advance(.seconds(100))
        #expect(server.isOpen)
        server.send(Array(RawFrames.headers(stream: 1)[..<9]))
        server.send(Array(RawFrames.headers(stream: 1)[9..<20]))
        server.advance(.seconds(9))
        #expect(server.isOpen)
        server.advance(.seconds(2))
        #expect(!server.isOpen)
    }

    @Test func silentPeersAreProbedAndDropped() throws {
        var configuration = ServerConfiguration()
        configuration.keepalive.interval = .seconds(60)
        let server = try EmbeddedServer(configuration)
        let probe = Probe(server)
        server.advance(.seconds(61))
        probe.exchange()
        #expect(probe.pings == 1)
        server.advance(.seconds(50))
        #expect(server.isOpen)
        server.advance(.seconds(11))
        #expect(RawFrames.parse(server.output()).contains { $0.type == 6 })
        server.advance(.seconds(19))
        #expect(server.isOpen)
        server.advance(.seconds(2))
        #expect(!server.isOpen)
    }

    // MARK: Shutdown

    @Test func shutdownLetsStreamsFinish() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        let held = probe.open("/test.T/Hold", body: frame([]))
        let stream = probe.open("/test.T/Bidi", body: frame([1]), end: false)
        server.loop.beginShutdown()
        probe.exchange()
        #expect(probe.goAway?.code == .noError)
        #expect(server.dispatcher.handlers[0].events == ["shuttingDown"])
        #expect(server.isOpen)
        server.dispatcher.held[0].reply([5])
        probe.write(stream, frame([2]), end: true)
        probe.exchange()
        #expect(probe.answers[held]?.messages == [[5]])
        #expect(probe.answers[stream]?.messages == [[1], [2]] && probe.answers[stream]?.status == 0)
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func shutdownFailsWhatDoesNotFinish() throws {
        let server = try EmbeddedServer()
        let probe = Probe(server)
        let held = probe.open("/test.T/Hold", body: frame([]))
        let stream = probe.open("/test.T/Bidi", body: frame([1]), end: false)
        server.loop.beginShutdown()
        probe.exchange()
        server.loop.endShutdown()
        probe.exchange()
        #expect(probe.answers[held]?.status == 14)
        #expect(probe.answers[stream]?.status == 14)
        #expect(server.dispatcher.cancelled == 1)
        #expect(server.dispatcher.handlers[0].events == ["shuttingDown", "cancelled"])
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    // MARK: Detection

    @Test func alpnDecides() throws {
        let security = PipelineSecurity(install: { _ in }, inspect: { $0 as? ConnectionSecurity })
        for (name, http2) in [("h2", true), ("http/1.1", false)] {
            let server = try EmbeddedServer(security: security)
            server.send(text("GET /early HTTP/1.1\r\nHost: t\r\n\r\n"))
            #expect(server.output().isEmpty)
            let event = ConnectionSecurity(applicationProtocol: name, peerIdentity: nil)
            server.channel.pipeline.fireUserInboundEventTriggered(event)
            server.send(text("GET / HTTP/1.1\r\nhost: x\r\n\r\n"))
            server.advance(.seconds(1))
            let answer = String(decoding: server.output(), as: UTF8.self)
            #expect(answer.hasPrefix("HTTP/1.1 200") != http2)
            #expect(server.isOpen != http2)
        }
        let server = try EmbeddedServer(security: security)
        server.channel.pipeline.fireUserInboundEventTriggered(
            ConnectionSecurity(applicationProtocol: nil, peerIdentity: nil))
        #expect(Probe(server).call("/test.T/Echo", [1]).status == 0)
    }

    @Test func listenersWithoutGRPCSpeakHTTP1Only() throws {
        let server = try EmbeddedServer(isGRPCEnabled: false)
        server.send(RawFrames.start)
        #expect(!server.isOpen)
        let plain = try EmbeddedServer(isGRPCEnabled: false)
        plain.send(text("GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n"))
        #expect(String(decoding: plain.output(), as: UTF8.self).contains("GET /metrics"))
    }
}
