import IOInterfaces
import Logging
package import Primitives
package import Replica
import ServerCore
import Synchronization
import WriteAheadLog

/// What the log thread is asked for.
package enum LogItem: Sendable {
    case append([AppendBatch])
    /// Nothing at or before this index is needed any more.
    case cut(through: LogIndex)
}

/// Runs the log writer: everything queued goes into one write and one sync. The only thread that syncs the log.
final class LogThread {
    /// How long a write that found the disk full waits before it is tried again.
    private static let diskFullRetryMilliseconds: UInt64 = 200
    /// Nothing to write for so long counts as idle.
    private static let idleMilliseconds: UInt64 = 20

    private let context: ServerContext
    private let writer: LogWriter
    private var waiting: [AppendBatch] = []

    init(context: ServerContext, writer: LogWriter) {
        self.context = context
        self.writer = writer
    }

    /// Returns when the inbox is closed and everything in it is durable.
    func run() {
        writer.adoptByCurrentThread()
        var items: [LogItem] = []
        while context.logInbox.takeAll(into: &items, waiting: patienceNanoseconds) {
            var cut: LogIndex?
            for item in items {
                switch item {
                case .append(let batches): waiting.append(contentsOf: batches)
                case .cut(let index): cut = index
                }
            }
            if !waiting.isEmpty { write() }
            do {
                if let cut { try writer.cut(through: cut) }
                try prepare(isIdle: items.isEmpty)
            } catch {
                context.stopProcess("\(error)")
            }
        }
        do { try writer.close() } catch { context.logger.error("closing the log", metadata: ["error": "\(error)"]) }
    }

    /// How long to wait for something to do.
    private var patienceNanoseconds: UInt64 {
        if !waiting.isEmpty { return Self.diskFullRetryMilliseconds * 1_000_000 }
        return writer.isPrepared ? .max : Self.idleMilliseconds * 1_000_000
    }

    /// Writes and syncs what waits. With a full disk it stays waiting, to be tried again: the log may be cut meanwhile.
    private func write() {
        var written = 0
        let start = context.clock.now()
        do throws(WALError) {
            let progress = try writer.write(waiting[...], written: &written)
            setDiskFull(false)
            guard let progress else { return }
            if progress.didSync { context.metrics.walFsync.observe(nanoseconds: context.clock.now() - start) }
            handOn(progress)
            waiting.removeAll(keepingCapacity: true)
        } catch {
            guard error.code == .noSpace else { context.stopProcess("\(error)") }
            waiting.removeFirst(written)
            setDiskFull(true)
        }
    }

    /// Tells the replica, and gives the state machine what this member alone commits. The replica learns it first but
    /// need not be woken for it, unless it has something to do: it hears of it with the next request or tick.
    private func handOn(_ progress: LogProgress) {
        context.replicaInbox.push(
            .appendDurable(through: progress.durableThrough), wakesOwner: progress.concernsReplica)
        for message in progress.messages { context.replicaInbox.push(.message(message)) }
        if !progress.committed.isEmpty { context.applyInbox.push(.entries(progress.committed)) }
    }

    /// Reserves room for the next segment, and readies it while there is nothing else to do. Without room, what grows the
    /// store is refused while the current segment still takes deletes and compactions.
    private func prepare(isIdle: Bool) throws(WALError) {
        do throws(WALError) {
            try writer.reserve()
            if isIdle, !writer.isPrepared { _ = try writer.prepare() }
            setDiskFull(false)
        } catch {
            guard error.code == .noSpace else { throw error }
            setDiskFull(true)
        }
    }

    private func setDiskFull(_ isFull: Bool) {
        let was = context.logDiskFull.exchange(isFull, ordering: .relaxed)
        guard was != isFull else { return }
        if isFull {
            context.logger.error("the disk of the log is full: writes that grow the store are refused")
        } else {
            context.logger.info("the disk of the log has room again")
        }
    }
}
