import IOInterfaces
import Logging
import Primitives
import Replica
import ServerCore
import Synchronization
import WriteAheadLog

/// Drives the log writer: writes and syncs what it is given, keeps what a full disk did not take, readies segments ahead of
/// need, and ends the process when the log can no longer be trusted.
///
/// Owner: the log thread; on a sole voter, whose heartbeats nobody waits for, the replica thread, which saves each write
/// two hops between threads.
final class LogDriver {
    /// How long a write that found the disk full waits before it is tried again, and room is looked for.
    private static let diskFullRetryNanoseconds: UInt64 = 200_000_000
    /// Nothing to write for so long counts as idle.
    private static let idleNanoseconds: UInt64 = 20_000_000
    /// The room on the disk is looked after so often at least: others use it too.
    private static let lookNanoseconds: UInt64 = 1_000_000_000

    private let context: ServerContext
    private let writer: LogWriter
    private var waiting: [AppendBatch] = []
    /// Bytes written that the metrics have been told of.
    private var countedBytes: UInt64 = 0

    init(context: ServerContext, writer: LogWriter) {
        self.context = context
        self.writer = writer
    }

    /// Makes the calling thread the owner.
    func adopt() { writer.adoptByCurrentThread() }

    /// How long the owner may sleep when nothing comes in.
    var patienceNanoseconds: UInt64 {
        if !waiting.isEmpty || context.logDiskFull.load(ordering: .relaxed) { return Self.diskFullRetryNanoseconds }
        return writer.isPreparing ? Self.idleNanoseconds : Self.lookNanoseconds
    }

    /// Writes and syncs `batches` behind what waits. Nil when there is nothing to tell: nothing to do, or the disk is full;
    /// then everything stays waiting, to be tried again, and the log may be cut meanwhile.
    func write(_ batches: [AppendBatch]) -> LogProgress? {
        if waiting.isEmpty { waiting = batches } else { waiting.append(contentsOf: batches) }
        guard !waiting.isEmpty else { return nil }
        var written = 0
        let start = context.clock.now()
        // On a full disk the log owes its answer since the first attempt.
        if context.logDiskBusySince.load(ordering: .relaxed) == 0 {
            context.logDiskBusySince.store(start, ordering: .relaxed)
        }
        defer { countBytes() }
        do throws(WALError) {
            let progress = try writer.write(waiting[...], written: &written)
            if progress?.didSync == true { context.metrics.walFsync.observe(nanoseconds: context.clock.now() - start) }
            waiting.removeAll()
            context.logDiskBusySince.store(0, ordering: .relaxed)
            return progress
        } catch {
            guard error.code == .noSpace else { context.stopProcess("\(error)") }
            waiting.removeFirst(written)
            setDiskFull(true)
            return nil
        }
    }

    /// Reads entries back for a member that lags.
    func read(_ read: LogRead) -> ReplicaEvent {
        do throws(WALError) { return try writer.read(read) } catch { context.stopProcess("\(error)") }
    }

    /// Cuts the log, if asked to, and looks after the next segment. Without room for one, what grows the store is refused
    /// while the current segment still takes deletes and compactions.
    ///
    /// - Returns: the first entry on disk, when it has become another one.
    func lookAfterSegments(cut: LogIndex?, isIdle: Bool) -> LogIndex? {
        do throws(WALError) {
            var first: LogIndex?
            if let cut { first = try writer.cut(through: cut) }
            let hasRoom = try writer.reserve(now: context.clock.now())
            first = writer.takeNewFirstIndex() ?? first
            if isIdle, writer.isPreparing { try prepare() }
            // What waits for room keeps the disk full, whatever is reserved for later.
            if !hasRoom { setDiskFull(true) } else if waiting.isEmpty { setDiskFull(false) }
            return first
        } catch {
            context.stopProcess("\(error)")
        }
    }

    /// Fills a part of the next segment. A disk without room for it, though it was reserved, costs speed only.
    private func prepare() throws(WALError) {
        do throws(WALError) { _ = try writer.prepare() } catch {
            guard error.code == .noSpace else { throw error }
        }
    }

    private func countBytes() {
        let written = writer.bytesWritten
        context.metrics.walWriteBytes.add(Int(written - countedBytes))
        countedBytes = written
    }

    func close() {
        do { try writer.close() } catch { context.logger.error("closing the log", metadata: ["error": "\(error)"]) }
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
