import Glibc
import NIOConcurrencyHelpers
import NIOCore

/// Why a server does not take connections for the moment.
package enum ConnectionTrouble: Sendable, Equatable, CustomStringConvertible {
    /// So many are open, which is the most: further ones are closed at once.
    case tooMany(connectionsMax: Int)
    /// The kernel gives no descriptor or memory: nothing is accepted for a moment. `errno` as of accept(2).
    case cannotAccept(errno: Int32)

    package var description: String {
        switch self {
        case .tooMany(let connectionsMax):
            "\(connectionsMax) connections are open, as many as the limit of open files (or the server's own) allows: "
                + "further ones are closed"
        case .cannotAccept(let errno): "accept: \(String(cString: strerror(errno)))"
        }
    }
}

/// How many connections a process may have open with the file descriptors that the kernel gives it. Files, the log's next
/// segment among them, must find one at any time: connections never get the last ones.
package enum DescriptorLimit {
    /// Descriptors for everything that is no client: files, event loops, other members. As in etcd.
    static let reserve = 150
    /// Those of the reserve that other members may take.
    private static let reservedForPeers = 64
    private static let clientsMax = 20_000
    private static let peersMax = 1024

    /// Open files allowed now (RLIMIT_NOFILE, soft).
    package static var current: Int {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }

    /// Raises the soft limit to the hard one: the soft one is that low for the sake of select(2), which nobody here
    /// calls. Does what it can. Returns the limit now.
    @discardableResult
    package static func raise() -> Int {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        if getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            setrlimit(resource, &limit)
        }
        return current
    }

    /// Connections of clients under a limit of so many descriptors.
    package static func clientConnectionsMax(under limit: Int) -> Int {
        max(16, min(clientsMax, limit - reserve - (peerConnectionsMax(under: limit) - reservedForPeers)))
    }

    /// Connections of other members under a limit of so many descriptors.
    package static func peerConnectionsMax(under limit: Int) -> Int {
        min(peersMax, max(reservedForPeers, limit / 16))
    }
}

/// Tells of trouble at most once in an interval. Any thread.
final class TroubleReporter: Sendable {
    private static let interval = TimeAmount.seconds(10)

    private let report: (@Sendable (ConnectionTrouble) -> Void)?
    private let nextAt = NIOLockedValueBox(NIODeadline.uptimeNanoseconds(0))

    init(_ report: (@Sendable (ConnectionTrouble) -> Void)?) { self.report = report }

    func note(_ trouble: ConnectionTrouble) {
        guard let report else { return }
        let now = NIODeadline.now()
        let isDue = nextAt.withLockedValue { nextAt in
            guard now >= nextAt else { return false }
            nextAt = now + Self.interval
            return true
        }
        if isDue { report(trouble) }
    }
}

/// Pauses a listening socket that cannot accept: the connection that waits makes the socket readable again at once, and
/// the loop would do nothing else any more. Owner: the listening channel's event loop.
final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = any Channel
    typealias InboundOut = any Channel

    private let reporter: TroubleReporter
    private let pause: TimeAmount
    private var isPaused = false

    init(reporter: TroubleReporter, pause: TimeAmount = .milliseconds(200)) {
        self.reporter = reporter
        self.pause = pause
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else {
            return context.fireErrorCaught(error)
        }
        reporter.note(.cannotAccept(errno: error.errnoCode))
        guard !isPaused else { return }
        isPaused = true
        let channel = context.channel
        channel.setOption(.autoRead, value: false).whenFailure { _ in }
        let me = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: pause) {
            me.value.isPaused = false
            channel.setOption(.autoRead, value: true).whenFailure { _ in }
        }
    }
}
