import Primitives

/// Insertion, splitting, removal and merging. All of it is done by the apply thread under the store's lock.
extension KeyIndex {
    /// Places a key that is not there yet, at the end of `path`.
    mutating func insert(_ key: UnsafeRawBufferPointer, _ version: KeyVersion, _ path: inout IndexPath) {
        while path.leaf.count == IndexNode.capacity {
            splitOne(path)
            let entry = locate(key, &path)
            invariant(entry == nil, "a split brought a key into being")
        }
        let leaf = path.leaf
        let index = path.leafIndex
        leaf.admit(key)
        let moved = leaf.count - index
        (leaf.entries + index + 1).update(from: leaf.entries + index, count: moved)
        (leaf.heads + index + 1).update(from: leaf.heads + index, count: moved)
        (leaf.entries + index).initialize(to: KeyEntry(copying: key, version))
        leaf.heads[index] = leaf.head(of: key, from: Int(leaf.pointee.prefixCount))
        leaf.count += 1
        entryCount += 1
        var change = IndexTotals()
        change.add(leaf.entries[index], sign: 1)
        add(change, along: path)
    }

    /// Splits the highest full node of the way that has a parent with room; the way must then be found anew.
    private mutating func splitOne(_ path: borrowing IndexPath) {
        var level = path.depth - 1
        while level > 0, path[level - 1].node.count == IndexNode.capacity { level -= 1 }
        if level == 0 {
            let top = pool.makeNode(level: root.pointee.level + 1)
            top.count = 1
            (top.separators).initialize(to: IndexSeparator())
            (top.children).initialize(to: root)
            (top.totals).initialize(to: totals)
            split(childAt: 0, of: top, insertionIndex: path[0].index)
            root = top
        } else {
            split(childAt: path[level - 1].index, of: path[level - 1].node, insertionIndex: path[level].index)
        }
    }

    private mutating func split(childAt index: Int, of parent: IndexNodePointer, insertionIndex: Int) {
        let left = parent.children[index]
        let right: IndexNodePointer
        let separator: IndexSeparator
        if left.isLeaf {
            // Keys that come in ascending order fill each leaf instead of leaving it half empty.
            let isAppend = insertionIndex == left.count && left.pointee.next == nil
            right = moveEntries(of: left, from: isAppend ? left.count - 1 : left.count / 2)
            let last = left.key(left.count - 1)
            let first = right.key(0)
            let length = commonPrefix(last, first, atMost: last.count) + 1
            separator = IndexSeparator(copying: UnsafeRawBufferPointer(rebasing: first[..<length]))
        } else {
            (right, separator) = moveChildren(of: left, from: left.count / 2)
        }
        left.refreshPrefix()
        right.refreshPrefix()
        insertChild(right, separator, right.sum(), at: index + 1, of: parent)
        parent.totals[index] = left.sum()
    }

    private mutating func moveEntries(of left: IndexNodePointer, from middle: Int) -> IndexNodePointer {
        let right = pool.makeNode(level: 0)
        right.count = left.count - middle
        right.entries.update(from: left.entries + middle, count: right.count)
        left.count = middle
        right.pointee.next = left.pointee.next
        right.pointee.previous = left
        left.pointee.next?.pointee.previous = right
        left.pointee.next = right
        return right
    }

    private mutating func moveChildren(
        of left: IndexNodePointer, from middle: Int
    ) -> (IndexNodePointer, IndexSeparator) {
        let right = pool.makeNode(level: left.pointee.level)
        right.count = left.count - middle
        right.children.update(from: left.children + middle, count: right.count)
        right.totals.update(from: left.totals + middle, count: right.count)
        right.separators.update(from: left.separators + middle, count: right.count)
        left.count = middle
        let separator = right.separators[0]
        right.separators[0] = IndexSeparator()
        return (right, separator)
    }

    private func insertChild(
        _ child: IndexNodePointer, _ separator: IndexSeparator, _ sums: IndexTotals, at index: Int,
        of parent: IndexNodePointer
    ) {
        parent.admit(separator.bytes)
        let moved = parent.count - index
        (parent.children + index + 1).update(from: parent.children + index, count: moved)
        (parent.totals + index + 1).update(from: parent.totals + index, count: moved)
        (parent.separators + index + 1).update(from: parent.separators + index, count: moved)
        (parent.heads + index + 1).update(from: parent.heads + index, count: moved)
        parent.children[index] = child
        parent.totals[index] = sums
        parent.separators[index] = separator
        parent.heads[index] = parent.head(of: separator.bytes, from: Int(parent.pointee.prefixCount))
        parent.count += 1
    }

    // MARK: Removal

    /// Leaves of fewer entries, and inner nodes of fewer children, are merged with a neighbour where both fit.
    private static let fillMin = IndexNode.capacity / 4
    /// A merged node keeps room, so that the next insertion does not split it again.
    private static let mergedMax = IndexNode.capacity * 3 / 4

    /// Removes entry `index` of the leaf at the end of `path`, which is not to be used afterwards.
    mutating func removeEntry(at index: Int, _ path: borrowing IndexPath) {
        let leaf = path.leaf
        var change = IndexTotals()
        change.add(leaf.entries[index], sign: -1)
        change.newest = 0
        add(change, along: path)
        leaf.entries[index].free()
        let moved = leaf.count - index - 1
        (leaf.entries + index).update(from: leaf.entries + index + 1, count: moved)
        (leaf.heads + index).update(from: leaf.heads + index + 1, count: moved)
        leaf.count -= 1
        entryCount -= 1
    }

    /// Merges or removes nodes that have become too small along the way, after `removeEntry`; the way is then invalid.
    mutating func rebalance(_ path: borrowing IndexPath) {
        var level = path.depth - 1
        while level > 0 {
            let (parent, index) = path[level - 1]
            let node = path[level].node
            if node.count >= Self.fillMin { break }
            if node.count == 0 {
                unlinkIfLeaf(node)
                pool.giveBack(node)
                removeChild(at: index, of: parent)
            } else if index + 1 < parent.count, fits(node, parent.children[index + 1]) {
                merge(childAt: index + 1, intoPreviousOf: parent)
            } else if index > 0, fits(parent.children[index - 1], node) {
                merge(childAt: index, intoPreviousOf: parent)
            } else {
                break
            }
            level -= 1
        }
        while !root.isLeaf, root.count == 1 {
            let child = root.children[0]
            root.separators[0].free()
            pool.giveBack(root)
            root = child
        }
        if !root.isLeaf, root.count == 0 {
            pool.giveBack(root)
            root = pool.makeNode(level: 0)
        }
    }

    private func fits(_ a: IndexNodePointer, _ b: IndexNodePointer) -> Bool { a.count + b.count <= Self.mergedMax }

    private mutating func merge(childAt index: Int, intoPreviousOf parent: IndexNodePointer) {
        let left = parent.children[index - 1]
        let right = parent.children[index]
        let start = left.count
        if left.isLeaf {
            (left.entries + start).update(from: right.entries, count: right.count)
            unlinkIfLeaf(right)
        } else {
            (left.children + start).update(from: right.children, count: right.count)
            (left.totals + start).update(from: right.totals, count: right.count)
            (left.separators + start).update(from: right.separators, count: right.count)
            left.separators[start] = IndexSeparator(copying: parent.separators[index].bytes)
        }
        left.count += right.count
        left.refreshPrefix()
        pool.giveBack(right)
        parent.totals[index - 1] += parent.totals[index]
        removeChild(at: index, of: parent)
    }

    private func unlinkIfLeaf(_ node: IndexNodePointer) {
        guard node.isLeaf else { return }
        node.pointee.previous?.pointee.next = node.pointee.next
        node.pointee.next?.pointee.previous = node.pointee.previous
    }

    /// Takes a child out of its parent; the child itself has been freed or emptied.
    private func removeChild(at index: Int, of parent: IndexNodePointer) {
        // The first child has no separator of its own: it inherits the range down to the parent's bound, so the one
        // that goes is its right neighbour's.
        let gone = max(index, 1)
        if gone < parent.count { parent.separators[gone].free() }
        let movedSeparators = max(parent.count - gone - 1, 0)
        (parent.separators + gone).update(from: parent.separators + gone + 1, count: movedSeparators)
        (parent.heads + gone).update(from: parent.heads + gone + 1, count: movedSeparators)
        let moved = parent.count - index - 1
        (parent.children + index).update(from: parent.children + index + 1, count: moved)
        (parent.totals + index).update(from: parent.totals + index + 1, count: moved)
        parent.count -= 1
    }
}
