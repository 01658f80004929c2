import Peers
package import Primitives
package import Replica
import ServerCore

/// What the log thread is asked for.
package enum LogItem: Sendable {
    case append([AppendBatch])
    /// Nothing at or before this index is needed any more.
    case cut(through: LogIndex)
    /// A member lags: entries are to be read back.
    case read(LogRead)
}

/// Owns the log while there are peers: everything queued goes into one write and one sync.
final class LogThread {
    private let context: ServerContext
    private let driver: LogDriver
    private let peers: PeerNetwork?

    init(context: ServerContext, driver: LogDriver) {
        self.context = context
        self.driver = driver
        peers = context.peers
    }

    /// Returns when the inbox is closed and everything in it is durable.
    func run() {
        driver.adopt()
        var items: [LogItem] = []
        while context.logInbox.takeAll(into: &items, waiting: driver.patienceNanoseconds) {
            var batches: [AppendBatch] = []
            var cut: LogIndex?
            var read: LogRead?
            for item in items {
                switch item {
                case .append(let more): batches.append(contentsOf: more)
                case .cut(let index): cut = index
                case .read(let asked): read = asked
                }
            }
            if let progress = driver.write(batches) { handOn(progress) }
            if let first = driver.lookAfterSegments(cut: cut, isIdle: items.isEmpty) {
                context.tellReplica(.logBegins(at: first), wakesOwner: false)
            }
            if let read { context.tellReplica(driver.read(read)) }
        }
        driver.close()
    }

    /// Tells the replica, and gives the state machine what this member alone commits. The replica learns it first but
    /// need not be woken for it, unless it has something to do: it hears of it with the next request or tick.
    private func handOn(_ progress: LogProgress) {
        context.tellReplica(
            .appendDurable(through: progress.durableThrough), wakesOwner: progress.concernsReplica)
        if !progress.messages.isEmpty { peers?.send(progress.messages) }
        if !progress.committed.isEmpty { context.applyInbox.push(.entries(progress.committed)) }
    }
}
