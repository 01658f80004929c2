import Primitives

extension KeyIndex {
    /// Finds the leaf with something superseded that holds the first key >= `key`, or the next such one; notes the way.
    /// False: there is none. Skips subtrees that hold nothing superseded.
    func locateSuperseded(from key: UnsafeRawBufferPointer, _ path: inout IndexPath) -> Bool {
        _ = locate(key, &path)
        if path.leaf.sum().superseded > 0, path.leafIndex < path.leaf.count { return true }
        var level = path.depth - 2
        while level >= 0 {
            let (node, index) = path[level]
            var candidate = index + 1
            while candidate < node.count, node.totals[candidate].superseded == 0 { candidate += 1 }
            if candidate < node.count {
                path[level] = (node, candidate)
                path.depth = level + 1
                descendToSuperseded(node.children[candidate], &path)
                return true
            }
            level -= 1
        }
        return false
    }

    private func descendToSuperseded(_ start: IndexNodePointer, _ path: inout IndexPath) {
        var node = start
        while !node.isLeaf {
            var index = 0
            while node.totals[index].superseded == 0 { index += 1 }
            path.push(node, index)
            node = node.children[index]
        }
        path.push(node, 0)
    }

    /// Removes from the leaf at the end of `path`, from its position on, every version that no reader at `revision` or
    /// later can see, except a tombstone written at `revision` itself: a watcher that starts there must get it
    /// (etcd #19179). The revisions removed are appended to `removed`. The lock must be held; `path` is then invalid.
    mutating func trimLeaf(_ path: borrowing IndexPath, to revision: Int64, _ removed: inout [Revision]) {
        let leaf = path.leaf
        var index = path.leafIndex
        while index < leaf.count {
            let entry = leaf.entries + index
            if entry.pointee.supersededCount == 0 {
                index += 1
                continue
            }
            if trim(entry, to: revision, path, &removed) {
                removeEntry(at: index, path)
            } else {
                index += 1
            }
        }
        rebalance(path)
    }

    /// True when nothing of the entry is to remain; it then has no history any more.
    private mutating func trim(
        _ entry: UnsafeMutablePointer<KeyEntry>, to revision: Int64, _ path: borrowing IndexPath,
        _ removed: inout [Revision]
    ) -> Bool {
        let history = Int(entry.pointee.historyCount)
        let latest = entry.pointee.latest
        var dropped = history
        var dropsLatest = false
        if latest.main <= revision {
            dropsLatest = latest.isTombstone && latest.main < revision
        } else {
            let visible = entry.pointee.historyCount(through: revision)
            if visible == 0 { return false }
            let kept = entry.pointee.history.unsafelyUnwrapped[visible - 1]
            dropped = kept.isTombstone && kept.main < revision ? visible : visible - 1
        }
        if dropped > 0 {
            for index in 0..<dropped { forget(entry.pointee.history.unsafelyUnwrapped[index], &removed) }
            var change = IndexTotals()
            change.superseded = -dropped
            entry.pointee.dropOldest(dropped)
            add(change, along: path)
        }
        if dropsLatest { forget(latest, &removed) }
        return dropsLatest
    }

    private mutating func forget(_ version: KeyVersion, _ removed: inout [Revision]) {
        removed.append(Revision(main: version.main, sub: version.sub))
        versionCount -= 1
        recordBytes -= Int(version.recordBytes)
    }
}
