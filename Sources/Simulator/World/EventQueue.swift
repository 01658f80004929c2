import HeapModule

/// Nanoseconds of the simulation's own time, the one no member's clock shows exactly.
enum Duration {
    static let microsecond: UInt64 = 1000
    static let millisecond: UInt64 = 1_000_000
    static let second: UInt64 = 1_000_000_000
}

/// One thing that is to happen.
enum SimulationEvent {
    /// An owner inside a member takes what waits for it. Void when the member has begun another life since.
    case turn(member: Int, life: Int, MemberTurn)
    case deliver(Envelope)
    /// The peer's transport tells a member that its messages to another do not arrive.
    case unreachable(member: Int, life: Int, peer: Int)
    /// The connection to a member that had been answering broke.
    case disconnected(member: Int, life: Int, peer: Int)
    /// The next chunk of a snapshot's stream arrives.
    case snapshotChunk(transfer: Int)
    /// A client begins its next request, or gives up waiting if it is still at this one.
    case client(Int, request: Int)
    case watcher(Int)
    case nemesis
    /// A machine that is down starts its process again.
    case start(member: Int)
    /// A process that is stopped goes on.
    case resume(member: Int, life: Int)
    /// Something is damaged that only a replacement of the member mends.
    case damage
    /// The operator looks after the cluster.
    case operate
    /// A member tells the others of its state.
    case probe(member: Int)
    /// A fault of the network or a disk ends.
    case heal(fault: Int)
}

/// What is to happen, by time; events of the same time in the order they were added.
struct EventQueue {
    private struct Item: Comparable {
        let time: UInt64
        let sequence: UInt64
        let event: SimulationEvent

        static func < (a: Item, b: Item) -> Bool { a.time != b.time ? a.time < b.time : a.sequence < b.sequence }
        static func == (a: Item, b: Item) -> Bool { a.sequence == b.sequence }
    }

    private var heap = Heap<Item>()
    private var sequence: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }
    var count: Int { heap.count }

    mutating func add(_ event: SimulationEvent, at time: UInt64) {
        sequence += 1
        heap.insert(Item(time: time, sequence: sequence, event: event))
    }

    mutating func next() -> (time: UInt64, event: SimulationEvent)? {
        heap.popMin().map { ($0.time, $0.event) }
    }
}
