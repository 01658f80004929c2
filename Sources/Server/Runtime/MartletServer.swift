// One running member: opens the data directory, starts a thread for each owner, listens, and stops in order.
//
// Start: lock the directory, open the parts, start the owners' threads and the network to the peers, wait until everything
// known to be committed is applied, then listen to clients. Stop: refuse new calls, let calls finish, hand leadership
// over, stop the owners from the front to the back, persist, close.
//
// A member that joins has nothing to serve: until a snapshot has come and it starts again, it tells of its health, which is
// that it lives and is not ready, and refuses calls.

import Glibc
import IOInterfaces
package import Logging
import MVCC
import Membership
package import NIOCore
import NIOPosix
import Peers
package import Primitives
import ServerCore
import StateMachine
import Synchronization
import Transport
import Wire

/// A member that serves clients until `stop`.
package final class MartletServer: Sendable {
    /// How long calls may take to finish after the server was asked to stop.
    private static let gracePeriod = TimeAmount.seconds(5)
    /// The same for a member that only restarts with a snapshot: its clients find another member, or this one again.
    private static let restartGracePeriod = TimeAmount.milliseconds(500)
    /// How often a stopping leader looks whether another one leads.
    private static let handOverPollMilliseconds: UInt64 = 10

    package let context: ServerContext
    /// The addresses bound, in the order of the configuration: client, then metrics.
    package let addresses: [SocketAddress]
    /// The peer addresses bound.
    package let peerAddresses: [SocketAddress]

    private let group: MultiThreadedEventLoopGroup
    private let front: Front
    private let threads: OwnerThreads
    private let lock: any FileLock

    private init(
        context: ServerContext, front: Front, peerAddresses: [SocketAddress], group: MultiThreadedEventLoopGroup,
        threads: OwnerThreads, lock: any FileLock
    ) {
        self.context = context
        self.front = front
        self.peerAddresses = peerAddresses
        self.group = group
        self.threads = threads
        self.lock = lock
        addresses = front.addresses
    }

    /// Starts a member.
    ///
    /// - Parameter onLifeEnd: called, perhaps more than once, when the member is to be stopped; on any thread.
    /// - Throws: `StartError` or `ConfigurationError`, one line that names what is wrong.
    package static func start(
        _ configuration: ServerConfiguration, logger: Logger, logQueue: LogQueue,
        onLifeEnd: @escaping @Sendable (LifeEnd) -> Void = { _ in }
    ) async throws -> MartletServer {
        let directory = try StoreDirectory.open(configuration)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, System.coreCount))
        do {
            return try await start(directory, configuration, logger, logQueue, group, onLifeEnd)
        } catch {
            try? await group.shutdownGracefully()
            directory.lock.release()
            throw error
        }
    }

    private static func start(
        _ directory: StoreDirectory, _ configuration: ServerConfiguration, _ logger: Logger, _ logQueue: LogQueue,
        _ group: MultiThreadedEventLoopGroup, _ onLifeEnd: @escaping @Sendable (LifeEnd) -> Void
    ) async throws -> MartletServer {
        var random = PRNG(seed: WallClock.nanoseconds() ^ UInt64(getpid()) << 32)
        let peerTLS = try PeerSide.security(configuration)
        let options = try await Bootstrap.options(
            configuration, isEmpty: directory.isEmpty, tls: peerTLS, group: group)
        for note in directory.notes { logger.warning("\(note)") }
        let core = try ServerCore.open(
            options, fileSystem: SystemFileSystem(), backend: directory.backend, random: &random)
        let context = ServerContext(
            configuration: configuration, core: core, backend: directory.backend, logger: logger,
            logQueue: logQueue, wallClockMilliseconds: WallClock.nanoseconds() / 1_000_000, onLifeEnd: onLifeEnd)
        report(core, configuration, logger)
        let side = try PeerSide(
            context: context, founders: options.founding.members, tls: peerTLS, group: group, seed: random.next())

        let inboxes = Array(group.makeIterator()).map { LoopInbox(eventLoop: $0) }
        context.adopt(loops: inboxes)
        let (started, onStarted) = AsyncStream<Void>.makeStream()
        let threads = OwnerThreads(
            context: context, core: core, loopCount: inboxes.count,
            autoCompaction: try AutoCompaction(
                mode: configuration.autoCompactionMode, retention: configuration.autoCompactionRetention),
            onStarted: { onStarted.finish() })
        let peerAddresses = try await side.start()
        let isJoining = context.isJoining
        if isJoining {
            logger.info("waiting for a snapshot from the cluster: only health and metrics are served before")
        } else {
            for await _ in started {}
        }
        let front = try await Front.open(context: context, group: group, inboxes: inboxes, random: &random)
        if !isJoining { side.adopt(loop: front.loops[0]) }
        return MartletServer(
            context: context, front: front, peerAddresses: peerAddresses, group: group, threads: threads,
            lock: directory.lock)
    }

    private static func report(_ core: ServerCore, _ configuration: ServerConfiguration, _ logger: Logger) {
        for note in configuration.notes { logger.warning("\(note)") }
        logger.info(
            "opened the data directory",
            metadata: [
                "data-dir": "\(configuration.effectiveDataDirectory)", "member-id": "\(core.identity.memberID.hex)",
                "cluster-id": "\(String(core.identity.clusterID, radix: 16))",
                "first-start": "\(core.recovery.isFirstStart)",
                "stored-index": "\(core.recovery.storedIndex.rawValue)",
                "replayed-entries": "\(core.recovery.replayedEntries)",
                "revision": "\(core.store.currentRevision)",
            ])
        if core.recovery.tornBytes > 0 {
            logger.warning("cut off the torn tail of the log", metadata: ["bytes": "\(core.recovery.tornBytes)"])
        }
        if !core.recovery.membersForcedOut.isEmpty {
            logger.warning(
                "--force-new-cluster: removing all other members",
                metadata: ["members": "\(core.recovery.membersForcedOut.map(\.hex).joined(separator: ","))"])
        }
    }

    /// Stops in order and returns when everything acknowledged is on disk and every thread has ended.
    ///
    /// - Parameter isRestart: the member starts again at once, in this process.
    /// - Returns: the last entry applied.
    @discardableResult
    package func stop(isRestart: Bool = false) async -> LogIndex {
        context.logger.info("stopping")
        context.isStopping.store(true, ordering: .releasing)
        await handOver()
        await front.server.shutdown(gracePeriod: isRestart ? Self.restartGracePeriod : Self.gracePeriod)
        await context.peers?.stop()
        threads.stop()
        try? await group.shutdownGracefully()
        lock.release()
        context.logger.info("stopped")
        return context.store.appliedIndex
    }

    /// Waits until another member leads, if this one does and another can: the replica's thread sees to it.
    private func handOver() async {
        let own = context.identity.memberID.rawValue
        let hasOthers = context.stateMachine.published.withLock { $0.members.count { !$0.isLearner } } > 1
        guard hasOthers, context.leader.load(ordering: .relaxed) == own else { return }
        let deadline = NIODeadline.now() + .milliseconds(Int64(context.configuration.electionMilliseconds))
        while context.leader.load(ordering: .relaxed) == own, NIODeadline.now() < deadline {
            try? await Task.sleep(nanoseconds: Self.handOverPollMilliseconds * 1_000_000)
        }
    }
}
