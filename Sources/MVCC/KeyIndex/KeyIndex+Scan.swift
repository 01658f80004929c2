import Primitives

/// How a walk over entries ended.
enum ScanEnd {
    /// The span has no more entries.
    case finished
    /// The body asked for a stop, or the step's budget was used up; the entry is the first that was not handled (it
    /// may be one the body saw and refused). Valid while the lock is held.
    case stopped(UnsafeMutablePointer<KeyEntry>)
}

extension KeyIndex {
    /// Hands the entries of `span`, dead and alive, to `body` in key order (or the reverse), until it returns false or
    /// `entriesMax` were handed over.
    @inline(__always)
    func scan(
        _ span: KeySpan, descending: Bool, entriesMax: Int,
        _ body: (UnsafeMutablePointer<KeyEntry>) -> Bool
    ) -> ScanEnd {
        descending
            ? scanDown(span, entriesMax: entriesMax, body) : scanUp(span, entriesMax: entriesMax, body)
    }

    @inline(__always)
    private func scanUp(
        _ span: KeySpan, entriesMax: Int, _ body: (UnsafeMutablePointer<KeyEntry>) -> Bool
    ) -> ScanEnd {
        var left = entriesMax
        var node: IndexNodePointer? = leafFor(span.start)
        var index = node.unsafelyUnwrapped.lowerBound(span.start).index
        while let leaf = node {
            let end = endIndex(leaf, span.end)
            while index < end {
                let entry = leaf.entries + index
                if left == 0 || !body(entry) { return .stopped(entry) }
                left -= 1
                index += 1
            }
            if end < leaf.count { return .finished }
            node = leaf.pointee.next
            index = 0
        }
        return .finished
    }

    @inline(__always)
    private func scanDown(
        _ span: KeySpan, entriesMax: Int, _ body: (UnsafeMutablePointer<KeyEntry>) -> Bool
    ) -> ScanEnd {
        var left = entriesMax
        var node: IndexNodePointer? = span.end.map { leafFor($0) } ?? lastLeaf()
        while let leaf = node {
            let start =
                leaf.count > 0 && compareBytes(leaf.key(0), span.start) >= 0
                ? 0 : leaf.lowerBound(span.start).index
            var index = endIndex(leaf, span.end)
            while index > start {
                index -= 1
                let entry = leaf.entries + index
                if left == 0 || !body(entry) { return .stopped(entry) }
                left -= 1
            }
            if start > 0 { return .finished }
            node = leaf.pointee.previous
        }
        return .finished
    }

    /// The first position of the leaf that is not below `end`.
    @inline(__always)
    private func endIndex(_ leaf: IndexNodePointer, _ end: UnsafeRawBufferPointer?) -> Int {
        guard let end, leaf.count > 0 else { return leaf.count }
        return compareBytes(leaf.key(leaf.count - 1), end) < 0 ? leaf.count : leaf.lowerBound(end).index
    }

    private func lastLeaf() -> IndexNodePointer {
        var node = root
        while !node.isLeaf { node = node.children[node.count - 1] }
        return node
    }
}
