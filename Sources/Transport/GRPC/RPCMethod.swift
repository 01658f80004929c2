import Primitives

/// Which sides of a call send more than one message.
package enum RPCKind: UInt8, Sendable {
    case unary, serverStreaming, clientStreaming, bidirectional

    /// The client sends exactly one message.
    @inlinable package var takesOneMessage: Bool { self == .unary || self == .serverStreaming }
}

/// A method as the transport sees it: a number to count under and to dispatch by, and its kind.
package struct RPCMethod: Sendable, Hashable {
    /// 0 ..< the dispatcher's `methodCount`.
    package let index: Int
    package let kind: RPCKind
    /// Bytes of one received message of this method, where that is less than `HTTP2Limits.receivedMessageBytesMax`.
    package let messageBytesMax: Int

    @inlinable package init(index: Int, kind: RPCKind, messageBytesMax: Int = .max) {
        self.index = index
        self.kind = kind
        self.messageBytesMax = messageBytesMax
    }
}

/// Finds methods by the bytes of their `:path`, without making a `String`: open addressing over a hash of the length
/// and three eight-byte words of the path. Built once, then immutable; any thread may read it.
package final class RPCMethodTable: Sendable {
    private struct Entry: Sendable {
        let path: [UInt8]
        let method: RPCMethod
    }

    private let entries: [Entry]
    /// Index into `entries` plus one; 0 is empty. A power of two long, at most a quarter full.
    private let slots: [UInt16]
    private let services: Set<String>

    /// `methods`: full paths (`/etcdserverpb.KV/Range`), all different; a method's index is its place in the list.
    /// `messageBytesMax`: of each method, in the same order; empty where the connection's limit holds for all.
    package init(_ methods: [(path: String, kind: RPCKind)], messageBytesMax: [Int] = []) {
        precondition(messageBytesMax.isEmpty || messageBytesMax.count == methods.count, "one limit for each method")
        entries = methods.enumerated().map { index, method in
            let bytesMax = messageBytesMax.isEmpty ? Int.max : messageBytesMax[index]
            return Entry(
                path: Array(method.path.utf8),
                method: RPCMethod(index: index, kind: method.kind, messageBytesMax: bytesMax))
        }
        var slotCount = 16
        while slotCount < methods.count * 4 { slotCount *= 2 }
        var slots = [UInt16](repeating: 0, count: slotCount)
        for (index, entry) in entries.enumerated() {
            var slot = entry.path.withUnsafeBytes { Self.hash($0) } & (slotCount - 1)
            while slots[slot] != 0 { slot = (slot + 1) & (slotCount - 1) }
            slots[slot] = UInt16(index + 1)
        }
        self.slots = slots
        services = Set(methods.compactMap { $0.path.split(separator: "/").first.map(String.init) })
    }

    package var count: Int { entries.count }

    /// The method whose path is exactly `path`. O(1).
    package func find(_ path: UnsafeRawBufferPointer) -> RPCMethod? {
        guard path.count > 0 else { return nil }
        var slot = Self.hash(path) & (slots.count - 1)
        while slots[slot] != 0 {
            let entry = entries[Int(slots[slot]) - 1]
            let same = entry.path.withUnsafeBytes { $0.count == path.count && compareBytes($0, path) == 0 }
            if same { return entry.method }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Whether any method belongs to `service` (`etcdserverpb.KV`).
    package func hasService(_ service: String) -> Bool { services.contains(service) }

    private static func hash(_ path: UnsafeRawBufferPointer) -> Int {
        var words = UInt64(truncatingIfNeeded: path.count)
        if path.count >= 8 {
            let middle = (path.count - 8) / 2
            words ^= path.loadUnaligned(fromByteOffset: path.count - 8, as: UInt64.self)
            words &*= 0x9e37_79b9_7f4a_7c15
            words ^= path.loadUnaligned(fromByteOffset: middle, as: UInt64.self)
        } else {
            for byte in path { words = words << 8 | UInt64(byte) }
        }
        words &*= 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: words >> 33)
    }
}
