import NIOCore
import NIOEmbedded
import Testing
import TransportSecurity

@Suite struct ClosingTests {
    @Test(arguments: TLSVersion.allCases) func closeNotifyIsNoError(version: TLSVersion) throws {
        let pair = try TransferTests.connected(version: version)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "last words"), promise: nil)
        try pair.client.channel.close().wait()
        #expect(!pair.client.isOpen)
        try pair.server.receive(pair.client.takeOutput())
        #expect(String(buffer: pair.server.recorder.bytes) == "last words")
        #expect(pair.server.recorder.errors == [])
        #expect(pair.server.recorder.isInactive && !pair.server.isOpen)
        // The server has answered with its own close_notify: an alert record, encrypted in TLS 1.3.
        #expect(try pair.server.takeOutput().readableBytes > 0)
    }

    @Test(arguments: TLSVersion.allCases) func truncationIsAnError(version: TLSVersion) throws {
        let pair = try TransferTests.connected(version: version)
        let promise = pair.server.channel.eventLoop.makePromise(of: Void.self)
        pair.server.channel.write(ByteBuffer(string: "never flushed"), promise: promise)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "half"), promise: nil)
        try pair.server.receive(pair.client.takeOutput())
        pair.server.channel.pipeline.fireChannelInactive()
        #expect(String(buffer: pair.server.recorder.bytes) == "half")
        #expect(pair.server.recorder.errors.map(\.code) == [.truncated])
        #expect(pair.server.recorder.errors.first?.isRoutine == true)
        #expect(pair.server.recorder.isInactive)
        #expect(throws: TLSError.self) { try promise.futureResult.wait() }
    }

    @Test func endOfStreamWithoutCloseNotify() throws {
        let pair = try TransferTests.connected(halfClosure: true)
        pair.server.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        pair.server.channel.embeddedEventLoop.run()
        #expect(pair.server.recorder.errors.map(\.code) == [.truncated])
        #expect(!pair.server.recorder.inputClosed)
        #expect(!pair.server.isOpen)
    }

    @Test(arguments: TLSVersion.allCases) func halfClosure(version: TLSVersion) throws {
        let pair = try TransferTests.connected(version: version, halfClosure: true)
        pair.client.channel.write(ByteBuffer(string: "question"), promise: nil)
        pair.client.channel.close(mode: .output, promise: nil)
        let late = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "too late"), promise: late)
        #expect(throws: ChannelError.self) { try late.futureResult.wait() }
        try pair.server.receive(pair.client.takeOutput())
        #expect(String(buffer: pair.server.recorder.bytes) == "question")
        #expect(pair.server.recorder.inputClosed)
        #expect(pair.server.isOpen)
        pair.server.channel.writeAndFlush(ByteBuffer(string: "answer"), promise: nil)
        let answer = try pair.server.takeOutput()
        #expect(answer.readableBytes > 0)
        try pair.server.channel.close().wait()
        #expect(pair.server.recorder.errors == [])
    }

    @Test func closeDuringTheHandshake() throws {
        let files = try Certificates()
        let pair = try Pair(files.serverConfiguration(), files.clientConfiguration())
        let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "x"), promise: promise)
        try pair.client.channel.close().wait()
        #expect(throws: ChannelError.self) { try promise.futureResult.wait() }
        #expect(pair.client.recorder.errors == [])
        pair.server.channel.pipeline.fireChannelInactive()
        #expect(pair.server.recorder.errors.map(\.code) == [.closedDuringHandshake])
    }

    @Test(arguments: [true, false]) func handshakeTimeout(isServer: Bool) throws {
        let files = try Certificates()
        let pair = try Pair(files.serverConfiguration(), files.clientConfiguration())
        let side = isServer ? pair.server : pair.client
        let loop = side.channel.embeddedEventLoop
        loop.advanceTime(by: .milliseconds(9_999))
        #expect(side.isOpen)
        loop.advanceTime(by: .milliseconds(1))
        #expect(side.recorder.errors.map(\.code) == [.handshakeTimeout])
        #expect(side.recorder.errors.first?.message == "no handshake within 10.0 s")
        #expect(!side.isOpen)
    }

    @Test func noTimeoutAfterTheHandshake() throws {
        let pair = try TransferTests.connected()
        pair.server.channel.embeddedEventLoop.advanceTime(by: .hours(1))
        #expect(pair.server.isOpen)
        #expect(pair.server.recorder.errors == [])
    }

    /// Holds every write, as a peer that reads nothing does.
    final class Clog: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var promises: [EventLoopPromise<Void>?] = []
        var isOn = false

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            if isOn { promises.append(promise) } else { context.write(data, promise: promise) }
        }
    }

    @Test func closeDoesNotWaitForEver() throws {
        let pair = try TransferTests.connected()
        let clog = Clog()
        try pair.client.channel.pipeline.syncOperations.addHandler(clog, position: .first)
        clog.isOn = true
        let write = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "stuck"), promise: write)
        var closed = 0
        for _ in 0..<2 { pair.client.channel.close().assumeIsolated().whenSuccess { closed += 1 } }
        let loop = pair.client.channel.embeddedEventLoop
        loop.advanceTime(by: .milliseconds(4_999))
        #expect(pair.client.isOpen)
        #expect(closed == 0)
        loop.advanceTime(by: .milliseconds(1))
        #expect(!pair.client.isOpen)
        #expect(closed == 2)
        #expect(clog.promises.count == 2)
        for promise in clog.promises { promise?.fail(ChannelError.ioOnClosedChannel) }
        #expect(throws: ChannelError.self) { try write.futureResult.wait() }
    }

    @Test func handlerTakenOutFailsWhatWaits() throws {
        let files = try Certificates()
        let pair = try Pair(files.serverConfiguration(), files.clientConfiguration())
        let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.write(ByteBuffer(string: "x"), promise: promise)
        pair.client.finish()
        #expect(throws: (any Error).self) { try promise.futureResult.wait() }
    }
}
