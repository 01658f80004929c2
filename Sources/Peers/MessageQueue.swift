import DequeModule
import Primitives
import RaftCore

/// The encoded messages that wait for one member, in order and bounded. A value; its owner locks it.
struct MessageQueue {
    /// What a message costs beside its bytes: its place in the queue and the array's header, in bytes.
    static let overheadBytes = 64

    private struct Item {
        var bytes: Bytes
        var isBulk: Bool
    }

    private var items: Deque<Item> = []
    /// Bytes of all that wait, overhead included.
    private(set) var queuedBytes = 0

    var isEmpty: Bool { items.isEmpty }
    var count: Int { items.count }

    /// Whether a message is one of those that may be lost first: it carries entries, and comes again by itself.
    static func isBulk(_ message: Message) -> Bool { message.type == .append || message.type == .propose }

    /// About what a message will take, without encoding it.
    static func estimate(_ message: Message) -> Int {
        message.entries.reduce(Self.overheadBytes * 2 + message.context.count) { $0 + $1.sizeBytes }
    }

    /// Whether a message of so many bytes may wait too.
    func admits(bytes: Int, isBulk: Bool, _ limits: PeerLimits) -> Bool {
        if items.isEmpty { return true }
        return queuedBytes + bytes <= limits.queuedBytesMax + (isBulk ? 0 : limits.controlBytesMax)
    }

    mutating func append(_ bytes: Bytes, isBulk: Bool) {
        items.append(Item(bytes: bytes, isBulk: isBulk))
        queuedBytes += bytes.count + Self.overheadBytes
    }

    /// Takes messages from the front, as many as fit into `bytesMax`, one at least.
    mutating func takeBatch(bytesMax: Int) -> [Bytes] {
        var batch: [Bytes] = []
        var bytes = 0
        while let item = items.first, batch.isEmpty || bytes + item.bytes.count <= bytesMax {
            items.removeFirst()
            batch.append(item.bytes)
            bytes += item.bytes.count
            queuedBytes -= item.bytes.count + Self.overheadBytes
        }
        return batch
    }

    /// Nobody is there to take the messages: drops all but the newest `controlMax` of those that are not bulk. Returns
    /// how many were dropped.
    mutating func shed(controlMax: Int) -> Int {
        let before = items.count
        items.removeAll { $0.isBulk }
        if items.count > controlMax { items.removeFirst(items.count - controlMax) }
        queuedBytes = items.reduce(0) { $0 + $1.bytes.count + Self.overheadBytes }
        return before - items.count
    }

    mutating func removeAll() -> Int {
        defer {
            items = []
            queuedBytes = 0
        }
        return items.count
    }
}
