import IOInterfaces
import Logging
import MVCC
import Primitives
import Replica
import ServerCore
import Synchronization

/// Runs the backend writer: persists what the state machine has applied, behind the log, in commits that leave the disk to
/// the log most of the time (`CommitPacing`).
final class BackendThread {
    /// Room on the disk beyond twice what a commit takes, in bytes, without which none is begun: a commit that the disk
    /// cut short could not be taken back.
    private static let reserveBytes: UInt64 = 8 << 20

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
        var pacing = CommitPacing()
        while !context.isStopping.load(ordering: .acquiring) {
            context.backendSignal.wait(milliseconds: pacing.patienceMilliseconds(now: context.clock.now()))
            let numbers = context.store.numbers()
            guard numbers.persistedIndex != numbers.appliedIndex || numbers.pendingDeletions > 0 else {
                pacing.nothingWaits()
                continue
            }
            let isWanted = context.wantsCommit.exchange(false, ordering: .acquiringAndReleasing)
            let start = context.clock.now()
            guard pacing.mustCommit(bytes: Self.waitingBytes(numbers), isUrgent: isWanted, now: start) else { continue }
            guard hasRoom(for: numbers.unpersistedBytes) else {
                pacing.postponed(now: start)
                continue
            }
            if isWanted { persistAll() } else { _ = persist() }
            pacing.committed(
                from: start, to: context.clock.now(), bytes: Self.waitingBytes(context.store.numbers()))
        }
    }

    private static func waitingBytes(_ numbers: StoreNumbers) -> Int {
        numbers.unpersistedBytes + numbers.pendingDeletions * CommitPacing.removalBytes
    }

    /// Whether the disk takes what is to be written. While it does not, what grows the store is refused, everything that
    /// was acknowledged stays in the log, and this looks again twice a second.
    private func hasRoom(for bytes: Int) -> Bool {
        let needed = 2 * UInt64(min(bytes, CommitPacing.commitBytes)) + Self.reserveBytes
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
        persistAll()
        writer.close()
    }

    /// Persists until nothing waits or the disk is full.
    private func persistAll() {
        while hasRoom(for: context.store.numbers().unpersistedBytes), persist() {}
    }

    /// One commit; false when nothing waits.
    private func persist() -> Bool {
        let start = context.clock.now()
        do throws(StoreError) {
            guard let index = try writer.persist(bytesMax: CommitPacing.commitBytes) else { return false }
            context.metrics.backendCommit.observe(nanoseconds: context.clock.now() - start)
            context.tellReplica(.persisted(through: index))
            return true
        } catch {
            context.stopProcess("persisting the store: \(error)")
        }
    }
}
