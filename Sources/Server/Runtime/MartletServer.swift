// One running member: opens the data directory, starts a thread for each owner, listens, and stops in order.
//
// Start: lock the directory, open the parts, start the owners' threads, wait until everything in the log is applied,
// then listen. Stop: refuse new calls, let calls finish, stop the owners from the front to the back, persist, close.

import Glibc
import IOInterfaces
import Leasing
package import Logging
import MVCC
import Membership
package import NIOCore
import NIOPosix
import Primitives
import Replica
import ServerCore
import StateMachine
import Synchronization
import Transport
import Wire

/// A member that serves clients until `stop`.
package final class MartletServer: Sendable {
    /// How long calls may take to finish after the server was asked to stop.
    private static let gracePeriod = TimeAmount.seconds(5)
    /// How long the log may take to be applied before the first client is let in.
    private static let readyPollMilliseconds: UInt64 = 1

    package let context: ServerContext
    /// The addresses bound, in the order of the configuration: client, then metrics.
    package let addresses: [SocketAddress]

    private let group: MultiThreadedEventLoopGroup
    private let servers: [GRPCServer]
    private let threads: OwnerThreads
    private let lock: any FileLock

    private init(
        context: ServerContext, addresses: [SocketAddress], group: MultiThreadedEventLoopGroup, servers: [GRPCServer],
        threads: OwnerThreads, lock: any FileLock
    ) {
        self.context = context
        self.addresses = addresses
        self.group = group
        self.servers = servers
        self.threads = threads
        self.lock = lock
    }

    /// Starts a member.
    ///
    /// - Throws: `StartError` or `ConfigurationError`, one line that names what is wrong.
    package static func start(
        _ configuration: ServerConfiguration, logger: Logger, logQueue: LogQueue
    ) async throws -> MartletServer {
        let fileSystem = SystemFileSystem()
        let directory = configuration.effectiveDataDirectory
        let lock: any FileLock
        let backend: LMDBBackend
        do {
            try fileSystem.createDirectory(directory)
            lock = try fileSystem.lock(directory + "/lock")
            try fileSystem.createDirectory(directory + "/store")
            // As in etcd the flag means nothing to a member that has its data already.
            let hasData = try fileSystem.exists(directory + "/store/data.mdb")
            if configuration.initialClusterState == .existing, !hasData {
                throw StartError("--initial-cluster-state existing: this version cannot join a cluster; use new")
            }
            var options = LMDBOptions()
            options.isSyncOff = configuration.unsafeNoFsync
            backend = try LMDBBackend.open(path: directory + "/store/data.mdb", options: options)
            try fileSystem.syncDirectory(directory + "/store")
        } catch let error as IOInterfaces.IOError {
            throw StartError("\(error)")
        } catch let error as StoreError {
            throw StartError("\(directory)/store: \(error)")
        }
        var random = PRNG(seed: WallClock.nanoseconds() ^ UInt64(getpid()) << 32)
        let core = try ServerCore.open(
            try coreOptions(configuration), fileSystem: fileSystem, backend: backend, random: &random)
        let context = ServerContext(
            configuration: configuration, identity: core.identity, store: core.store, lessor: core.lessor,
            stateMachine: core.stateMachine, logger: logger, logQueue: logQueue,
            wallClockMilliseconds: WallClock.nanoseconds() / 1_000_000)
        report(core, configuration, logger)

        let group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, System.coreCount))
        let eventLoops = Array(group.makeIterator())
        let inboxes = eventLoops.map { LoopInbox(eventLoop: $0) }
        context.adopt(loops: inboxes)
        let threads = try OwnerThreads.start(
            context: context, core: core, loopCount: inboxes.count,
            autoCompaction: AutoCompaction(
                mode: configuration.autoCompactionMode, retention: configuration.autoCompactionRetention))
        await waitUntilApplied(context)
        let front = try await Front.open(context: context, group: group, inboxes: inboxes, random: &random)
        publishOwnAttributes(context, configuration)
        return MartletServer(
            context: context, addresses: front.addresses, group: group, servers: [front.server], threads: threads,
            lock: lock)
    }

    private static func coreOptions(_ configuration: ServerConfiguration) throws -> ServerCoreOptions {
        let cluster = try InitialCluster(parsing: configuration.effectiveInitialCluster)
        let members = cluster.names.map { name in
            let urls = cluster.urls(of: name) ?? []
            return Membership.Member(
                id: ClusterIdentity.memberID(
                    peerURLs: urls, token: configuration.initialClusterToken, sha1: Digest.sha1),
                name: name, peerURLs: urls,
                clientURLs: name == configuration.name ? configuration.advertiseClientURLs.map(\.text) : [])
        }
        guard let own = members.first(where: { $0.name == configuration.name }) else {
            throw StartError("--initial-cluster does not name \(configuration.name)")
        }
        var options = ServerCoreOptions(
            dataDirectory: configuration.effectiveDataDirectory,
            clusterID: ClusterIdentity.clusterID(members: members.map(\.id), sha1: Digest.sha1), member: own,
            members: members)
        options.walDirectory = configuration.walDirectory
        options.electionTicks = max(2, configuration.electionMilliseconds / configuration.heartbeatMilliseconds)
        options.preVote = configuration.preVote
        // The shortest lease outlives one election and a half.
        options.leases.ttlSecondsMin = Int64((configuration.electionMilliseconds * 3 / 2 + 999) / 1000)
        return options
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
    }

    private static func waitUntilApplied(_ context: ServerContext) async {
        while !context.servesReadsLocally.load(ordering: .acquiring) {
            try? await Task.sleep(nanoseconds: readyPollMilliseconds * 1_000_000)
        }
    }

    /// Tells the cluster this member's name and client URLs when they are not what is stored.
    private static func publishOwnAttributes(_ context: ServerContext, _ configuration: ServerConfiguration) {
        let members = context.stateMachine.published.withLock { $0.members }
        guard var own = members.first(where: { $0.id == context.identity.memberID }) else { return }
        let stored = own
        own.name = configuration.name
        own.clientURLs = configuration.advertiseClientURLs.map(\.text)
        guard own != stored else { return }
        context.proposeInternally(
            fieldNumber: InternalRaftRequest.FieldNumber.clusterMemberAttrSet,
            body: MemberCodec.encodeAttributesRequest(own))
    }

    /// Stops in order and returns when everything acknowledged is on disk and every thread has ended.
    package func stop() async {
        context.logger.info("stopping")
        context.isStopping.store(true, ordering: .releasing)
        for server in servers { await server.shutdown(gracePeriod: Self.gracePeriod) }
        threads.stop()
        try? await group.shutdownGracefully()
        lock.release()
        context.logger.info("stopped")
    }
}

/// The threads of one member, each the owner of one part.
final class OwnerThreads: Sendable {
    private let context: ServerContext
    private let replica: WorkerThread
    /// Nil on a sole voter, whose replica thread writes the log itself.
    private let log: WorkerThread?
    private let apply: WorkerThread
    private let backend: WorkerThread
    private let maintenance: WorkerThread
    nonisolated(unsafe) private let backendThread: BackendThread

    private init(context: ServerContext, core: ServerCore, loopCount: Int, autoCompaction: AutoCompaction) {
        self.context = context
        let driver = LogDriver(context: context, writer: core.logWriter)
        let isAlone = core.replica.isSoleVoter
        nonisolated(unsafe) let replicaThread = ReplicaThread(
            context: context, replica: core.replica, log: isAlone ? driver : nil, autoCompaction: autoCompaction)
        nonisolated(unsafe) let logThread = isAlone ? nil : LogThread(context: context, driver: driver)
        nonisolated(unsafe) let applyThread = ApplyThread(
            context: context, stateMachine: core.stateMachine, loopCount: loopCount)
        let backendThread = BackendThread(context: context, writer: core.backendWriter)
        self.backendThread = backendThread
        nonisolated(unsafe) let backendOwned = backendThread
        nonisolated(unsafe) let maintenanceThread = MaintenanceThread(context: context)
        log = logThread == nil ? nil : WorkerThread.start("martlet-log") { logThread?.run() }
        apply = WorkerThread.start("martlet-apply") { applyThread.run() }
        backend = WorkerThread.start("martlet-store") { backendOwned.run() }
        maintenance = WorkerThread.start("martlet-maint") { maintenanceThread.run() }
        replica = WorkerThread.start("martlet-replica") { replicaThread.run() }
    }

    static func start(
        context: ServerContext, core: ServerCore, loopCount: Int, autoCompaction: AutoCompaction
    ) throws -> OwnerThreads {
        OwnerThreads(context: context, core: core, loopCount: loopCount, autoCompaction: autoCompaction)
    }

    /// Ends the threads from the front to the back, so that each finishes what it was handed.
    func stop() {
        context.replicaInbox.close()
        replica.join()
        context.logInbox.close()
        log?.join()
        context.applyInbox.close()
        apply.join()
        context.maintenanceInbox.close()
        maintenance.join()
        context.backendSignal.raise()
        backend.join()
        backendThread.finish()
    }
}
