import IOInterfaces
import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import StateMachine
import Synchronization
import WriteAheadLog

/// What a run proved wrong.
struct Mismatch: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func demand(_ condition: Bool, _ message: @autoclosure () -> String) throws(Mismatch) {
    if !condition { throw Mismatch(message()) }
}

/// One member with its disk through all its lives, and the model of what it must be: everything that was ever applied
/// stays, at the same index, with the same answer.
final class World {
    static let memberID: UInt64 = 0xa1
    static let clusterID: UInt64 = 0xc1

    let fileSystem: MemoryFileSystem
    let backend = MemoryBackend()
    var options: ServerCoreOptions
    var random: PRNG
    var workload: Workload
    private(set) var driver: MemberDriver?
    private(set) var now: UInt64 = 1_000_000_000

    private var nextID: UInt64 = 0
    private var operations: [Bytes: Operation] = [:]
    private var droppedIDs: Set<UInt64> = []
    /// By index, from 0: the payload, the answer, and the state after it.
    /// A founder begins with entry 1 applied, which is nowhere in its log.
    private(set) var payloads: [Bytes] = [Bytes(), Bytes()]
    private var answers: [String] = ["", ""]
    private(set) var states: [ReferenceModel]
    private var hashes: [UInt32?] = [nil, nil]
    /// The revision that a linearizable read must see at least, by its context.
    private var reads: [UInt64: Int64] = [:]
    private(set) var refusedReads = 0
    var waitingReads: Int { reads.count }

    init(seed: UInt64, capacityBytes: Int = .max) {
        random = PRNG(seed: seed)
        fileSystem = MemoryFileSystem(seed: random.next(), capacityBytes: capacityBytes)
        workload = Workload(random: PRNG(seed: random.next()), memberID: Self.memberID)
        let own = Member(id: MemberID(Self.memberID), name: "m0", peerURLs: ["http://p:1"])
        options = ServerCoreOptions(
            dataDirectory: "data", memberID: own.id, founding: .new(clusterID: Self.clusterID, members: [own]))
        options.log.segmentBytes = [4096, 8192, 32768][random.next(in: 0..<3)]
        options.log.retainedBytes = [0, 8192][random.next(in: 0..<2)]
        options.log.recyclesSegments = random.chance(oneIn: 2)
        options.store.tailBytesMax = [0, 3000, 1 << 20][random.next(in: 0..<3)]
        options.store.markBytesMin = [0, 500, 64 << 10][random.next(in: 0..<3)]
        let founded = ReferenceModel(
            memberName: "m0", memberURLs: [], clusterID: Self.clusterID, memberID: Self.memberID,
            ttlSecondsMin: options.leases.ttlSecondsMin)
        states = [founded, founded]
    }

    /// The latest state that was applied by anybody.
    var model: ReferenceModel { states[states.count - 1] }

    // MARK: Lives

    /// Starts the process: opens the data directory, and compares what the store holds with the model at its index.
    func open(campaigns: Bool = true) throws {
        try fileSystem.createDirectory(options.dataDirectory)
        let core = try ServerCore.open(options, fileSystem: fileSystem, backend: backend, random: &random)
        let driver = MemberDriver(core: core, now: now, begins: campaigns)
        self.driver = driver
        try checkState()
        if campaigns { try driver.campaign() }
    }

    /// The process dies; with `losesPower`, so does the machine.
    func die(losesPower: Bool) {
        driver = nil
        reads = [:]
        backend.crash()
        fileSystem.clearFaults()
        if losesPower { fileSystem.crash() }
    }

    // MARK: Clients

    @discardableResult
    func propose(_ operation: Operation) -> UInt64 {
        nextID += 1
        let payload = operation.payload(id: nextID)
        operations[payload] = operation
        driver?.propose(Proposal(id: nextID, payload: payload))
        return nextID
    }

    func proposeRandomly() {
        workload.revision = model.revision
        propose(workload.next())
    }

    func read() {
        nextID += 1
        reads[nextID] = model.revision
        driver?.read(context: nextID)
    }

    // MARK: Turns

    func take(_ turn: MemberTurn, itemsMax: Int = .max) throws {
        guard let driver else { return }
        try driver.take(turn, itemsMax: itemsMax)
        try absorb()
    }

    func advance(nanoseconds: UInt64) {
        now += nanoseconds
        driver?.now = now
    }

    /// Lets everything that was handed in be logged and applied.
    func drain() throws {
        try driver?.drain()
        try absorb()
    }

    /// As `drain`, with a leader; then everything that was ever applied must be applied, and the state be the model's.
    func settle() throws {
        try drain()
        guard let driver else { return }
        if !driver.isLeader {
            try driver.campaign()
            try drain()
        }
        let applied = driver.core.store.appliedIndex.rawValue
        try demand(applied == UInt64(states.count - 1), "applied \(applied) of \(states.count - 1) entries")
        try checkState()
    }

    /// Takes in what left the member: entries applied, answers, refusals.
    func absorb() throws {
        guard let driver else { return }
        let output = driver.takeOutput()
        for proposal in output.internalProposals {
            guard let operation = Operation(internal: proposal.payload) else {
                throw Mismatch("the member proposed \(proposal.payload)")
            }
            operations[proposal.payload] = operation
        }
        for (id, _) in output.dropped { droppedIDs.insert(id) }
        for applied in output.applied { try absorb(applied.entry, applied.result) }
        let revision = driver.core.store.currentRevision
        for context in output.readable {
            guard let least = reads.removeValue(forKey: context) else {
                throw Mismatch("read \(context) answered twice")
            }
            try demand(revision >= least, "a read at \(revision) after an answer at \(least)")
        }
        for context in output.refused {
            reads[context] = nil
            refusedReads += 1
        }
    }

    private func absorb(_ entry: Entry, _ result: Applied) throws {
        let index = Int(entry.index.rawValue)
        let answer = Self.describe(result.outcome)
        if index < payloads.count {
            try demand(entry.payload == payloads[index], "entry \(index) changed")
            try demand(answer == answers[index], "entry \(index) answered \(answer), before \(answers[index])")
            return
        }
        try demand(index == payloads.count, "entry \(index) after \(payloads.count - 1)")
        var model = self.model
        if entry.payload.isEmpty {
            try demand(answer == Self.describe(.nothing), "an empty entry answered \(answer)")
        } else {
            // Every payload bears an identity, so none can be applied twice.
            guard let operation = operations.removeValue(forKey: entry.payload) else {
                throw Mismatch("entry \(index) was never proposed, or twice: \(entry.payload)")
            }
            try demand(!droppedIDs.contains(result.requestID), "a dropped proposal was applied")
            let expected = Self.describe(model.apply(operation, term: entry.term))
            try demand(answer == expected, "\(operation)\n answered \(answer)\n expected \(expected)")
        }
        payloads.append(entry.payload)
        answers.append(answer)
        states.append(model)
        hashes.append(nil)
    }

    static func describe(_ outcome: ApplyOutcome) -> String {
        switch outcome {
        case .response(let bytes): "\(bytes)"
        case .refused(let error): "refused: \(error)"
        case .nothing: "nothing"
        }
    }

    // MARK: Comparing

    /// Compares everything the member holds with the model at the index it has applied.
    func checkState() throws {
        guard let core = driver?.core else { return }
        let index = Int(core.store.appliedIndex.rawValue)
        try demand(index < states.count, "applied \(index), but only \(states.count - 1) entries were ever applied")
        let expected = states[index]
        try demand(core.store.currentRevision == expected.revision, "revision \(core.store.currentRevision)")
        try demand(core.store.compactRevision == expected.compacted, "compacted \(core.store.compactRevision)")
        for revision in Set([expected.revision, max(1, expected.compacted)]).sorted() {
            let rows = try Self.rows(core.store, at: revision)
            let known = expected.keys(Bytes([0]), Bytes([0]), at: revision)
            var proto = PlainMessage()
            for key in known { proto.message(2, expected.live(key, at: revision)!.encoded(key).array) }
            try demand(rows == proto.bytes, "the keys at revision \(revision), entry \(index)")
        }
        if let hash = hashes[index] {
            try demand(hash == core.store.stateHash, "the state's hash at entry \(index)")
        }
        hashes[index] = core.store.stateHash
        try checkLeases(core, expected)
        let published = core.stateMachine.published.withLock { $0 }
        try demand(Set(published.alarms) == expected.alarms, "alarms \(published.alarms)")
        let own = published.members.first
        try demand(
            own?.name == expected.memberName && own?.clientURLs == expected.memberURLs, "members \(published.members)")
    }

    private func checkLeases(_ core: ServerCore, _ expected: ReferenceModel) throws {
        core.lessor.checkInvariants()
        let records = core.lessor.records()
        try demand(records.map(\.id.rawValue) == expected.leases.keys.sorted(), "leases \(records)")
        for record in records {
            let lease = expected.leases[record.id.rawValue]
            try demand(
                lease?.ttlSeconds == record.ttlSeconds && lease?.remainingSeconds == record.remainingSeconds,
                "\(record) is not \(String(describing: lease))")
            try demand(
                core.lessor.keys(of: record.id) == expected.keys(ofLease: record.id.rawValue),
                "keys of lease \(record.id.rawValue)")
        }
    }

    static func rows(_ store: Store, at revision: Int64) throws -> [UInt8] {
        let reader = try store.makeReader()
        var bytes: [UInt8] = []
        try RangeQuery.with(key: Bytes([0]), end: Bytes([0])) { (query) throws(StoreError) in
            query.revision = revision
            var plan = try reader.plan(query)
            bytes = try Bytes(count: plan.rowBytes) { (buffer) throws(StoreError) in
                try plan.writeAll(into: buffer)
            }.array
        }
        return bytes
    }
}
