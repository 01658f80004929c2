import DequeModule
import NIOCore
import Primitives
import Replica

/// Proposals of one event loop that wait for room: a burst of large values comes faster than a disk takes it, and neither
/// the log's uncommitted end nor what the store still has to persist may grow without bound. Owner: the loop.
struct ProposalBacklog {
    /// How often the loop looks for room while something waits: well under the time of one commit of the store.
    static let pollInterval = TimeAmount.milliseconds(2)
    /// The payload bytes that may wait; beyond them requests are refused.
    private static let waitingBytesMax = 256 << 20
    /// Large payloads proposed and not answered, over all loops: less than Raft's `uncommittedBytesMax`, which refuses.
    private static let proposedBytesMax = 40 << 20
    /// Smaller payloads are not counted: there are never enough of them at once.
    private static let largeBytes = 16 << 10

    private var waiting = Deque<Proposal>()
    private var waitingBytes = 0
    private var proposed: [UInt64: Int] = [:]
    private var proposedBytes = 0
    private let share: Int

    init(loopCount: Int) { share = Self.proposedBytesMax / max(1, loopCount) }

    var isEmpty: Bool { waiting.isEmpty }
    var count: Int { waiting.count }

    /// Whether a payload may be proposed now: nothing waits before it, and not too much is under way.
    func hasRoom(for bytes: Int) -> Bool { waiting.isEmpty && fits(bytes) }

    private func fits(_ bytes: Int) -> Bool {
        bytes < Self.largeBytes || proposed.isEmpty || proposedBytes + bytes <= share
    }

    /// False, and nothing is kept, when too much waits.
    mutating func append(_ proposal: Proposal) -> Bool {
        guard waitingBytes + proposal.payload.count <= Self.waitingBytesMax else { return false }
        waitingBytes += proposal.payload.count
        waiting.append(proposal)
        return true
    }

    /// The first that waits, if there is room for it.
    mutating func popFirst() -> Proposal? {
        guard let first = waiting.first, fits(first.payload.count) else { return nil }
        waitingBytes -= first.payload.count
        return waiting.removeFirst()
    }

    mutating func proposed(_ proposal: Proposal) {
        guard proposal.payload.count >= Self.largeBytes else { return }
        proposed[proposal.id] = proposal.payload.count
        proposedBytes += proposal.payload.count
    }

    mutating func answered(_ id: UInt64) {
        guard !proposed.isEmpty, let bytes = proposed.removeValue(forKey: id) else { return }
        proposedBytes -= bytes
    }
}
