import IOInterfaces
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import WriteAheadLog

/// One machine: a disk that outlives its processes, a clock, and a process most of the time.
///
/// Owner: the simulation's thread.
final class Machine {
    enum Status {
        /// Not a member yet.
        case absent
        case down
        case running
        /// The process is stopped, and knows nothing of it.
        case paused
        /// Its member was removed from the cluster; it never comes back.
        case removed
    }

    static let dataDirectory = "data"

    let index: Int
    let id: MemberID
    let fileSystem: MemoryFileSystem
    var backend = MemoryBackend()
    var options: ServerCoreOptions
    var clock: MachineClock
    var random: PRNG

    var status = Status.absent
    /// Counts processes, from 1.
    var life = 0
    var driver: MemberDriver?
    var watchFront: WatchFront?
    var witness = RaftWitness()
    /// Owners whose turn is on its way.
    var scheduled = Array(repeating: false, count: MemberTurn.allCases.count)
    /// What arrived while the process was stopped.
    var heldEvents: [ReplicaEvent] = []
    /// Turns after which the meta entries are digested.
    var appliedTurns = 0
    /// Whether something was done to this machine that explains a start that fails.
    var isHarmed = false
    /// A bit of its log has flipped since its process last ran.
    var logDamage: LogDamage?
    /// A bit of a stored record has flipped.
    var isRecordFlipped = false
    /// Records that the planted bug `trust-records` serves with a flipped bit.
    let flippedRecords = FlippedRecords()
    /// Its data is damaged, and it does not start any more: the operator replaces it.
    var isBroken = false
    /// Its state is wrong from this entry on.
    var wrongSince: LogIndex?
    /// The snapshot it is receiving.
    var incomingTransfer: Int?
    /// A fault that made its disk full.
    var isDiskFull = false
    var internalIDs: UInt64
    /// It has applied its own removal.
    var isRemoved = false
    /// It stays away in the majority phase.
    var isLeftOut = false
    /// Nothing reaches it since that moment; nil otherwise.
    var deafSince: UInt64?

    init(index: Int, options: ServerCoreOptions, clock: MachineClock, random: PRNG) {
        self.index = index
        id = options.memberID
        self.options = options
        self.clock = clock
        self.random = random
        internalIDs = UInt64(index + 1) << 48
        fileSystem = MemoryFileSystem(seed: self.random.next())
    }

    var isUp: Bool { status == .running || status == .paused }

    /// The process is gone; with `losesPower`, so is what the disk was not made to keep.
    func die(losesPower: Bool) {
        if let driver { internalIDs = driver.internalIDsUsedThrough }
        driver = nil
        watchFront = nil
        heldEvents = []
        incomingTransfer = nil
        status = .down
        backend.crash()
        fileSystem.clearFaults()
        if losesPower { fileSystem.crash() }
        witness.noteRestart()
    }

    /// Bytes that all its files take; nil when the disk does not say.
    var usedBytes: Int? { (try? fileSystem.freeBytes(".")).map { Int.max - Int($0) } }

    /// Opens the data directory. Throws what would end the process at its start.
    func start(now: UInt64, bug: PlantedBug?) throws {
        life += 1
        scheduled = Array(repeating: false, count: scheduled.count)
        try fileSystem.createDirectory(Self.dataDirectory)
        let opened: any Backend =
            switch bug {
            case .lateAppliedIndex: LateIndexBackend(backend)
            case .trustRecords: TrustingBackend(backend, flippedRecords)
            default: backend
            }
        let core = try ServerCore.open(options, fileSystem: fileSystem, backend: opened, random: &random)
        driver = MemberDriver(
            core: core, now: now, firstInternalID: internalIDs, bug: bug, random: PRNG(seed: random.next()))
        watchFront = try WatchFront(
            store: core.store, clusterID: options.founding.clusterID, memberID: id, random: &random)
        status = .running
    }

    /// The log as far as the process has it.
    var log: LogMatchingChecker.Log? {
        guard let replica = driver?.core.replica else { return nil }
        return replica.inspect { raft in
            var terms: [Term] = []
            // What was compacted in memory is no longer looked at.
            var first = raft.lastIndex.advanced(by: 1)
            while first > raft.firstIndex, first > LogIndex(1), let term = raft.logTerm(at: first.advanced(by: -1)) {
                terms.append(term)
                first = first.advanced(by: -1)
            }
            return LogMatchingChecker.Log(
                member: raft.id, firstIndex: first, lastIndex: raft.lastIndex, commit: raft.commit,
                terms: terms.reversed())
        }
    }
}
