import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport
import Testing

extension ClusterTests {
    /// The links of the chaos tests do to connections what they say. Both ends are in this process.
    @Suite("links between members", .besideOthers) struct LinksTests {
        private static let count = 1 << 20

        /// Byte n of what is sent.
        private static func byte(_ place: Int) -> UInt8 { UInt8(truncatingIfNeeded: place &* 31 &+ place >> 8) }

        @Test("what is sent over a slow link comes late, whole, in order and no faster than the link is")
        func slow() async throws {
            try await withLink { links, end in
                links.set(.slow(.milliseconds(100)), from: "sender", to: "end")
                let start = ContinuousClock.now
                try await end.send(0..<Self.count)
                try await eventually("the first piece comes") { end.received > 0 }
                #expect(ContinuousClock.now - start >= .milliseconds(100))
                try await eventually("everything comes") { end.received == Self.count }
                // With 64 KiB and one piece more under way at the most, that is at least eight times as long.
                #expect(ContinuousClock.now - start >= .milliseconds(800))
                #expect(links.effects.delayed > 8 && links.effects.held == 0 && links.effects.broken == 0)
            }
        }

        @Test("a link goes from one condition to the next and loses nothing while its connections stay")
        func changes() async throws {
            try await withLink { links, end in
                let conditions: [Links.Condition] = [
                    .slow(.seconds(600)), .silent, .slow(.milliseconds(20)), .silent, .open, .slow(.seconds(600)),
                    .open,
                ]
                let part = Self.count / conditions.count
                for (place, condition) in conditions.enumerated() {
                    links.set(condition, from: "sender", to: "end")
                    end.sendLater(place * part..<(place + 1) * part)
                    try await Task.sleep(for: .milliseconds(50))
                    // It is read while the link is slow, and waits there.
                    if place == 0 { try await eventually("it is delayed") { links.effects.delayed > 0 } }
                    if place == 1 { #expect(end.received == 0, "a link of ten minutes was faster") }
                }
                try await eventually("everything comes") { end.received == part * conditions.count }
                #expect(links.effects.delayed > 0 && links.effects.broken == 0)
            }
        }

        @Test("a silent link holds, and a broken one closes")
        func cuts() async throws {
            try await withLink { links, end in
                links.set(.silent, from: "sender", to: "end")
                try await end.send(0..<10)
                try await eventually("it is held") { links.effects.held == 1 }
                #expect(end.received == 0)
                // The other direction is a link of its own.
                links.set(.broken, from: "end", to: "sender")
                #expect(links.effects.broken == 0)
                links.openAll()
                try await eventually("it comes") { end.received == 10 }
                links.set(.broken, from: "sender", to: "end")
                try await eventually("it is closed") { !end.isOpen }
                #expect(links.effects == Links.Effects(held: 1, broken: 2, delayed: 0))
            }
        }

        private func withLink(_ body: (Links, LinkEnd) async throws -> Void) async throws {
            let links = Links()
            links.adopt("sender") { getpid() }
            let end = try await LinkEnd(expected: Self.byte) { try await links.open(to: "end", port: $0) }
            do {
                // A condition that is set earlier meets no connection, only somebody who asks for one.
                try await end.send(-1..<0)
                try await eventually("the way is open") { end.received == 0 }
                try await body(links, end)
                #expect(end.isInOrder)
            } catch {
                await end.close()
                await links.close()
                throw error
            }
            await end.close()
            await links.close()
        }
    }
}

/// Both ends of one connection over a link.
private final class LinkEnd: Sendable {
    private struct State {
        /// Of what is sent; one byte opens the way.
        var received = -1
        var isInOrder = true
    }

    private let state = NIOLockedValueBox(State())
    private let expected: @Sendable (Int) -> UInt8
    private let listener: any Channel
    private let sender: any Channel

    /// - Parameters:
    ///   - expected: byte n of what is sent.
    ///   - link: opens the way to a port, and returns the port at its other end.
    init(expected: @escaping @Sendable (Int) -> UInt8, _ link: (Int) async throws -> Int) async throws {
        self.expected = expected
        let state = state
        listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Receiver { bytes in
                            state.withLockedValue { state in
                                for byte in bytes.readableBytesView {
                                    if byte != expected(state.received) { state.isInOrder = false }
                                    state.received += 1
                                }
                            }
                        })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = listener.localAddress?.port else { throw TestFailure("a listener without a port") }
        sender = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: try await link(port)).get()
    }

    var received: Int { state.withLockedValue { $0.received } }
    var isInOrder: Bool { state.withLockedValue { $0.isInOrder } }
    var isOpen: Bool { sender.isActive }

    func send(_ places: Range<Int>) async throws {
        try await sender.writeAndFlush(ByteBuffer(bytes: places.map(expected))).get()
    }

    /// Does not wait until the link takes it.
    func sendLater(_ places: Range<Int>) { sender.writeAndFlush(ByteBuffer(bytes: places.map(expected)), promise: nil) }

    func close() async {
        try? await sender.close()
        try? await listener.close()
    }
}

private final class Receiver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let take: (ByteBuffer) -> Void

    init(_ take: @escaping (ByteBuffer) -> Void) { self.take = take }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { take(unwrapInboundIn(data)) }
}
