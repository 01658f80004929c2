import IOInterfaces
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

    private let context: ServerContext
    private let writer: BackendWriter

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
            persist()
            lastCommit = context.clock.now()
        }
    }

    /// Persists everything that waits; for the end of the process, when nothing is applied any more.
    func finish() {
        writer.adoptByCurrentThread()
        persist()
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
