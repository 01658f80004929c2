package import IOInterfaces
import Leasing
package import MVCC
import Membership
package import Primitives
import RaftCore
import Replica
import StateMachine
import WriteAheadLog

extension ServerCore {
    /// Opens, founds or joins: whatever the data directory says, and `options.founding` where it says nothing.
    ///
    /// The caller holds the lock of the data directory.
    ///
    /// - Parameters:
    ///   - backend: opened on the data directory's `store`.
    ///   - random: seeds election timeouts and the log's salt.
    package static func open(
        _ options: ServerCoreOptions, fileSystem: any FileSystem, backend: any Backend, random: inout PRNG
    ) throws(StartError) -> ServerCore {
        let opening = Opening(options: options, fileSystem: fileSystem, backend: backend)
        return try opening.run(&random)
    }
}

/// Turns any error of a lower layer into the reason not to start.
func orStop<T, E: Error>(_ body: () throws(E) -> T) throws(StartError) -> T {
    do throws(E) { return try body() } catch { throw StartError("\(error)") }
}

/// The steps of opening a member.
struct Opening {
    let options: ServerCoreOptions
    let fileSystem: any FileSystem
    let backend: any Backend

    private var logDirectory: String {
        options.walDirectory.isEmpty ? options.dataDirectory + "/wal" : options.walDirectory
    }

    func run(_ random: inout PRNG) throws(StartError) -> ServerCore {
        let store = try orStop { () throws(StoreError) in
            try Store.open(backend: backend, options: options.store)
        }
        let origin = try orStop { () throws(WALError) in try WriteAheadLog.origin(in: logDirectory, fileSystem) }
        let isFirstStart = try foundIfNeeded(store, origin, &random)
        let identity = StateMachine.Identity(
            clusterID: origin?.metadata.clusterID ?? options.founding.clusterID,
            memberID: origin?.metadata.memberID ?? options.memberID)
        try checkCluster(store, identity)
        var (log, recovered) = try orStop { () throws(WALError) in
            try WriteAheadLog.open(
                in: logDirectory, fileSystem,
                expecting: WALMetadata(clusterID: identity.clusterID, memberID: identity.memberID),
                after: store.appliedIndex, options: options.log)
        }
        let hasInstalledImage = try finishInstall(store, log, &recovered)
        if store.appliedIndex > .zero, log.firstIndex == LogIndex(1) {
            throw StartError(
                "\(logDirectory) was begun by a version that knew no clusters: save a snapshot with that version and "
                    + "restore it")
        }
        var forcedOut: [MemberID] = []
        if options.forceNewCluster { forcedOut = try forceNewCluster(store, identity, log, &recovered) }
        let lessor = Lessor(configuration: options.leases)
        let stateMachine: StateMachine
        do {
            stateMachine = try StateMachine(
                store: store, lessor: lessor, identity: identity, hashStride: options.hashStride)
        } catch { throw StartError("\(backend.path): \(error)") }
        let replica = try makeReplica(identity, store, log, recovered, random: PRNG(seed: random.next()))
        return ServerCore(
            replica: replica, logWriter: LogWriter(log: log, unneeded: store.appliedIndex),
            stateMachine: stateMachine,
            backendWriter: BackendWriter(store: store, backend: backend), store: store, lessor: lessor,
            identity: identity,
            recovery: ServerCore.Recovery(
                isFirstStart: isFirstStart, storedIndex: store.appliedIndex,
                replayedEntries: recovered.entries.count, tornBytes: recovered.tornBytes,
                hasInstalledImage: hasInstalledImage, membersForcedOut: forcedOut))
    }

    // MARK: Founding

    /// Begins a data directory that holds nothing yet, or ends what an interrupted first start began; returns whether it
    /// did.
    private func foundIfNeeded(
        _ store: Store, _ origin: WALOrigin?, _ random: inout PRNG
    ) throws(StartError) -> Bool {
        let hasCluster = store.meta(MetaKeys.cluster) != nil
        if !hasCluster, store.appliedIndex > .zero {
            throw StartError("\(backend.path) holds data but no cluster identity: it is not a store of Martlet")
        }
        if hasCluster {
            if origin == nil {
                throw StartError(
                    "\(logDirectory) holds no log although \(backend.path) belongs to a member: restore it")
            }
            return false
        }
        guard let origin else {
            try createLog(&random)
            if case .new(_, let members) = options.founding { try found(store, members) }
            return true
        }
        try syncNames()
        // No store yet. A log that begins before entry 1 is that of a member that waits for its first snapshot.
        if origin.start == .origin { return false }
        let isUntouched = try orStop { () throws(WALError) in
            let (log, _) = try WriteAheadLog.open(
                in: logDirectory, fileSystem, expecting: origin.metadata, after: origin.start.index,
                options: options.log)
            let isUntouched =
                log.firstIndex == Founding.position.index.advanced(by: 1)
                && log.lastIndex == Founding.position.index && log.hardState.term == Founding.position.term
            try log.close()
            return isUntouched
        }
        guard isUntouched, case .new(let clusterID, let members) = options.founding,
            origin.metadata == WALMetadata(clusterID: clusterID, memberID: options.memberID)
        else { throw StartError("\(logDirectory) holds a log but \(backend.path) is empty: restore the store") }
        try found(store, members)
        return true
    }

    /// The log comes first: it says who the member is.
    private func createLog(_ random: inout PRNG) throws(StartError) {
        let salt = random.next()
        let metadata = WALMetadata(clusterID: options.founding.clusterID, memberID: options.memberID)
        let start = options.founding.isNew ? Founding.position : .origin
        try orStop { () throws(WALError) in
            let log = try WriteAheadLog.create(
                in: logDirectory, fileSystem, metadata: metadata, salt: salt, start: start,
                hardState: WALHardState(term: start.term, commit: start.index), options: options.log)
            try log.close()
        }
        try syncNames()
    }

    /// The names of the log and of the data directory must outlive a power cut, wherever the log is, before anything is
    /// built on them; those that an interrupted start left too.
    private func syncNames() throws(StartError) {
        try orStop { () throws(IOError) in
            try fileSystem.syncDirectory(parentDirectory(of: logDirectory))
            try fileSystem.syncDirectory(options.dataDirectory)
            try fileSystem.syncDirectory(parentDirectory(of: options.dataDirectory))
        }
    }

    /// Writes what every founder starts from: identity and members, in one commit of the store, whose presence ends the
    /// founding.
    private func found(_ store: Store, _ members: [Membership.Member]) throws(StartError) {
        store.setMeta(MetaKeys.cluster, Bytes(MetaKeys.bigEndian(options.founding.clusterID)))
        for member in members { store.setMeta(MetaKeys.member(member.id), MemberCodec.encode(member)) }
        store.entryApplied(index: Founding.position.index, term: Founding.position.term)
        try orStop { () throws(StoreError) in
            while let batch = store.nextBatch(maxBytes: 1 << 20) {
                try backend.commit(batch)
                store.persisted(batch)
            }
        }
    }

    private func checkCluster(_ store: Store, _ identity: StateMachine.Identity) throws(StartError) {
        guard let bytes = store.meta(MetaKeys.cluster) else { return }
        guard let clusterID = MetaKeys.parseBigEndian(bytes) else {
            throw StartError("the cluster identity in \(backend.path) is unreadable")
        }
        if clusterID != identity.clusterID {
            throw StartError(
                "\(backend.path) is of cluster \(hex(clusterID)), but \(logDirectory) of cluster "
                    + "\(hex(identity.clusterID))")
        }
    }

    private func hex(_ number: UInt64) -> String { String(number, radix: 16) }

    // MARK: The log behind an installed image

    /// Begins the log anew where the store stands, if an image was installed that the log does not lead to: see
    /// `SnapshotInstall`. Returns whether it did.
    private func finishInstall(
        _ store: Store, _ log: WriteAheadLog, _ recovered: inout WALRecovered
    ) throws(StartError) -> Bool {
        let applied = WALPosition(index: store.appliedIndex, term: store.appliedTerm)
        let term = log.term(at: applied.index)
        if log.lastIndex >= applied.index, term == nil || term == applied.term { return false }
        let mark = store.meta(MetaKeys.installed).flatMap(MetaKeys.parseBigEndian)
        guard mark == applied.index.rawValue else {
            if log.lastIndex < applied.index {
                throw StartError(
                    "\(logDirectory) ends at entry \(log.lastIndex.rawValue) but \(backend.path) has applied entry "
                        + "\(applied.index.rawValue): the log has lost its end, restore it")
            }
            throw StartError(
                "\(logDirectory) holds entry \(applied.index.rawValue) of term \(term?.rawValue ?? 0), but "
                    + "\(backend.path) has applied it with term \(applied.term.rawValue): they do not belong together")
        }
        let old = log.hardState
        let hardState =
            old.term >= applied.term
            ? WALHardState(term: old.term, vote: old.vote, commit: applied.index)
            : WALHardState(term: applied.term, commit: applied.index)
        try orStop { () throws(WALError) in
            try log.restart(after: applied, hardState: hardState)
            try log.sync()
        }
        recovered.entries = []
        recovered.hardState = hardState
        return true
    }

    // MARK: Replica

    private func makeReplica(
        _ identity: StateMachine.Identity, _ store: Store, _ log: WriteAheadLog, _ recovered: WALRecovered,
        random: PRNG
    ) throws(StartError) -> Replica {
        let table: MemberTable
        do { table = try StateMachine.members(in: store) } catch { throw StartError("\(backend.path): \(error)") }
        let configuration = RaftConfiguration(
            id: identity.memberID, electionTicks: options.electionTicks, heartbeatTicks: options.heartbeatTicks,
            preVote: options.preVote)
        var terms = log.termRuns.map { EntryID(term: $0.term, index: $0.index) }
        if terms.isEmpty || terms[0].index > store.appliedIndex {
            terms.insert(EntryID(term: store.appliedTerm, index: store.appliedIndex), at: 0)
        }
        let restored = RestoredState(
            hardState: HardState(
                term: recovered.hardState.term, vote: recovered.hardState.vote, commit: recovered.hardState.commit),
            configurationState: ConfigurationState(voters: table.voters, learners: table.learners),
            // The entry that the log begins after, or its first one when the term before is not known any more.
            compacted: terms[0], applied: store.appliedIndex,
            entries: recovered.entries.map {
                Entry(
                    term: $0.term, index: $0.index, kind: EntryKind(rawValue: $0.kind) ?? .normal, payload: $0.payload)
            })
        let replica = Replica(
            configuration: configuration, restored: restored, terms: terms, options: options.replica, random: random)
        if options.advancesFirstElection {
            replica.advanceElectionTimer(ticks: options.electionTicks - options.heartbeatTicks)
        }
        return replica
    }
}
