import Primitives
import RaftCore

/// Proposals that wait for a leader, in the order in which they came, bounded in bytes and in time.
struct HeldProposals {
    enum Item {
        case proposal(Proposal)
        /// Proposals that another member forwarded, thinking that this one leads.
        case forwarded(Message)
    }

    struct Change {
        let id: UInt64
        let change: ConfigurationChange
        let kind: EntryKind
        let payload: Bytes
        var tick: UInt64
        /// Why it was not proposed when it was last tried.
        var reason = ProposalError.noLeader
    }

    private static let changesMax = 64

    private var items: [(tick: UInt64, bytes: Int, item: Item)] = []
    private var bytes = 0
    /// Membership changes wait beside the others: one that waits for the end of another must not hold them up.
    private(set) var changes: [Change] = []

    var isEmpty: Bool { items.isEmpty && changes.isEmpty }
    var hasItems: Bool { !items.isEmpty }

    /// Keeps an item; false when there is no room.
    mutating func hold(_ item: Item, tick: UInt64, bytesMax: Int) -> Bool {
        let size: Int
        switch item {
        case .proposal(let proposal): size = proposal.payload.count + Entry.overheadBytes
        case .forwarded(let message): size = message.entries.reduce(0) { $0 + $1.sizeBytes }
        }
        guard bytes + size <= bytesMax else { return false }
        bytes += size
        items.append((tick, size, item))
        return true
    }

    mutating func hold(_ change: Change) -> Bool {
        guard changes.count < Self.changesMax else { return false }
        changes.append(change)
        return true
    }

    mutating func takeItems() -> [(tick: UInt64, item: Item)] {
        defer {
            items = []
            bytes = 0
        }
        return items.map { ($0.tick, $0.item) }
    }

    mutating func takeChanges() -> [Change] {
        defer { changes = [] }
        return changes
    }

    /// Removes what came at `tick` or before.
    mutating func expire(through tick: UInt64) -> (items: [Item], changes: [Change]) {
        let old = items.prefix { $0.tick <= tick }
        for (_, size, _) in old { bytes -= size }
        items.removeFirst(old.count)
        let oldChanges = changes.filter { $0.tick <= tick }
        changes.removeAll { $0.tick <= tick }
        return (old.map(\.item), oldChanges)
    }
}
