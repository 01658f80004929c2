// One member without threads, sockets or a clock: the replica, the log writer, the state machine and the backend writer,
// opened from a data directory. Production drives each part by a thread of its own; tests and the simulator drive all
// of them step by step. Both run this code.
//
// Files of a data directory:
//   lock        held while a process uses the directory
//   store/      the backend (LMDB: data.mdb)
//   wal/        the write-ahead log's segments
//
// Invariant: the backend never holds the effect of an entry that the log has not made durable, because only committed
// entries are applied and a member commits only what its own log holds.

package import IOInterfaces
package import Leasing
package import MVCC
package import Membership
package import Primitives
import RaftCore
package import Replica
package import StateMachine
package import WriteAheadLog

/// What a member is opened with.
package struct ServerCoreOptions: Sendable {
    package var dataDirectory: String
    /// Empty: `wal` inside the data directory.
    package var walDirectory = ""
    /// Used at the first start only; later the identity on disk counts.
    package var clusterID: UInt64
    /// This member, as it is written at the first start.
    package var member: Membership.Member
    /// Everybody, this member included.
    package var members: [Membership.Member]
    package var electionTicks = 10
    package var heartbeatTicks = 1
    package var preVote = true
    package var leases = LessorConfiguration()
    package var store = StoreOptions()
    package var log = WALOptions()

    package init(dataDirectory: String, clusterID: UInt64, member: Membership.Member, members: [Membership.Member]) {
        self.dataDirectory = dataDirectory
        self.clusterID = clusterID
        self.member = member
        self.members = members
    }
}

/// Why a member cannot start: one line that names the file.
package struct StartError: Error, CustomStringConvertible, Sendable {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// The parts of one member; see the head of this file.
package struct ServerCore {
    package let replica: Replica
    package let logWriter: LogWriter
    package let stateMachine: StateMachine
    package let backendWriter: BackendWriter
    package let store: Store
    package let lessor: Lessor
    package let identity: StateMachine.Identity
    /// What recovery found, for the log.
    package let recovery: Recovery

    package struct Recovery: Sendable {
        package var isFirstStart: Bool
        /// What the store had persisted.
        package var storedIndex: LogIndex
        /// Entries of the log that are applied again.
        package var replayedEntries: Int
        /// Bytes of a torn tail that were cut off.
        package var tornBytes: Int
    }
}

extension ServerCore {
    /// Opens or founds a member.
    ///
    /// The caller holds the lock of the data directory.
    ///
    /// - Parameters:
    ///   - backend: opened on the data directory's `store`.
    ///   - random: seeds election timeouts and the log's salt.
    package static func open(
        _ options: ServerCoreOptions, fileSystem: any FileSystem, backend: any Backend, random: inout PRNG
    ) throws(StartError) -> ServerCore {
        let store = try orStop { () throws(StoreError) in try Store.open(backend: backend, options: options.store) }
        let isFirstStart = store.meta(MetaKeys.cluster) == nil
        let logDirectory = options.walDirectory.isEmpty ? options.dataDirectory + "/wal" : options.walDirectory
        let hasLog = try orStop { () throws(WALError) in try WriteAheadLog.exists(in: logDirectory, fileSystem) }
        if isFirstStart, store.appliedIndex > .zero {
            throw StartError("\(backend.path) holds data but no cluster identity: it is not a store of Martlet")
        }
        if !isFirstStart, !hasLog {
            throw StartError("\(logDirectory) holds no log although \(backend.path) belongs to a member: restore it")
        }
        let identity: StateMachine.Identity
        if isFirstStart {
            identity = StateMachine.Identity(clusterID: options.clusterID, memberID: options.member.id)
            try found(options, store, backend, fileSystem, logDirectory, hasLog: hasLog, &random)
        } else {
            identity = try storedIdentity(options, store: store)
        }
        let (log, recovered) = try orStop { () throws(WALError) in
            try WriteAheadLog.open(
                in: logDirectory, fileSystem,
                expecting: WALMetadata(clusterID: identity.clusterID, memberID: identity.memberID),
                after: store.appliedIndex, options: options.log)
        }
        if recovered.lastIndex < store.appliedIndex {
            throw StartError(
                "\(logDirectory) ends at entry \(recovered.lastIndex.rawValue) but \(backend.path) has applied entry "
                    + "\(store.appliedIndex.rawValue): the log has lost its end, restore it")
        }
        let lessor = Lessor(configuration: options.leases)
        let stateMachine: StateMachine
        do { stateMachine = try StateMachine(store: store, lessor: lessor, identity: identity) } catch {
            throw StartError("\(backend.path): \(error)")
        }
        let replica = makeReplica(options, identity, store, recovered, random: PRNG(seed: random.next()))
        return ServerCore(
            replica: replica, logWriter: LogWriter(log: log), stateMachine: stateMachine,
            backendWriter: BackendWriter(store: store, backend: backend), store: store, lessor: lessor,
            identity: identity,
            recovery: Recovery(
                isFirstStart: isFirstStart, storedIndex: store.appliedIndex,
                replayedEntries: recovered.entries.count, tornBytes: recovered.tornBytes))
    }

    /// Writes what every member of a new cluster starts from: first the log, empty, then identity and members in one
    /// commit of the store, whose presence ends the founding.
    private static func found(
        _ options: ServerCoreOptions, _ store: Store, _ backend: any Backend, _ fileSystem: any FileSystem,
        _ logDirectory: String, hasLog: Bool, _ random: inout PRNG
    ) throws(StartError) {
        let salt = random.next()
        let metadata = WALMetadata(clusterID: options.clusterID, memberID: options.member.id)
        let last = try orStop { () throws(WALError) in
            // A crash during an earlier first start leaves an empty log without a store; it serves as well as a new one.
            let log =
                hasLog
                ? try WriteAheadLog.open(
                    in: logDirectory, fileSystem, expecting: metadata, after: .zero, options: options.log
                ).log
                : try WriteAheadLog.create(
                    in: logDirectory, fileSystem, metadata: metadata, salt: salt, options: options.log)
            let last = log.lastIndex
            try log.close()
            return last
        }
        try orStop { () throws(IOError) in
            // The names of the log and of the data directory must outlive a power cut, wherever the log is.
            try fileSystem.syncDirectory(options.dataDirectory)
            try fileSystem.syncDirectory(parentDirectory(of: options.dataDirectory))
        }
        if last > .zero {
            throw StartError("\(logDirectory) holds a log but \(backend.path) is empty: restore the store")
        }
        store.setMeta(MetaKeys.cluster, Bytes(MetaKeys.bigEndian(options.clusterID)))
        for member in options.members { store.setMeta(MetaKeys.member(member.id), MemberCodec.encode(member)) }
        store.entryApplied(index: .zero, term: .zero)
        try orStop { () throws(StoreError) in
            while let batch = store.nextBatch(maxBytes: 1 << 20) {
                try backend.commit(batch)
                store.persisted(batch)
            }
        }
    }

    private static func storedIdentity(
        _ options: ServerCoreOptions, store: Store
    ) throws(StartError) -> StateMachine.Identity {
        guard let bytes = store.meta(MetaKeys.cluster), let clusterID = MetaKeys.parseBigEndian(bytes) else {
            throw StartError("the cluster identity in \(options.dataDirectory)/store is unreadable")
        }
        var stored: [Membership.Member] = []
        for (_, value) in store.metaEntries(prefix: MetaKeys.memberPrefix) {
            if let member = try? MemberCodec.decode(value) { stored.append(member) }
        }
        // A single member is itself, whatever its flags say now; as in etcd, the data directory decides.
        guard let own = stored.first(where: { $0.id == options.member.id }) ?? (stored.count == 1 ? stored[0] : nil)
        else {
            throw StartError("\(options.dataDirectory) belongs to another member than \(options.member.name)")
        }
        return StateMachine.Identity(clusterID: clusterID, memberID: own.id)
    }

    private static func makeReplica(
        _ options: ServerCoreOptions, _ identity: StateMachine.Identity, _ store: Store, _ recovered: WALRecovered,
        random: PRNG
    ) -> Replica {
        let voters = store.metaEntries(prefix: MetaKeys.memberPrefix).compactMap { try? MemberCodec.decode($0.value) }
        let configuration = RaftConfiguration(
            id: identity.memberID, electionTicks: options.electionTicks, heartbeatTicks: options.heartbeatTicks,
            preVote: options.preVote)
        let restored = RestoredState(
            hardState: HardState(
                term: recovered.hardState.term, vote: recovered.hardState.vote, commit: recovered.hardState.commit),
            configurationState: ConfigurationState(
                voters: voters.filter { !$0.isLearner }.map(\.id), learners: voters.filter(\.isLearner).map(\.id)),
            compacted: EntryID(term: store.appliedTerm, index: store.appliedIndex), applied: store.appliedIndex,
            entries: recovered.entries.map {
                Entry(
                    term: $0.term, index: $0.index, kind: EntryKind(rawValue: $0.kind) ?? .normal, payload: $0.payload)
            })
        return Replica(raft: Raft(configuration: configuration, restored: restored, random: random))
    }

    /// Turns any error of a lower layer into the reason not to start.
    private static func orStop<T, E: Error>(_ body: () throws(E) -> T) throws(StartError) -> T {
        do throws(E) { return try body() } catch { throw StartError("\(error)") }
    }
}
