import Primitives

/// A half-open range of keys. Borrowed bytes.
struct KeySpan {
    var start: UnsafeRawBufferPointer
    /// Exclusive; nil: to the last key.
    var end: UnsafeRawBufferPointer?
}

/// What counting found so far, and where to go on.
struct RangeTally {
    /// Keys that exist at the revision.
    var keys = 0
    /// The bytes of the first `rowsMax` keys' rows.
    var rowBytes = 0
    /// How many rows are still to be added to `rowBytes`; `Int.max` when there is no limit.
    var rowsLeft: Int
    /// Leaves that may still be looked at one by one in this step.
    var leavesLeft: Int
    /// Set when the step ended early: the first entry not counted. Valid while the lock is held.
    var resume: UnsafeMutablePointer<KeyEntry>?

    init(rowsMax: Int = .max, leavesMax: Int = .max) {
        rowsLeft = rowsMax
        leavesLeft = leavesMax
    }
}

extension KeyIndex {
    /// Counts the keys of `span` that exist at `revision`, and the bytes of their rows.
    ///
    /// A subtree that lies in the span and has not changed since `revision` is taken whole, from its sums. Only leaves
    /// at the edges, and those that changed later, are looked at entry by entry; `leavesMax` of them in one step.
    func count(_ span: KeySpan, at revision: Int64, _ tally: inout RangeTally) {
        tally.resume = nil
        if span.start.count == 0, span.end == nil, totals.newest <= revision, totals.liveKeys <= tally.rowsLeft {
            take(totals, &tally)
            return
        }
        count(root, from: span.start.count == 0 ? nil : span.start, to: span.end, at: revision, &tally)
    }

    private func take(_ sums: IndexTotals, _ tally: inout RangeTally) {
        tally.keys += sums.liveKeys
        if tally.rowsLeft > 0 {
            tally.rowBytes += sums.liveRowBytes
            if tally.rowsLeft != .max { tally.rowsLeft -= sums.liveKeys }
        }
    }

    private func count(
        _ node: IndexNodePointer, from: UnsafeRawBufferPointer?, to: UnsafeRawBufferPointer?, at revision: Int64,
        _ tally: inout RangeTally
    ) {
        if node.isLeaf { return countLeaf(node, from: from, to: to, at: revision, &tally) }
        let first = from.map { node.childIndex($0) } ?? 0
        let last = to.map { node.childIndex($0) } ?? node.count - 1
        if first > last { return }
        for index in first...last {
            let lower = index == first ? from : nil
            let upper = index == last ? to : nil
            let sums = node.totals + index
            if lower == nil, upper == nil, sums.pointee.newest <= revision,
                tally.rowsLeft == 0 || sums.pointee.liveKeys <= tally.rowsLeft
            {
                take(sums.pointee, &tally)
            } else {
                count(node.children[index], from: lower, to: upper, at: revision, &tally)
                if tally.resume != nil { return }
            }
        }
    }

    private func countLeaf(
        _ leaf: IndexNodePointer, from: UnsafeRawBufferPointer?, to: UnsafeRawBufferPointer?, at revision: Int64,
        _ tally: inout RangeTally
    ) {
        let first = from.map { leaf.lowerBound($0).index } ?? 0
        let last = to.map { leaf.lowerBound($0).index } ?? leaf.count
        if first >= last { return }
        if tally.leavesLeft == 0 {
            tally.resume = leaf.entries + first
            return
        }
        tally.leavesLeft -= 1
        for index in first..<last {
            guard let version = (leaf.entries + index).pointee.live(at: revision) else { continue }
            tally.keys += 1
            if tally.rowsLeft > 0 {
                tally.rowBytes += version.rowBytes
                if tally.rowsLeft != .max { tally.rowsLeft -= 1 }
            }
        }
    }
}
