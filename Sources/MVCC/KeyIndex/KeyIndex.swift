import Primitives

/// From key to its versions: a B-tree in memory, with sums at every inner node.
///
/// The sums (live keys, bytes of their rows, newest revision) make `count` over a range at the current revision a
/// matter of one path, O(log n), and at an older one skip every subtree that has not changed since. The lengths are
/// those of the stored records, so the byte length of an answer is known before anything is read.
///
/// Owner: the apply thread alone changes it, holding the store's lock while it does; it may read without. Readers hold
/// the lock. Nothing here takes it. Memory: 56 bytes a key, 8 for its head, its bytes, 32 for each older version.
struct KeyIndex: ~Copyable {
    var root: IndexNodePointer
    var pool = NodePool()
    /// Sums over all keys.
    var totals = IndexTotals()
    /// Keys with any version, deleted ones too.
    var entryCount = 0
    /// Versions of all keys, tombstones too.
    var versionCount = 0
    /// The stored records' bytes of all versions.
    var recordBytes = 0

    init() { root = pool.makeNode(level: 0) }

    deinit { Self.freeContents(root) }

    /// Frees what the nodes hold; they themselves go with the pool.
    private static func freeContents(_ node: IndexNodePointer) {
        if node.isLeaf {
            for index in 0..<node.count { node.entries[index].free() }
        } else {
            for index in 0..<node.count {
                node.separators[index].free()
                freeContents(node.children[index])
            }
        }
    }

    // MARK: Looking up

    /// The key's entry; it stays where it is until the next insertion or removal of any key.
    @inline(__always)
    func find(_ key: UnsafeRawBufferPointer) -> UnsafeMutablePointer<KeyEntry>? {
        let leaf = leafFor(key)
        let (index, isEqual) = leaf.lowerBound(key)
        return isEqual ? leaf.entries + index : nil
    }

    @inline(__always)
    func leafFor(_ key: UnsafeRawBufferPointer) -> IndexNodePointer {
        var node = root
        while !node.isLeaf { node = node.children[node.childIndex(key)] }
        return node
    }

    /// Finds the key, or where it belongs, and notes the way there in `path`.
    func locate(_ key: UnsafeRawBufferPointer, _ path: inout IndexPath) -> UnsafeMutablePointer<KeyEntry>? {
        path.depth = 0
        var node = root
        while !node.isLeaf {
            let index = node.childIndex(key)
            path.push(node, index)
            node = node.children[index]
        }
        let (index, isEqual) = node.lowerBound(key)
        path.push(node, index)
        return isEqual ? node.entries + index : nil
    }

    // MARK: Changing

    /// Adds a version, newer than all of its key, at the place `locate` has just found. The lock must be held.
    mutating func add(_ version: KeyVersion, _ key: UnsafeRawBufferPointer, isPresent: Bool, _ path: inout IndexPath) {
        versionCount += 1
        recordBytes += Int(version.recordBytes)
        if isPresent {
            let entry = path.leaf.entries + path.leafIndex
            var change = IndexTotals()
            change.add(entry.pointee, sign: -1)
            entry.pointee.push(version)
            change.add(entry.pointee, sign: 1)
            add(change, along: path)
        } else {
            insert(key, version, &path)
        }
    }

    /// Finds the place and adds; for callers that need not know what was there before.
    mutating func add(_ version: KeyVersion, _ key: UnsafeRawBufferPointer, _ path: inout IndexPath) {
        let isPresent = locate(key, &path) != nil
        add(version, key, isPresent: isPresent, &path)
    }

    /// Adds `change` to the sums of every node on the way.
    mutating func add(_ change: IndexTotals, along path: borrowing IndexPath) {
        for step in 0..<(path.depth - 1) {
            let (node, index) = path[step]
            (node.totals + index).pointee += change
        }
        totals += change
    }
}

/// The way from the root to a place in a leaf. One belongs to the apply thread and is used again and again.
struct IndexPath: ~Copyable {
    private let steps: UnsafeMutablePointer<(node: IndexNodePointer, index: Int)>
    var depth = 0
    /// Far more levels than memory can hold keys for, with at least a quarter of each node filled.
    static let depthMax = 24

    init() { steps = .allocate(capacity: Self.depthMax) }
    deinit { steps.deallocate() }

    mutating func push(_ node: IndexNodePointer, _ index: Int) {
        invariant(depth < Self.depthMax, "the key index is too deep")
        steps[depth] = (node, index)
        depth += 1
    }

    subscript(step: Int) -> (node: IndexNodePointer, index: Int) {
        get { steps[step] }
        nonmutating set { steps[step] = newValue }
    }

    var leaf: IndexNodePointer { steps[depth - 1].node }
    var leafIndex: Int { steps[depth - 1].index }
}
