import DequeModule
import Primitives

/// How far a sweep has come.
package enum SweepProgress: Equatable, Sendable {
    /// Nothing to remove.
    case idle
    /// There is more to do: call again.
    case more
    /// There is something to remove, but not yet: the compaction is not persisted, an open plan reads at an older
    /// revision, or too many removals wait for the backend.
    case waiting
    /// Everything that a compaction up to this revision removes has been handed to the backend.
    case finished(Int64)
}

/// A walk over the index that removes what no reader at `target` or later needs.
struct SweepPass {
    let target: Int64
    /// Where to go on: the first key not looked at.
    var cursor: [UInt8] = []
}

/// Compaction: at once for readers, in small steps for the memory and the disk.
extension Store {
    /// From now on reads below `revision` are refused. Part of the entry being applied; apply thread.
    package func compact(to revision: Int64) throws(StoreError) {
        applyOwner.check("the store's write side")
        let (compact, current) = (state.pointee.compact, state.pointee.current)
        if revision <= compact { throw .compacted(compactRevision: compact) }
        if revision > current { throw .futureRevision(currentRevision: current) }
        withState { $0.compact = revision }
    }

    /// Does one step of removing what compaction has made unreachable: looks at about `maxKeys` keys that have anything
    /// to remove, skipping all others, and queues the removals for the next batches. The lock is held for one leaf of
    /// the index at a time. Apply thread, whenever it is idle or between entries.
    package func sweepStep(maxKeys: Int) -> SweepProgress {
        applyOwner.check("the store's write side")
        if applier.pointee.sweep == nil {
            let (target, swept, compact) = withState { state in
                (min(state.persistedCompact, state.persisted, state.oldestPin), state.swept, state.compact)
            }
            if target <= swept { return compact > swept ? .waiting : .idle }
            applier.pointee.sweep = SweepPass(target: target)
        }
        if withState({ $0.pendingDeletions }) > options.pendingDeletionsMax { return .waiting }
        return sweep(maxKeys: maxKeys)
    }

    private func sweep(maxKeys: Int) -> SweepProgress {
        guard var pass = applier.pointee.sweep.take() else { return .idle }
        var removed: [Revision] = []
        var keysLeft = maxKeys
        var isAtEnd = false
        while keysLeft > 0, !isAtEnd {
            isAtEnd = !sweepLeaf(&pass, &removed, &keysLeft)
        }
        if !removed.isEmpty {
            removed.sort()
            withState { state in
                state.sweepItems.append(.deletions(removed))
                state.pendingDeletions += removed.count
            }
        }
        if !isAtEnd {
            applier.pointee.sweep = pass
            return .more
        }
        withState { state in
            state.swept = pass.target
            state.sweepItems.append(.finished(pass.target))
        }
        return .finished(pass.target)
    }

    /// False when no leaf from the cursor on holds anything superseded.
    private func sweepLeaf(_ pass: inout SweepPass, _ removed: inout [Revision], _ keysLeft: inout Int) -> Bool {
        let applier = self.applier
        let found = pass.cursor.withUnsafeBytes {
            state.pointee.index.locateSuperseded(from: $0, &applier.pointee.path)
        }
        guard found else { return false }
        let leaf = applier.pointee.path.leaf
        keysLeft -= leaf.count
        pass.cursor.removeAll(keepingCapacity: true)
        pass.cursor.append(contentsOf: leaf.key(leaf.count - 1))
        // The smallest key above the leaf's last one.
        pass.cursor.append(0)
        withState { $0.index.trimLeaf(applier.pointee.path, to: pass.target, &removed) }
        return true
    }
}
