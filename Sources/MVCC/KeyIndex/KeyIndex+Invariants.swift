import Primitives

extension KeyIndex {
    /// Walks the whole tree and stops the process where order, links, prefixes, heads or sums are wrong. O(n).
    func checkInvariants() {
        var walk = IndexWalk()
        let sums = walk.check(root, from: nil, to: nil, isRoot: true)
        invariant(walk.previousLeaf?.pointee.next == nil, "the last leaf has a next one")
        invariant(sums.liveKeys == totals.liveKeys, "live keys of the tree")
        invariant(sums.liveRowBytes == totals.liveRowBytes, "live bytes of the tree")
        invariant(sums.superseded == totals.superseded, "superseded versions of the tree")
        invariant(sums.newest <= totals.newest, "newest revision of the tree")
        invariant(walk.entries == entryCount, "entries of the tree")
        invariant(walk.versions == versionCount, "versions of the tree")
        invariant(walk.recordBytes == recordBytes, "record bytes of the tree")
    }
}

private struct IndexWalk {
    var previousLeaf: IndexNodePointer?
    var entries = 0
    var versions = 0
    var recordBytes = 0

    mutating func check(
        _ node: IndexNodePointer, from: UnsafeRawBufferPointer?, to: UnsafeRawBufferPointer?, isRoot: Bool
    ) -> IndexTotals {
        invariant(node.count <= IndexNode.capacity && (isRoot || node.count > 0), "a node's count")
        checkKeys(node, from: from, to: to)
        if node.isLeaf { return checkLeaf(node) }
        invariant(!isRoot || node.count > 1, "a root with one child")
        invariant(node.separators[0].base == nil, "a first separator")
        var sums = IndexTotals()
        for index in 0..<node.count {
            let child = node.children[index]
            invariant(child.pointee.level == node.pointee.level - 1, "a child's level")
            let lower = index == 0 ? from : node.key(index)
            let upper = index + 1 == node.count ? to : node.key(index + 1)
            let found = check(child, from: lower, to: upper, isRoot: false)
            let noted = node.totals[index]
            invariant(found.newest <= noted.newest, "a child's newest revision")
            invariant(
                found.liveKeys == noted.liveKeys && found.liveRowBytes == noted.liveRowBytes
                    && found.superseded == noted.superseded, "a child's sums")
            sums += noted
        }
        return sums
    }

    private func checkKeys(_ node: IndexNodePointer, from: UnsafeRawBufferPointer?, to: UnsafeRawBufferPointer?) {
        let prefix = Int(node.pointee.prefixCount)
        let known = UnsafeRawBufferPointer(start: node.prefix, count: prefix)
        guard node.firstKey < node.count else { return }
        for index in node.firstKey..<node.count {
            let key = node.key(index)
            if index > node.firstKey { invariant(compareBytes(node.key(index - 1), key) < 0, "keys out of order") }
            if let from { invariant(compareBytes(from, key) <= 0, "a key below its node's range") }
            if let to { invariant(compareBytes(key, to) < 0, "a key above its node's range") }
            invariant(key.count >= prefix, "a key shorter than its node's prefix")
            invariant(
                commonPrefix(key, known, atMost: prefix) == prefix, "a key without its node's prefix")
            invariant(node.heads[index] == node.head(of: key, from: prefix), "a head")
        }
    }

    private mutating func checkLeaf(_ leaf: IndexNodePointer) -> IndexTotals {
        invariant(leaf.pointee.previous == previousLeaf, "a leaf's previous link")
        if let previousLeaf { invariant(previousLeaf.pointee.next == leaf, "a leaf's next link") }
        previousLeaf = leaf
        for index in 0..<leaf.count {
            let entry = leaf.entries[index]
            entries += 1
            versions += 1 + Int(entry.historyCount)
            recordBytes += Int(entry.latest.recordBytes)
            invariant((entry.history == nil) == (entry.historyCount == 0), "a history's memory")
            var before = Revision(main: 0, sub: 0)
            for index in 0..<Int(entry.historyCount) {
                let version = entry.history.unsafelyUnwrapped[index]
                let revision = Revision(main: version.main, sub: version.sub)
                invariant(before < revision, "versions out of order")
                before = revision
                recordBytes += Int(version.recordBytes)
            }
            invariant(
                before < Revision(main: entry.latest.main, sub: entry.latest.sub), "a latest version out of order")
        }
        return leaf.sum()
    }
}
