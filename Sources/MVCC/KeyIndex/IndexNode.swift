import Primitives

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// Sums over the newest versions of a subtree's keys.
struct IndexTotals: Equatable {
    /// Keys whose newest version is no tombstone.
    var liveKeys = 0
    /// Their `rowBytes`.
    var liveRowBytes = 0
    /// Versions a compaction may remove one day.
    var superseded = 0
    /// No version in the subtree is newer. Exact after a change; after removals it may be too high.
    var newest: Int64 = 0

    static func += (a: inout IndexTotals, b: IndexTotals) {
        a.liveKeys += b.liveKeys
        a.liveRowBytes += b.liveRowBytes
        a.superseded += b.superseded
        a.newest = max(a.newest, b.newest)
    }

    /// Adds (`sign` 1) or takes away (`sign` -1) one key's part.
    @inline(__always)
    mutating func add(_ entry: KeyEntry, sign: Int) {
        if !entry.latest.isTombstone {
            liveKeys += sign
            liveRowBytes += sign * entry.latest.rowBytes
        }
        superseded += sign * entry.supersededCount
        newest = max(newest, entry.latest.main)
    }
}

/// A separator's bytes, owned by the inner node that holds it.
struct IndexSeparator {
    var base: UnsafeMutableRawPointer?
    var count: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    init() {
        base = nil
        count = 0
    }

    init(copying key: UnsafeRawBufferPointer) {
        let copy = UnsafeMutableRawPointer.allocate(byteCount: max(key.count, 1), alignment: 1)
        if let base = key.baseAddress { copy.copyMemory(from: base, byteCount: key.count) }
        base = copy
        count = key.count
    }

    func free() { base?.deallocate() }
}

/// A node of the key index: a header followed, in one block of memory, by the prefix, `capacity` heads and, in a leaf,
/// as many entries, in an inner node as many separators, children and totals.
///
/// All keys of a node share their first `prefixCount` bytes, which are kept in the node. A key's *head* is the next
/// eight bytes as a big-endian number, zero-padded: heads order as their keys do; equal heads say that the keys are
/// equal only where both end within them and are of one length. A search compares the prefix once and then numbers that
/// lie side by side; it looks at a key's own bytes, which are elsewhere (a cache miss), only where that does not
/// decide.
struct IndexNode {
    var count: Int32
    /// 0 for a leaf.
    var level: Int32
    var prefixCount: Int32
    /// The neighbours of a leaf in key order.
    var next: IndexNodePointer?
    var previous: IndexNodePointer?

    static let capacity = 64
    /// A longer shared prefix is not made use of.
    static let prefixMax = 96
}

typealias IndexNodePointer = UnsafeMutablePointer<IndexNode>

extension UnsafeMutablePointer<IndexNode> {
    private static var prefixOffset: Int { MemoryLayout<IndexNode>.stride }
    private static var headsOffset: Int { prefixOffset + IndexNode.prefixMax }
    private static var bodyOffset: Int { headsOffset + IndexNode.capacity * 8 }
    private static var childrenOffset: Int { bodyOffset + IndexNode.capacity * MemoryLayout<IndexSeparator>.stride }
    private static var totalsOffset: Int { childrenOffset + IndexNode.capacity * 8 }

    /// What a node of either kind takes.
    static var byteCount: Int {
        let leaf = bodyOffset + IndexNode.capacity * MemoryLayout<KeyEntry>.stride
        let inner = totalsOffset + IndexNode.capacity * MemoryLayout<IndexTotals>.stride
        return Swift.max(leaf, inner)
    }

    var isLeaf: Bool { pointee.level == 0 }
    var count: Int {
        get { Int(pointee.count) }
        nonmutating set { pointee.count = Int32(newValue) }
    }

    private func array<T>(_ offset: Int, _: T.Type) -> UnsafeMutablePointer<T> {
        (UnsafeMutableRawPointer(self) + offset).assumingMemoryBound(to: T.self)
    }
    var prefix: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + Self.prefixOffset }
    var heads: UnsafeMutablePointer<UInt64> { array(Self.headsOffset, UInt64.self) }
    /// Of a leaf.
    var entries: UnsafeMutablePointer<KeyEntry> { array(Self.bodyOffset, KeyEntry.self) }
    /// Of an inner node. Keys of child `i` are >= separator `i` and < separator `i + 1`; the first is not used.
    var separators: UnsafeMutablePointer<IndexSeparator> { array(Self.bodyOffset, IndexSeparator.self) }
    /// Of an inner node.
    var children: UnsafeMutablePointer<IndexNodePointer> { array(Self.childrenOffset, IndexNodePointer.self) }
    /// Of an inner node: one for each child.
    var totals: UnsafeMutablePointer<IndexTotals> { array(Self.totalsOffset, IndexTotals.self) }

    /// The first position that takes part in searches.
    var firstKey: Int { isLeaf ? 0 : 1 }

    @inline(__always)
    func key(_ index: Int) -> UnsafeRawBufferPointer {
        isLeaf ? entries[index].keyBytes : separators[index].bytes
    }

    @inline(__always)
    private func keyCount(_ index: Int) -> Int {
        isLeaf ? Int(entries[index].keyCount) : separators[index].count
    }

    // MARK: Searching

    /// The first position whose key is not below `key`, and whether it is equal.
    @inline(__always)
    func lowerBound(_ key: UnsafeRawBufferPointer) -> (index: Int, isEqual: Bool) {
        let first = firstKey
        let end = count
        if first >= end { return (end, false) }
        let prefix = Int(pointee.prefixCount)
        if prefix > 0 {
            let common = Swift.min(prefix, key.count)
            if common > 0 {
                let order = memcmp(key.baseAddress.unsafelyUnwrapped, self.prefix, common)
                if order != 0 { return (order < 0 ? first : end, false) }
            }
            if key.count < prefix { return (first, false) }
        }
        let wanted = head(of: key, from: prefix)
        let heads = self.heads
        var low = first
        var length = end - first
        while length > 0 {
            let half = length / 2
            // Written so that the compiler uses a conditional move: the outcome cannot be predicted.
            let isBelow = heads[low + half] < wanted
            low = isBelow ? low + half + 1 : low
            length = isBelow ? length - half - 1 : half
        }
        if low == end || heads[low] != wanted { return (low, false) }
        if key.count <= prefix + 8, keyCount(low) == key.count { return (low, true) }
        return lowerBoundAmongEqualHeads(key, from: low, prefix: prefix, head: wanted)
    }

    private func lowerBoundAmongEqualHeads(
        _ key: UnsafeRawBufferPointer, from start: Int, prefix: Int, head: UInt64
    ) -> (index: Int, isEqual: Bool) {
        var low = start
        var high = count
        if start + 1 == high || heads[start + 1] != head {
            high = start + 1
        } else {
            var upperLow = start + 1
            while upperLow < high {
                let middle = (upperLow + high) / 2
                if heads[middle] <= head { upperLow = middle + 1 } else { high = middle }
            }
        }
        let rest = UnsafeRawBufferPointer(rebasing: key[prefix...])
        while low < high {
            let middle = (low + high) / 2
            let order = compareBytes(UnsafeRawBufferPointer(rebasing: self.key(middle)[prefix...]), rest)
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    /// The child whose keys `key` belongs to.
    @inline(__always)
    func childIndex(_ key: UnsafeRawBufferPointer) -> Int {
        let (index, isEqual) = lowerBound(key)
        return isEqual ? index : index - 1
    }

    // MARK: Prefix and heads

    /// The eight bytes after the first `offset` of `key`, as a number that orders as they do.
    @inline(__always)
    func head(of key: UnsafeRawBufferPointer, from offset: Int) -> UInt64 {
        let rest = key.count - offset
        if rest <= 0 { return 0 }
        let base = key.baseAddress.unsafelyUnwrapped + offset
        if rest >= 8 { return UInt64(bigEndian: base.loadUnaligned(as: UInt64.self)) }
        var value: UInt64 = 0
        for index in 0..<rest { value = value << 8 | UInt64(base.load(fromByteOffset: index, as: UInt8.self)) }
        return value << (8 * UInt64(8 - rest))
    }

    /// Prepares for a key that is about to be placed: shortens the prefix where the key does not share all of it.
    func admit(_ key: UnsafeRawBufferPointer) {
        if firstKey >= count {
            setPrefix(key, count: Swift.min(key.count, IndexNode.prefixMax))
            return
        }
        let known = UnsafeRawBufferPointer(start: prefix, count: Int(pointee.prefixCount))
        let shared = commonPrefix(key, known, atMost: known.count)
        if shared < known.count {
            pointee.prefixCount = Int32(shared)
            refreshHeads()
        }
    }

    /// Finds the longest prefix anew, from the first and the last key, and all heads.
    func refreshPrefix() {
        let first = firstKey
        if first >= count {
            pointee.prefixCount = 0
            return
        }
        let key = self.key(first)
        setPrefix(key, count: commonPrefix(key, self.key(count - 1), atMost: IndexNode.prefixMax))
        refreshHeads()
    }

    private func setPrefix(_ key: UnsafeRawBufferPointer, count: Int) {
        pointee.prefixCount = Int32(count)
        if count > 0 { prefix.copyMemory(from: key.baseAddress.unsafelyUnwrapped, byteCount: count) }
    }

    private func refreshHeads() {
        let prefix = Int(pointee.prefixCount)
        let first = firstKey
        if first < count {
            for index in first..<count { heads[index] = head(of: key(index), from: prefix) }
        }
    }

    // MARK: Sums

    /// Sums over what the node holds.
    func sum() -> IndexTotals {
        var result = IndexTotals()
        if isLeaf {
            for index in 0..<count {
                let entry = entries + index
                result.add(entry.pointee, sign: 1)
            }
        } else {
            for index in 0..<count { result += totals[index] }
        }
        return result
    }
}

/// How many leading bytes `a` and `b` share, at most `atMost`.
func commonPrefix(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, atMost limit: Int) -> Int {
    let end = min(a.count, b.count, limit)
    var index = 0
    while index + 8 <= end {
        let x = a.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        let y = b.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        if x != y { return index + (UInt64(littleEndian: x) ^ UInt64(littleEndian: y)).trailingZeroBitCount / 8 }
        index += 8
    }
    while index < end, a[index] == b[index] { index += 1 }
    return index
}
