package import Primitives

/// The append messages sent to one member and not acknowledged, oldest first: a window bounded in messages and bytes.
package struct Inflights: Sendable, Hashable {
    private struct Item: Sendable, Hashable {
        var last: LogIndex
        var bytes: Int
    }

    package let messagesMax: Int
    package let bytesMax: Int
    private var items: [Item] = []
    /// Items before this position are acknowledged; they are removed when they outnumber the others.
    private var head = 0
    package private(set) var bytes = 0

    package init(messagesMax: Int, bytesMax: Int) {
        self.messagesMax = messagesMax
        self.bytesMax = bytesMax
    }

    package var count: Int { items.count - head }

    /// True when no further message with entries may be sent.
    package var isFull: Bool { count >= messagesMax || bytes >= bytesMax }

    /// Adds a message whose last entry is `last`; indexes never go back.
    package mutating func add(last: LogIndex, bytes: Int) {
        invariant(!isFull, "inflight window overflows")
        invariant(count == 0 || items[items.count - 1].last < last, "inflight messages out of order")
        items.append(Item(last: last, bytes: bytes))
        self.bytes += bytes
    }

    /// Frees every message whose last entry is at or before `index`. Amortised O(1) per message.
    package mutating func free(through index: LogIndex) {
        while head < items.count, items[head].last <= index {
            bytes -= items[head].bytes
            head += 1
        }
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head > items.count - head {
            items.removeFirst(head)
            head = 0
        }
    }

    package mutating func reset() {
        items.removeAll(keepingCapacity: true)
        head = 0
        bytes = 0
    }
}
