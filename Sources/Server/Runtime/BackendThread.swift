import IOInterfaces
import Logging
import MVCC
import Primitives
import Replica
import ServerCore
import Synchronization

/// Runs the backend writer: persists what the state machine has applied, in few large commits, behind the log.
final class BackendThread {
    /// So many bytes waiting are persisted at once...
    private static let bytesMax = 16 << 20
    /// ...and fewer after so long, in nanoseconds. Both bound what a restart replays.
    private static let delayNanoseconds: UInt64 = 1_000_000_000
    /// Room on the disk beyond twice what is to be written, in bytes, without which no commit is begun: a commit that
    /// the disk cut short could not be taken back.
    private static let reserveBytes: UInt64 = 32 << 20

    private let context: ServerContext
    private let writer: BackendWriter
    private let fileSystem = SystemFileSystem()

    init(context: ServerContext, writer: BackendWriter) {
        self.context = context
        self.writer = writer
    }

    /// Returns after a last commit once the server stops.
    func run() {
        writer.adoptByCurrentThread()
        var lastCommit = context.clock.now()
        while !context.isStopping.load(ordering: .acquiring) {
            context.backendSignal.wait(milliseconds: 100)
            let now = context.clock.now()
            let numbers = context.store.numbers()
            let waits = numbers.persistedIndex != numbers.appliedIndex || numbers.pendingDeletions > 0
            guard waits else {
                lastCommit = now
                continue
            }
            guard
                numbers.unpersistedBytes >= Self.bytesMax || now - lastCommit >= Self.delayNanoseconds
                    || context.wantsCommit.exchange(false, ordering: .acquiringAndReleasing)
            else { continue }
            lastCommit = now
            if hasRoom(for: numbers.unpersistedBytes) { persist() }
        }
    }

    /// Whether the disk takes what is to be written. While it does not, what grows the store is refused, everything that
    /// was acknowledged stays in the log, and this looks again every second.
    private func hasRoom(for bytes: Int) -> Bool {
        let needed = 2 * UInt64(min(bytes, BackendWriter.commitBytesMax)) + Self.reserveBytes
        // A disk that cannot be asked is tried.
        let free = (try? fileSystem.freeBytes(context.configuration.effectiveDataDirectory)) ?? .max
        let isFull = free < needed
        let was = context.storeDiskFull.exchange(isFull, ordering: .relaxed)
        if isFull, !was {
            context.logger.error(
                "the disk of the store is full: writes that grow it are refused",
                metadata: ["free-bytes": "\(free)", "needed-bytes": "\(needed)"])
        } else if was, !isFull {
            context.logger.info("the disk of the store has room again")
        }
        return !isFull
    }

    /// Persists everything that waits; for the end of the process, when nothing is applied any more.
    func finish() {
        writer.adoptByCurrentThread()
        if hasRoom(for: context.store.numbers().unpersistedBytes) { persist() }
        writer.close()
    }

    private func persist() {
        while true {
            let start = context.clock.now()
            do throws(StoreError) {
                guard let index = try writer.persist() else { return }
                context.metrics.backendCommit.observe(nanoseconds: context.clock.now() - start)
                context.replicaInbox.push(.persisted(through: index))
            } catch {
                context.stopProcess("persisting the store: \(error)")
            }
        }
    }
}
