import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport

/// The links between the members of a cluster: a TCP proxy before each member, which knows who dials it. A member sends
/// on the connections that it dials itself, so that a link has a direction.
///
/// Who dials is found through `/proc`: the socket at the other end belongs to one of the members' processes.
final class Links: Sendable {
    /// What a link does to the connections that one member dials to another.
    enum Condition: Sendable {
        case open
        /// Connections stay, and nothing comes through until the link is open again: packets are lost.
        case silent
        /// Connections are broken, and new ones too.
        case broken
    }

    private struct Link: Hashable { var from, to: String }

    private struct State {
        var listeners: [any Channel] = []
        var processes: [String: @Sendable () -> pid_t] = [:]
        var conditions: [Link: Condition] = [:]
        var channels: [Link: [any Channel]] = [:]
    }

    private let state = NIOLockedValueBox(State())

    /// Stands before the member `name`, which listens on `port`. Returns the port for the others.
    func open(to name: String, port: Int) async throws -> Int {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in self.accept(channel, to: name, port: port) }
            .bind(host: "127.0.0.1", port: try Ports.free()).get()
        state.withLockedValue { $0.listeners.append(listener) }
        guard let port = listener.localAddress?.port else { throw TestFailure("a listener without a port") }
        return port
    }

    /// Names the process of a member; it may change.
    func adopt(_ name: String, pid: @escaping @Sendable () -> pid_t) {
        state.withLockedValue { $0.processes[name] = pid }
    }

    /// Sets the condition of the link on which `from` sends to `to`.
    func set(_ condition: Condition, from: String, to: String) {
        let link = Link(from: from, to: to)
        let channels = state.withLockedValue { state in
            state.conditions[link] = condition
            state.channels[link, default: []].removeAll { !$0.isActive }
            return state.channels[link] ?? []
        }
        for channel in channels {
            switch condition {
            case .open: channel.pipeline.fireUserInboundEventTriggered(LinkOpened())
            case .silent: break
            case .broken: channel.close(promise: nil)
            }
        }
    }

    /// Cuts or mends both directions between one member and others.
    func set(_ condition: Condition, between name: String, and others: [String]) {
        for other in others where other != name {
            set(condition, from: name, to: other)
            set(condition, from: other, to: name)
        }
    }

    func openAll() {
        let links = state.withLockedValue { Array($0.conditions.keys) }
        for link in links { set(.open, from: link.from, to: link.to) }
    }

    func close() async {
        let (listeners, channels) = state.withLockedValue { ($0.listeners, $0.channels.values.flatMap { $0 }) }
        for channel in channels { channel.close(promise: nil) }
        for listener in listeners { try? await listener.close() }
    }

    private func accept(_ channel: any Channel, to name: String, port: Int) -> EventLoopFuture<Void> {
        let processes = state.withLockedValue { $0.processes }
        guard let remote = channel.remoteAddress?.port,
            let dialler = SocketOwner.find(localPort: remote, among: processes.mapValues { $0() })
        else { return channel.close() }
        let link = Link(from: dialler, to: name)
        let condition = state.withLockedValue { state in
            state.channels[link, default: []].append(channel)
            return state.conditions[link] ?? .open
        }
        switch condition {
        case .broken: return channel.close()
        case .silent:
            // Nothing is read: the handshake of the dialler is not answered. It is cut off when the link opens.
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ClosedWhenOpened())
            }
        case .open:
            return ClientBootstrap(group: channel.eventLoop).channelOption(.autoRead, value: false)
                .connect(host: "127.0.0.1", port: port).flatMap { target in
                    self.state.withLockedValue { $0.channels[link, default: []].append(target) }
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            Relay(to: target, isOpen: { self.isOpen(link) }))
                        try target.pipeline.syncOperations.addHandler(
                            Relay(to: channel, isOpen: { self.isOpen(link) }))
                    }
                }
        }
    }

    private func isOpen(_ link: Link) -> Bool {
        state.withLockedValue { ($0.conditions[link] ?? .open) == .open }
    }
}

/// Told to the connections of a link when it opens again.
private struct LinkOpened: Sendable {}

private final class ClosedWhenOpened: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is LinkOpened { context.close(promise: nil) }
    }
}

/// Passes on what one side sends, one buffer at a time, while the link is open.
private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let isOpen: () -> Bool
    private var held: ByteBuffer?

    init(to other: any Channel, isOpen: @escaping () -> Bool) {
        self.other = other
        self.isOpen = isOpen
    }

    func handlerAdded(context: ChannelHandlerContext) { if context.channel.isActive { context.read() } }
    func channelActive(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard isOpen() else {
            if held == nil { held = bytes } else { held?.writeImmutableBuffer(bytes) }
            return
        }
        pass(bytes, context)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is LinkOpened else { return }
        // The end of the other side was lost with the rest.
        guard other.isActive else { return context.close(promise: nil) }
        guard let bytes = held else { return context.read() }
        held = nil
        pass(bytes, context)
    }

    /// The next read waits for this write: a link holds one buffer for each direction.
    private func pass(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        let channel = context.channel
        other.writeAndFlush(bytes).whenComplete { _ in channel.read() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if isOpen() { other.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Which process holds the other end of a connection over loopback.
enum SocketOwner {
    static func find(localPort: Int, among processes: [String: pid_t]) -> String? {
        guard let inode = inode(localPort: localPort) else { return nil }
        let wanted = "socket:[\(inode)]"
        for (name, pid) in processes where pid > 0 {
            let folder = "/proc/\(pid)/fd"
            for descriptor in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            where (try? FileManager.default.destinationOfSymbolicLink(atPath: folder + "/" + descriptor)) == wanted {
                return name
            }
        }
        return nil
    }

    /// Column 10 of the line of `/proc/net/tcp` whose local address is 127.0.0.1 with this port.
    private static func inode(localPort: Int) -> Substring? {
        let port = String(localPort, radix: 16, uppercase: true)
        let local = "0100007F:" + String(repeating: "0", count: 4 - port.count) + port
        for line in table().split(separator: "\n") where line.contains(local) {
            let columns = line.split(separator: " ")
            if columns.count > 9, columns[1] == local, columns[9] != "0" { return columns[9] }
        }
        return nil
    }

    /// The table of connections. It comes in pieces, which `FileManager` takes for the end.
    private static func table() -> String {
        let descriptor = open("/proc/net/tcp", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while true {
            let piece = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
                count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
            }
            if piece.isEmpty { return String(decoding: bytes, as: UTF8.self) }
            bytes += piece
        }
    }
}
