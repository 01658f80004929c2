import IOInterfaces
import Logging
import MVCC
import Primitives
import Replica
import ServerCore
import Synchronization

/// Runs the backend writer: persists what the state machine has applied, behind the log, in commits that leave the disk to
/// the log most of the time (`CommitPacing`), and gives disk space back when asked to (`SpaceReleasing`).
final class BackendThread {
    /// Room on the disk beyond twice what a commit takes, in bytes, without which what grows the store is refused. What was
    /// acknowledged before, and removals, may use it up.
    private static let reserveBytes: UInt64 = 8 << 20
    /// Bytes of records in a commit while the disk is full, about.
    private static let fullCommitBytes = 256 << 10
    /// What of the reserve is left to removals, in bytes: what was acknowledged before waits for more room.
    private static let removalReserveBytes: UInt64 = 4 << 20

    /// Room beyond what is needed, in bytes, that ends a full disk: what comes back in small parts is not refused and taken
    /// by turns.
    private static let returnBytes: UInt64 = 1 << 20

    private let context: ServerContext
    private let writer: BackendWriter
    private let fileSystem = SystemFileSystem()
    private var pacing = CommitPacing()
    private var releasing = SpaceReleasing()
    private var saysHolesFail = true

    init(context: ServerContext, writer: BackendWriter) {
        self.context = context
        self.writer = writer
    }

    /// Returns after a last commit once the server stops.
    func run() {
        writer.adoptByCurrentThread()
        while !context.isStopping.load(ordering: .acquiring) {
            let now = context.clock.now()
            context.backendSignal.wait(
                milliseconds: min(pacing.patienceMilliseconds(now: now), releasing.patienceMilliseconds(now: now)))
            commitIfDue()
            releaseSpace()
        }
        context.defragmentInbox.close()
        for caller in releasing.finish() + newCallers() { caller.answer(.stopped) }
    }

    // MARK: Commits

    private func commitIfDue() {
        let numbers = context.store.numbers()
        guard
            numbers.persistedIndex != numbers.appliedIndex || numbers.pendingDeletions > 0 || writer.hasUnfinished
        else { return pacing.nothingWaits() }
        let isWanted = context.wantsCommit.exchange(false, ordering: .acquiringAndReleasing)
        let start = context.clock.now()
        guard pacing.mustCommit(bytes: Self.waitingBytes(numbers), isUrgent: isWanted, now: start) else { return }
        guard hasRoom(for: numbers.unpersistedBytes) else {
            // Only what is persisted can be removed, and removals make room; and a snapshot waits for what is asked for.
            let removes = numbers.sweptRevision < numbers.compactRevision || numbers.pendingDeletions > 0
            // The log can be cut behind what is persisted, which makes room too.
            let drains = freeBytes >= 2 * UInt64(Self.fullCommitBytes) + Self.removalReserveBytes
            if isWanted || removes || writer.hasUnfinished || drains, persist(bytesMax: Self.fullCommitBytes), drains {
                return noteCommit(from: start)
            }
            return pacing.postponed(now: start)
        }
        if isWanted { persistAll() } else { _ = persist() }
        noteCommit(from: start)
    }

    private func noteCommit(from start: UInt64) {
        pacing.committed(from: start, to: context.clock.now(), bytes: Self.waitingBytes(context.store.numbers()))
    }

    /// What the disk has left, in bytes. One that cannot be asked is tried.
    private var freeBytes: UInt64 {
        (try? fileSystem.freeBytes(context.configuration.effectiveDataDirectory)) ?? .max
    }

    private static func waitingBytes(_ numbers: StoreNumbers) -> Int {
        numbers.unpersistedBytes + numbers.pendingDeletions * CommitPacing.removalBytes
    }

    /// Whether the disk, or the store's file, takes what is to be written. While it does not, what grows the store is
    /// refused, what was acknowledged stays in the log or is committed in small parts, and this looks again.
    private func hasRoom(for bytes: Int) -> Bool {
        var needed = 2 * UInt64(min(bytes, CommitPacing.commitBytes)) + Self.reserveBytes
        if context.storeDiskFull.load(ordering: .relaxed) {
            needed = 2 * UInt64(CommitPacing.commitBytes) + Self.reserveBytes + Self.returnBytes
        }
        var free = freeBytes
        if free < needed {
            let sizes = writer.sizes
            free += UInt64(sizes.fileBytes - sizes.inUseBytes)
        }
        setFull(free < needed, free: free, needed: needed)
        return free >= needed
    }

    private func setFull(_ isFull: Bool, free: UInt64, needed: UInt64) {
        let was = context.storeDiskFull.exchange(isFull, ordering: .relaxed)
        if isFull, !was {
            context.logger.error(
                "the disk of the store is full: writes that grow it are refused",
                metadata: ["free-bytes": "\(free)", "needed-bytes": "\(needed)"])
        } else if was, !isFull {
            context.logger.info("the disk of the store has room again")
        }
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

    /// One commit; false when nothing waits, or when the disk was full.
    private func persist(bytesMax: Int = CommitPacing.commitBytes) -> Bool {
        let start = context.clock.now()
        do throws(StoreError) {
            guard let index = try writer.persist(bytesMax: bytesMax) else { return false }
            context.metrics.backendCommit.observe(nanoseconds: context.clock.now() - start)
            context.tellReplica(.persisted(through: index))
            return true
        } catch {
            guard error == .noSpace else { context.stopProcess("persisting the store: \(error)") }
            setFull(true, free: 0, needed: UInt64(bytesMax))
            return false
        }
    }

    // MARK: Disk space

    private func newCallers() -> [DefragmentRequest] {
        var requests: [DefragmentRequest] = []
        _ = context.defragmentInbox.takeAll(into: &requests, waiting: 0)
        return requests
    }

    private func releaseSpace() {
        if releasing.isIdle {
            let callers = newCallers()
            releasing.start(callers, isFull: callers.isEmpty && isDiskFull, now: context.clock.now())
        }
        if releasing.isIdle { return }
        let start = context.clock.now()
        let numbers = context.store.numbers()
        // Nothing is swept for a compaction below revision 2.
        let isSwept = numbers.compactRevision <= max(numbers.sweptRevision, 1)
        let hasRemovals = !isSwept || numbers.pendingDeletions > 0 || writer.hasUnfinished
        switch releasing.next(hasRemovals: hasRemovals, now: start) {
        case .nothing: break
        case .persist: context.wantsCommit.store(true, ordering: .releasing)
        case .begin:
            persistAll()
            releasing.begin(hasRoom: hasRoom(for: 0))
        case .slice(let pass): release(pass, from: start)
        }
    }

    /// Whether somebody lacks room that the store's file has without using it.
    private var isDiskFull: Bool {
        guard context.logDiskFull.load(ordering: .relaxed) || context.storeDiskFull.load(ordering: .relaxed) else {
            return false
        }
        let sizes = writer.sizes
        return sizes.fileBytes - sizes.inUseBytes >= SpaceReleasing.ownBytesMin
    }

    private func release(_ pass: SpaceRelease, from start: UInt64) {
        var pass = pass
        do throws(StoreError) { try writer.releaseSpace(&pass) } catch {
            // The commits before the pass found no room: it does what it can without them.
            guard error == .noSpace else { context.stopProcess("giving disk space back: \(error)") }
            return releasing.begin(hasRoom: false)
        }
        let callers = releasing.didSlice(pass, from: start, to: context.clock.now())
        guard pass.isFinished else { return }
        if pass.failure == nil {
            context.logger.info("disk space was given back", metadata: ["bytes": "\(pass.releasedBytes)"])
        }
        let failure = pass.failure.flatMap { report($0) }
        for caller in callers { caller.answer(failure) }
        _ = hasRoom(for: context.store.numbers().unpersistedBytes)
    }

    /// Says what the file system refused. Nil when it cannot make holes in a file: there is nothing wrong with that, and
    /// free pages are used again all the same.
    private func report(_ failure: SpaceRelease.Failure) -> DefragmentRequest.Failure? {
        guard failure.isUnsupported else {
            context.logger.error("giving disk space back failed", metadata: ["error": "\(failure.words)"])
            return .disk(failure.words)
        }
        if saysHolesFail {
            context.logger.warning(
                "the file system cannot give back the space of parts of a file: the store's file keeps its size",
                metadata: ["error": "\(failure.words)"])
        }
        saysHolesFail = false
        return nil
    }
}
