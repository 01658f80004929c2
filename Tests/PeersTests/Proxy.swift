import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Stands between two members on TCP, and cuts or stalls what goes through it.
final class Proxy: Sendable {
    private struct State {
        var channels: [any Channel] = []
        var isStalled = false
        var forwardedBytes = 0
        /// Cuts every connection once so many bytes have gone to the server, once.
        var cutAfterBytes: Int?
        var cuts = 0
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
        if state.withLockedValue({ $0.refuses }) { return channel.close() }
        return ClientBootstrap(group: channel.eventLoop).channelOption(.autoRead, value: false)
            .connect(host: "127.0.0.1", port: port).flatMap { server in
                self.state.withLockedValue { $0.channels += [channel, server] }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Forwarder(to: server, proxy: self, counts: true))
                    try server.pipeline.syncOperations.addHandler(Forwarder(to: channel, proxy: self, counts: false))
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

    /// Goes on accepting, and forwards nothing: a half-open network.
    func stall() { state.withLockedValue { $0.isStalled = true } }

    func refuse(_ refuses: Bool) { state.withLockedValue { $0.refuses = refuses } }

    func cut(afterBytes bytes: Int) { state.withLockedValue { $0.cutAfterBytes = $0.forwardedBytes + bytes } }

    var cuts: Int { state.withLockedValue { $0.cuts } }

    func stop() async {
        cut()
        try? await listener.close()
    }

    fileprivate enum Verdict { case forward, hold, cut }

    fileprivate func note(_ bytes: Int) -> Verdict {
        state.withLockedValue { state in
            if state.isStalled { return .hold }
            state.forwardedBytes += bytes
            if let limit = state.cutAfterBytes, state.forwardedBytes >= limit {
                state.cutAfterBytes = nil
                return .cut
            }
            return .forward
        }
    }
}

private final class Forwarder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let proxy: Proxy
    private let counts: Bool

    init(to other: any Channel, proxy: Proxy, counts: Bool) {
        self.other = other
        self.proxy = proxy
        self.counts = counts
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { context.read() }
    }

    func channelActive(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        switch proxy.note(counts ? bytes.readableBytes : 0) {
        case .forward:
            // The next read waits for this write: the proxy holds one buffer for each direction.
            let channel = context.channel
            other.writeAndFlush(bytes).whenComplete { _ in channel.read() }
        case .hold: break
        case .cut: proxy.cut()
        }
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
