import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Stands between two members on TCP, and cuts or stalls what goes through it.
final class Proxy: Sendable {
    private struct State {
        var channels: [any Channel] = []
        /// Counts the cuts. What a connection still has to say after its cut is neither counted nor passed on.
        var cuts = 0
        var isStalled = false
        /// What came while stalled: one read of each direction at the most.
        var held: [@Sendable () -> Void] = []
        var forwardedBytes = 0
        /// Cuts every connection each time that so many bytes have gone to the server, so many times.
        var cutEvery = 0
        var cutsLeft = 0
        var refuses = false
    }

    let port: Int
    private let state = NIOLockedValueBox(State())
    private let listener: any Channel

    static func start(to port: Int) async throws -> Proxy {
        let holder = NIOLockedValueBox<Proxy?>(nil)
        let listener = try await ServerBootstrap(group: group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                guard let proxy = holder.withLockedValue({ $0 }) else { return channel.close() }
                return proxy.accept(channel, port)
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let proxy = Proxy(listener)
        holder.withLockedValue { $0 = proxy }
        return proxy
    }

    private init(_ listener: any Channel) {
        self.listener = listener
        port = listener.localAddress?.port ?? 0
    }

    private func accept(_ channel: any Channel, _ port: Int) -> EventLoopFuture<Void> {
        let (refuses, epoch) = state.withLockedValue { ($0.refuses, $0.cuts) }
        if refuses { return channel.close() }
        return ClientBootstrap(group: channel.eventLoop).channelOption(.autoRead, value: false)
            .connect(host: "127.0.0.1", port: port).flatMap { server in
                // A cut meanwhile is one of this connection too.
                let isTaken = self.state.withLockedValue { state in
                    guard state.cuts == epoch, !state.refuses else { return false }
                    state.channels += [channel, server]
                    return true
                }
                guard isTaken else {
                    server.close(promise: nil)
                    return channel.close()
                }
                return channel.eventLoop.makeCompletedFuture {
                    for (from, to, counts) in [(channel, server, true), (server, channel, false)] {
                        let forwarder = Forwarder(to: to, proxy: self, counts: counts, epoch: epoch)
                        try from.pipeline.syncOperations.addHandler(forwarder)
                    }
                }
            }
    }

    /// Closes every connection.
    func cut() {
        let channels = state.withLockedValue { state in
            state.cuts += 1
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { channel.close(promise: nil) }
    }

    /// Goes on accepting, and forwards nothing: a half-open network, until `goOn`.
    func stall() { state.withLockedValue { $0.isStalled = true } }

    /// Ends a stall; nothing is lost of what came meanwhile.
    func goOn() {
        let held = state.withLockedValue { state in
            state.isStalled = false
            defer { state.held = [] }
            return state.held
        }
        for forward in held { forward() }
    }

    func refuse(_ refuses: Bool) { state.withLockedValue { $0.refuses = refuses } }

    /// Cuts once so many more bytes have gone to the server, and again after as many, `times` in all.
    func cut(everyBytes bytes: Int, times: Int) {
        state.withLockedValue { state in
            state.cutEvery = bytes
            state.cutsLeft = times
            state.forwardedBytes = 0
        }
    }

    var cuts: Int { state.withLockedValue { $0.cuts } }

    func stop() async {
        cut()
        try? await listener.close()
    }

    /// Sees to what one direction of a connection has read: `forward` passes it on, now or after a stall.
    fileprivate func pass(_ bytes: Int, epoch: Int, forward: @escaping @Sendable () -> Void) {
        enum Verdict { case forward, keep, cut }
        let verdict = state.withLockedValue { state -> Verdict in
            if state.cuts != epoch { return .keep }
            if state.isStalled {
                state.held.append(forward)
                return .keep
            }
            state.forwardedBytes += bytes
            guard state.cutsLeft > 0, state.forwardedBytes >= state.cutEvery else { return .forward }
            state.cutsLeft -= 1
            state.forwardedBytes = 0
            return .cut
        }
        switch verdict {
        case .forward: forward()
        case .keep: break
        case .cut: cut()
        }
    }
}

private final class Forwarder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let proxy: Proxy
    private let counts: Bool
    private let epoch: Int

    init(to other: any Channel, proxy: Proxy, counts: Bool, epoch: Int) {
        self.other = other
        self.proxy = proxy
        self.counts = counts
        self.epoch = epoch
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { context.read() }
    }

    func channelActive(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        let (channel, other) = (context.channel, other)
        proxy.pass(counts ? bytes.readableBytes : 0, epoch: epoch) {
            // The next read waits for this write: the proxy holds one buffer for each direction.
            other.writeAndFlush(bytes).whenComplete { _ in channel.read() }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
