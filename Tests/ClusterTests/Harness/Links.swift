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
        /// What comes is passed on so much later, in order. Only so much may be under way (`Relay.waitingBytesMax`), and then
        /// the sender waits, so that the rate is limited too.
        case slow(TimeAmount)
    }

    /// How often a condition met traffic: a fault that did not is none.
    struct Effects: Equatable {
        /// Pieces that came while a link was silent, and connections that were not answered.
        var held = 0
        /// Connections that were broken, or refused.
        var broken = 0
        /// Pieces that came while a link was slow.
        var delayed = 0
    }

    private struct Link: Hashable { var from, to: String }

    private struct State {
        var listeners: [any Channel] = []
        var processes: [String: @Sendable () -> pid_t] = [:]
        var conditions: [Link: Condition] = [:]
        var channels: [Link: [any Channel]] = [:]
        var effects = Effects()
    }

    private let state = NIOLockedValueBox(State())

    /// Stands before the member `name`, which listens on `port`. Returns the port for the others.
    func open(to name: String, port: Int) async throws -> Int {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in self.accept(channel, to: name, port: port) }
            .bind(host: "127.0.0.1", port: 0).get()
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
            let channels = state.channels[link] ?? []
            if case .broken = condition { state.effects.broken += channels.count }
            return channels
        }
        for channel in channels {
            switch condition {
            case .open, .slow: channel.pipeline.fireUserInboundEventTriggered(LinkOpened())
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

    /// What all conditions did since the links were made.
    var effects: Effects { state.withLockedValue { $0.effects } }

    func close() async {
        let (listeners, channels) = state.withLockedValue { ($0.listeners, $0.channels.values.flatMap { $0 }) }
        for channel in channels { channel.close(promise: nil) }
        for listener in listeners { try? await listener.close() }
    }

    private func accept(_ channel: any Channel, to name: String, port: Int) -> EventLoopFuture<Void> {
        let processes = state.withLockedValue { $0.processes }
        guard let remote = channel.remoteAddress?.port,
            let dialler = SocketOwner.find(localPort: remote, among: processes)
        else { return channel.close() }
        let link = Link(from: dialler, to: name)
        let condition = state.withLockedValue { state in
            state.channels[link, default: []].append(channel)
            let condition = state.conditions[link] ?? .open
            switch condition {
            case .broken: state.effects.broken += 1
            case .silent: state.effects.held += 1
            case .open, .slow: break
            }
            return condition
        }
        switch condition {
        case .broken: return channel.close()
        case .silent:
            // Nothing is read: the handshake of the dialler is not answered. It is cut off when the link opens.
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ClosedWhenOpened())
            }
        case .open, .slow:
            return ClientBootstrap(group: channel.eventLoop).channelOption(.autoRead, value: false)
                .channelOption(.maxMessagesPerRead, value: 1)
                .connect(host: "127.0.0.1", port: port).flatMap { target in
                    self.state.withLockedValue { $0.channels[link, default: []].append(target) }
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(self.relay(link, from: channel, to: target))
                        try target.pipeline.syncOperations.addHandler(self.relay(link, from: target, to: channel))
                    }
                }
        }
    }

    private func relay(_ link: Link, from channel: any Channel, to other: any Channel) -> Relay {
        Relay(
            from: channel, to: other,
            condition: { self.state.withLockedValue { $0.conditions[link] ?? .open } },
            count: { effect in self.state.withLockedValue { $0.effects[keyPath: effect] += 1 } })
    }
}

/// Told to the connections of a link when it passes on again, or at another pace.
private struct LinkOpened: Sendable {}

private final class ClosedWhenOpened: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is LinkOpened { context.close(promise: nil) }
    }
}

/// Passes on what one side sends, in order, as the condition of the link lets it. Owner: the event loop of both channels.
private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// Nothing more is read while so much waits.
    static let waitingBytesMax = 64 << 10

    private let channel: any Channel
    private let other: any Channel
    private let condition: () -> Links.Condition
    private let count: (WritableKeyPath<Links.Effects, Int>) -> Void
    /// What came and was not passed on yet, with the time before which it is not.
    private var waiting = CircularBuffer<(bytes: ByteBuffer, due: NIODeadline)>()
    private var waitingBytes = 0
    private var timer: Scheduled<Void>?
    private var isReading = false
    private var isWriting = false
    /// The sender has closed: so is the other side once everything is passed on.
    private var hasEnded = false

    init(
        from channel: any Channel, to other: any Channel, condition: @escaping () -> Links.Condition,
        count: @escaping (WritableKeyPath<Links.Effects, Int>) -> Void
    ) {
        self.channel = channel
        self.other = other
        self.condition = condition
        self.count = count
    }

    func handlerAdded(context: ChannelHandlerContext) { if channel.isActive { advance() } }
    func channelActive(context: ChannelHandlerContext) { advance() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        var due = NIODeadline.now()
        switch condition() {
        case .slow(let delay):
            due = due + delay
            count(\.delayed)
        case .silent: count(\.held)
        case .open, .broken: break
        }
        waitingBytes += bytes.readableBytes
        waiting.append((bytes, due))
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        advance()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is LinkOpened else { return }
        // The end of the other side was lost with the rest.
        guard other.isActive else { return context.close(promise: nil) }
        timer?.cancel()
        timer = nil
        advance()
    }

    func channelInactive(context: ChannelHandlerContext) {
        hasEnded = true
        advance()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    /// Passes on what may be, one piece after the other, and reads on while there is room.
    private func advance() {
        let condition = condition()
        if case .silent = condition { return }
        pass(condition)
        if hasEnded {
            if waiting.isEmpty, !isWriting { other.close(promise: nil) }
        } else if waitingBytes < Self.waitingBytesMax, !isReading {
            isReading = true
            channel.read()
        }
    }

    private func pass(_ condition: Links.Condition) {
        guard !isWriting, timer == nil, let first = waiting.first else { return }
        if case .slow = condition, first.due > .now() {
            timer = channel.eventLoop.assumeIsolated().scheduleTask(deadline: first.due) { [self] in
                timer = nil
                advance()
            }
            return
        }
        waiting.removeFirst()
        waitingBytes -= first.bytes.readableBytes
        isWriting = true
        other.writeAndFlush(first.bytes).assumeIsolated().whenComplete { [self] _ in
            isWriting = false
            advance()
        }
    }
}

/// Which process holds the other end of a connection over loopback.
enum SocketOwner {
    /// The kernel's table comes in pieces, between which it changes, and a process may just be another one: looked for more
    /// than once.
    static func find(localPort: Int, among processes: [String: @Sendable () -> pid_t]) -> String? {
        for _ in 0..<5 {
            if let name = findOnce(localPort: localPort, among: processes.mapValues { $0() }) { return name }
        }
        return nil
    }

    private static func findOnce(localPort: Int, among processes: [String: pid_t]) -> String? {
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
