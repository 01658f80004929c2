import Primitives

/// Finds the groups whose keys a key is among: one look-up for watched single keys, and O(log groups + matches) for
/// ranges. Groups are found in an order that depends only on the requests before. Owner: the hub's event loop.
///
/// Ranges stand in a sorted array that is a balanced tree by halving, each node of which knows the greatest end below
/// it. New ranges are kept aside, and the array is rebuilt only when they are many: creating and canceling watches costs
/// O(log groups) each, over time.
struct RangeMatcher {
    private var groups: [WatchRange: WatcherGroup] = [:]
    private var singleKeys: [Bytes: WatcherGroup] = [:]
    private var tree = IntervalTree()
    private var recent: [WatcherGroup] = []

    /// The group of a range, made when there is none. Each call must be undone by one of `release`.
    mutating func acquire(_ range: WatchRange) -> WatcherGroup {
        let group = groups[range] ?? insert(range)
        group.watcherCount += 1
        return group
    }

    mutating func release(_ group: WatcherGroup) {
        group.watcherCount -= 1
        guard group.watcherCount == 0 else { return }
        groups.removeValue(forKey: group.range)
        if group.range.end == nil {
            singleKeys.removeValue(forKey: group.range.key)
        } else if group.slot >= 0 {
            tree.removeGroup(at: group.slot)
        } else {
            recent.removeAll { $0 === group }
        }
    }

    /// Rebuilds the sorted array when too many ranges came or went. Call it before a batch's look-ups.
    mutating func prepare() {
        let changesMax = max(4, tree.count / 16)
        guard recent.count > changesMax || tree.emptyCount > 2 * changesMax else { return }
        tree = IntervalTree(tree.liveGroups + recent)
        recent = []
    }

    /// Calls `body` with each group that watches `key`.
    func forEachMatch(_ key: UnsafeRawBufferPointer, _ body: (WatcherGroup) -> Void) {
        if !singleKeys.isEmpty, let group = singleKeys[Bytes(copying: key)] { body(group) }
        tree.forEachMatch(key, body)
        for group in recent where group.range.contains(key) { body(group) }
    }

    private mutating func insert(_ range: WatchRange) -> WatcherGroup {
        let group = WatcherGroup(range: range)
        groups[range] = group
        if range.end == nil { singleKeys[range.key] = group } else { recent.append(group) }
        return group
    }
}

extension WatchRange {
    func contains(_ other: UnsafeRawBufferPointer) -> Bool {
        let order = key.withUnsafeBytes { compareBytes(other, $0) }
        guard let end else { return order == 0 }
        return order >= 0 && (end.isEmpty || end.withUnsafeBytes { compareBytes(other, $0) } < 0)
    }
}

/// Ranges sorted by their first key. The middle of each part is a node, the halves before and after it are its subtrees;
/// their keys lie in one array, so that a look-up follows no references.
private struct IntervalTree {
    private struct Key {
        var offset: Int
        /// -1: beyond every key.
        var count: Int
    }

    private struct Node {
        var start: Key
        var end: Key
        /// The greatest end in the subtree.
        var endMax: Key
    }

    private var nodes: [Node] = []
    // The matcher's dictionary holds the groups; here no reference is counted for each match.
    private var slots: [Unmanaged<WatcherGroup>?] = []
    private var arena: [UInt8] = []
    private(set) var emptyCount = 0

    init() {}

    init(_ groups: [WatcherGroup]) {
        let sorted = groups.sorted { a, b in
            if a.range.key != b.range.key { return a.range.key < b.range.key }
            return a.range.end! < b.range.end!
        }
        slots = sorted.map { .passUnretained($0) }
        nodes.reserveCapacity(sorted.count)
        for (index, group) in sorted.enumerated() {
            group.slot = index
            let start = append(group.range.key)
            let end = group.range.end!.isEmpty ? Key(offset: 0, count: -1) : append(group.range.end!)
            nodes.append(Node(start: start, end: end, endMax: end))
        }
        _ = setEndMax(0, nodes.count)
    }

    var count: Int { nodes.count }
    var liveGroups: [WatcherGroup] { slots.compactMap { $0?.takeUnretainedValue() } }

    mutating func removeGroup(at slot: Int) {
        slots[slot] = nil
        emptyCount += 1
    }

    func forEachMatch(_ key: UnsafeRawBufferPointer, _ body: (WatcherGroup) -> Void) {
        guard !nodes.isEmpty else { return }
        arena.withUnsafeBytes { arena in
            nodes.withUnsafeBufferPointer { nodes in
                Self.visit(0, nodes.count, key, arena, nodes) { slot in
                    slots[slot]?._withUnsafeGuaranteedRef { body($0) }
                }
            }
        }
    }

    /// Static, over borrowed memory: no reference is counted on the way down.
    private static func visit(
        _ low: Int, _ high: Int, _ key: UnsafeRawBufferPointer, _ arena: UnsafeRawBufferPointer,
        _ nodes: UnsafeBufferPointer<Node>, _ body: (Int) -> Void
    ) {
        var low = low
        while low < high {
            let middle = (low + high) / 2
            guard isBefore(key, nodes[middle].endMax, arena) else { return }
            visit(low, middle, key, arena, nodes, body)
            guard !isBefore(key, nodes[middle].start, arena) else { return }
            if isBefore(key, nodes[middle].end, arena) { body(middle) }
            low = middle + 1
        }
    }

    private static func isBefore(
        _ key: UnsafeRawBufferPointer, _ bound: Key, _ arena: UnsafeRawBufferPointer
    ) -> Bool {
        if bound.count < 0 { return true }
        let bytes = UnsafeRawBufferPointer(rebasing: arena[bound.offset..<bound.offset + bound.count])
        return compareBytes(key, bytes) < 0
    }

    private mutating func append(_ bytes: Bytes) -> Key {
        defer { arena.append(contentsOf: bytes.array) }
        return Key(offset: arena.count, count: bytes.count)
    }

    private mutating func setEndMax(_ low: Int, _ high: Int) -> Key? {
        guard low < high else { return nil }
        let middle = (low + high) / 2
        for end in [setEndMax(low, middle), setEndMax(middle + 1, high)] {
            if let end, isLess(nodes[middle].endMax, end) { nodes[middle].endMax = end }
        }
        return nodes[middle].endMax
    }

    private func isLess(_ a: Key, _ b: Key) -> Bool {
        if a.count < 0 { return false }
        return arena.withUnsafeBytes { arena in
            let bytes = UnsafeRawBufferPointer(rebasing: arena[a.offset..<a.offset + a.count])
            return Self.isBefore(bytes, b, arena)
        }
    }
}
