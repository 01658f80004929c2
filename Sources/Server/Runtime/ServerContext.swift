package import IOInterfaces
package import Leasing
package import Logging
package import MVCC
import Membership
package import Peers
package import Primitives
package import Replica
package import ServerCore
package import StateMachine
package import Synchronization

/// What every thread of a server shares: the store and the lessor, which guard themselves, the owners' inboxes, and
/// numbers that one thread publishes and others read.
package final class ServerContext: Sendable {
    package let configuration: ServerConfiguration
    package let quota: SpaceQuota
    package let identity: StateMachine.Identity
    package let store: Store
    /// What the store persists to: its images are sent to members that are far behind.
    package let backend: any Backend
    package let lessor: Lessor
    package let stateMachine: StateMachine
    package let clock = SystemClock()
    package let logger: Logger
    package let logQueue: LogQueue
    package let metrics = ServerMetrics()

    package let replicaInbox = Mailbox<ReplicaEvent>(itemsMax: 1 << 16)
    package let logInbox = Mailbox<LogItem>(itemsMax: 1 << 20)
    package let applyInbox = Mailbox<ApplyItem>(itemsMax: 1 << 20)
    package let backendSignal = Signal()
    /// Calls that wait for the backend thread to give disk space back.
    package let defragmentInbox = Mailbox<DefragmentRequest>(itemsMax: 64)
    package let maintenanceInbox = Mailbox<MaintenanceJob>(itemsMax: 64)
    /// One for each event loop, by loop index; set once before any request is served.
    private let loops = Mutex<[LoopInbox]>([])

    /// The other members; nil until the network to them is made, and in tests without one.
    private let peerNetwork = Mutex<PeerNetwork?>(nil)
    /// Told once when this life of the member is over: the server's owner stops it then.
    private let onLifeEnd: @Sendable (LifeEnd) -> Void

    /// This life of the member began without a store: it serves no calls, and ends when it has received one.
    package let isJoining: Bool

    // Published by the replica thread.
    package let term = Atomic<UInt64>(0)
    package let commitIndex = Atomic<UInt64>(0)
    package let lastIndex = Atomic<UInt64>(0)
    package let leader = Atomic<UInt64>(0)
    /// This member is the only voter, leads, and has applied everything from before its term: linearizable reads need
    /// nothing but the published view.
    package let servesReadsLocally = Atomic<Bool>(false)
    /// Leases may run out faster than a tick proposes their end: the applied ones make room for the next at once.
    package let isRevokingLeases = Atomic<Bool>(false)
    /// Since when there is no leader, in the clock's nanoseconds; 0 while there is one.
    package let leaderlessSince = Atomic<UInt64>(0)
    /// How far a leader knows the others to be, once a tick; empty elsewhere.
    package let matchIndexes = Mutex<[MemberID: LogIndex]>([:])

    // Published by the apply thread.
    package let appliedIndex: Atomic<UInt64>
    package let liveBytes = Atomic<Int>(0)
    package let noSpaceAlarm = Atomic<Bool>(false)
    /// An alarm CORRUPT names this member: it refuses its clients.
    package let isCorrupt = Atomic<Bool>(false)

    /// This member has no vote yet: it serves little.
    package let isLearner = Atomic<Bool>(false)

    // Published by the log and backend threads.
    /// Since when the log's disk has owed an answer, in the clock's nanoseconds; 0 while it owes none.
    package let logDiskBusySince = Atomic<UInt64>(0)
    package let logDiskFull = Atomic<Bool>(false)
    package let storeDiskFull = Atomic<Bool>(false)

    /// When the NOSPACE alarm may be proposed again, in the clock's nanoseconds: once a second is enough.
    package let nextNoSpaceProposal = Atomic<UInt64>(0)

    package let isStopping = Atomic<Bool>(false)
    /// Somebody waits for the next commit of the backend: it is not to be put off.
    package let wantsCommit = Atomic<Bool>(false)
    private let requestNumbers: Atomic<UInt64>

    package init(
        configuration: ServerConfiguration, core: ServerCore, backend: any Backend, logger: Logger,
        logQueue: LogQueue, wallClockMilliseconds: UInt64, onLifeEnd: @escaping @Sendable (LifeEnd) -> Void
    ) {
        self.configuration = configuration
        quota = SpaceQuota(bytes: configuration.quotaBytes)
        identity = core.identity
        store = core.store
        self.backend = backend
        lessor = core.lessor
        stateMachine = core.stateMachine
        self.onLifeEnd = onLifeEnd
        self.logger = logger
        self.logQueue = logQueue
        isJoining = store.appliedIndex == .zero
        appliedIndex = Atomic(store.appliedIndex.rawValue)
        requestNumbers = Atomic(RequestID.firstNumber(wallClockMilliseconds: wallClockMilliseconds))
        publishAlarms()
        publishMembership()
    }

    /// The way to the other members. Any thread.
    package var peers: PeerNetwork? { peerNetwork.withLock { $0 } }

    /// Hands over the way to the other members; once, before the owners' threads start.
    package func adopt(peers network: PeerNetwork) {
        peerNetwork.withLock { $0 = network }
        publishMembership()
    }

    /// Says that this life of the member is over. Any thread; the first word counts.
    package func endLife(_ end: LifeEnd) { onLifeEnd(end) }

    /// Tells whoever needs it that the membership has changed. Apply thread, and the starting one.
    package func publishMembership() {
        let state = stateMachine.published.withLock { $0 }
        isLearner.store(
            state.members.first { $0.id == identity.memberID }?.isLearner == true, ordering: .releasing)
        // A member that waits to be let in knows the others from its founding, and keeps those.
        if !state.members.isEmpty { peers?.setMembers(state.members.map { ($0.id, $0.peerURLs) }) }
        if state.removed.contains(identity.memberID) { endLife(.removed) }
    }

    /// Hands over the loops' inboxes, in order of loop index.
    package func adopt(loops inboxes: [LoopInbox]) { loops.withLock { $0 = inboxes } }

    package var loopInboxes: [LoopInbox] { loops.withLock { $0 } }

    /// Takes the alarms' state from the state machine.
    package func publishAlarms() {
        let state = stateMachine.published.withLock { $0 }
        noSpaceAlarm.store(state.alarms.contains { $0.kind == .noSpace }, ordering: .releasing)
        let names = state.isCorrupt(identity.memberID)
        let before = isCorrupt.exchange(names, ordering: .acquiringAndReleasing)
        guard names != before else { return }
        if names {
            logger.critical("alarm CORRUPT names this member: it refuses its clients", metadata: ownName)
        } else {
            logger.warning("alarm CORRUPT does not name this member any more: it serves", metadata: ownName)
        }
    }

    private var ownName: Logger.Metadata { ["member": "\(identity.memberID.hex)"] }

    /// An identity for a request of the server itself: nobody waits for its answer.
    package func internalRequestID() -> UInt64 {
        let number = requestNumbers.wrappingAdd(1, ordering: .relaxed).oldValue
        return RequestID.make(member: identity.memberID, loop: RequestID.noLoop, number: number)
    }

    /// Proposes a request of the server itself; dropped when there is no leader, to be tried again by whoever needs it.
    package func proposeInternally(fieldNumber: UInt32, body: Bytes) {
        let id = internalRequestID()
        replicaInbox.push(.propose(.request(id: id, fieldNumber: fieldNumber, body: body)))
    }

    /// Tells the replica what it waits for, past whatever clients and peers have sent it. Any thread; what comes after the
    /// replica has ended concerns nobody.
    package func tellReplica(_ event: ReplicaEvent, wakesOwner: Bool = true) {
        let isTold = replicaInbox.push(event, wakesOwner: wakesOwner, isOwed: true)
        invariant(isTold || isStopping.load(ordering: .acquiring), "the replica's inbox overflowed")
    }

    /// Stops the process at once: the disk or the program can no longer be trusted. Never returns to the caller's work.
    package func stopProcess(_ reason: String) -> Never {
        ProcessControl.stop(reason: reason)
    }
}

/// The identity of a request in the log: who asked, by which loop, and a number that never comes again.
///
/// 16 bits of the member's identity, 8 bits of loop index, 40 bits that count up from the wall clock's milliseconds
/// times 256 at start, so that an entry replayed after a restart meets no new request.
package enum RequestID {
    /// The loop index of requests that nobody waits for.
    package static let noLoop = 255

    package static func make(member: MemberID, loop: Int, number: UInt64) -> UInt64 {
        (member.rawValue & 0xffff) << 48 | UInt64(loop) << 40 | (number & 0xff_ffff_ffff)
    }

    package static func firstNumber(wallClockMilliseconds: UInt64) -> UInt64 { wallClockMilliseconds << 8 }

    /// The loop that waits for the request, when this member asked.
    package static func loop(of id: UInt64, member: MemberID) -> Int? {
        guard id != 0, id >> 48 == member.rawValue & 0xffff else { return nil }
        let loop = Int(id >> 40 & 0xff)
        return loop == noLoop ? nil : loop
    }
}
