package import IOInterfaces
package import Leasing
package import Logging
package import MVCC
package import Primitives
package import Replica
package import StateMachine
package import Synchronization

/// What every thread of a server shares: the store and the lessor, which guard themselves, the owners' inboxes, and
/// numbers that one thread publishes and others read.
package final class ServerContext: Sendable {
    package let configuration: ServerConfiguration
    package let identity: StateMachine.Identity
    package let store: Store
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
    package let maintenanceInbox = Mailbox<MaintenanceJob>(itemsMax: 64)
    /// One for each event loop, by loop index; set once before any request is served.
    private let loops = Mutex<[LoopInbox]>([])

    // Published by the replica thread.
    package let term = Atomic<UInt64>(0)
    package let commitIndex = Atomic<UInt64>(0)
    package let lastIndex = Atomic<UInt64>(0)
    package let leader = Atomic<UInt64>(0)
    /// This member is the only voter, leads, and has applied everything from before its term: linearizable reads need
    /// nothing but the published view.
    package let servesReadsLocally = Atomic<Bool>(false)

    // Published by the apply thread.
    package let appliedIndex: Atomic<UInt64>
    package let liveBytes = Atomic<Int>(0)
    package let noSpaceAlarm = Atomic<Bool>(false)
    package let corruptAlarm = Atomic<Bool>(false)

    // Published by the log and backend threads.
    package let logDiskFull = Atomic<Bool>(false)
    package let storeDiskFull = Atomic<Bool>(false)

    /// When the NOSPACE alarm may be proposed again, in the clock's nanoseconds: once a second is enough.
    package let nextNoSpaceProposal = Atomic<UInt64>(0)

    package let isStopping = Atomic<Bool>(false)
    /// Somebody waits for the next commit of the backend: it is not to be put off.
    package let wantsCommit = Atomic<Bool>(false)
    /// Watch streams that asked for previous values.
    private let previousValueStreams = Mutex(0)
    private let requestNumbers: Atomic<UInt64>

    package init(
        configuration: ServerConfiguration, identity: StateMachine.Identity, store: Store, lessor: Lessor,
        stateMachine: StateMachine, logger: Logger, logQueue: LogQueue, wallClockMilliseconds: UInt64
    ) {
        self.configuration = configuration
        self.identity = identity
        self.store = store
        self.lessor = lessor
        self.stateMachine = stateMachine
        self.logger = logger
        self.logQueue = logQueue
        appliedIndex = Atomic(store.appliedIndex.rawValue)
        requestNumbers = Atomic(RequestID.firstNumber(wallClockMilliseconds: wallClockMilliseconds))
        publishAlarms()
    }

    /// Hands over the loops' inboxes, in order of loop index.
    package func adopt(loops inboxes: [LoopInbox]) { loops.withLock { $0 = inboxes } }

    package var loopInboxes: [LoopInbox] { loops.withLock { $0 } }

    /// While any stream watches with previous values, the store keeps them with the events.
    package func previousValueStreams(changedBy change: Int) {
        previousValueStreams.withLock { count in
            count += change
            store.keepPrevious = count > 0
        }
    }

    /// Takes the alarms' state from the state machine.
    package func publishAlarms() {
        let alarms = stateMachine.published.withLock { $0.alarms }
        noSpaceAlarm.store(alarms.contains { $0.kind == .noSpace }, ordering: .releasing)
        corruptAlarm.store(alarms.contains { $0.kind == .corrupt }, ordering: .releasing)
    }

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
