import DequeModule
import Primitives
import Synchronization

/// The backend thread's side: batches out, news of their durability in.
extension Store {
    /// The next batch, or nil when there is nothing to persist: the effects of whole entries of about `maxBytes` (at
    /// least one entry's), and removals. The caller commits it to the backend and then calls `persisted`; meanwhile
    /// there is no other. Backend thread.
    package func nextBatch(maxBytes: Int) -> PersistBatch? {
        backendOwner.check("the store's persisting side")
        invariant(!isBatchOut.load(ordering: .relaxed), "a batch is out already")
        var batch = PersistBatch()
        let mark = takeMarkAndMeta(&batch, maxBytes: maxBytes)
        takeSweepItems(&batch)
        if let mark {
            collectRevisions(through: mark.revision, &batch)
            batch.through = mark
            batch.endsEntry = true
            let applied = MetaKey.encode(mark.appliedIndex.rawValue, mark.appliedTerm.rawValue)
            batch.meta.append(MetaChange(key: MetaKey.applied, value: applied))
            batch.meta.append(number(MetaKey.revision, mark.revision))
            batch.meta.append(number(MetaKey.compact, mark.compactRevision))
            batch.meta.append(number(MetaKey.stateHash, Int64(mark.stateHash)))
        }
        if batch.isEmpty { return nil }
        isBatchOut.store(true, ordering: .relaxed)
        return batch
    }

    private func number(_ key: Bytes, _ value: Int64) -> MetaChange {
        MetaChange(key: key, value: MetaKey.encode(UInt64(bitPattern: value)))
    }

    private func takeMarkAndMeta(_ batch: inout PersistBatch, maxBytes: Int) -> PersistMark? {
        withState { state in
            var chosen: PersistMark?
            while let mark = state.marks.first, chosen == nil || mark.tailBytes - state.tailBytesPersisted <= maxBytes {
                chosen = mark
                state.marks.removeFirst()
            }
            guard let chosen else { return nil }
            let count = chosen.metaChanges - state.metaChangesTaken
            batch.meta.append(contentsOf: state.pendingMeta.prefix(count))
            state.pendingMeta.removeFirst(count)
            state.metaChangesTaken = chosen.metaChanges
            return chosen
        }
    }

    private func takeSweepItems(_ batch: inout PersistBatch) {
        var finished: Int64?
        withState { state in
            taking: while let item = state.sweepItems.first {
                switch item {
                case .deletions(let revisions):
                    let isFirst = batch.deletions.isEmpty
                    if !isFirst, batch.deletions.count + revisions.count > options.batchDeletionsMax { break taking }
                    batch.deletions.append(contentsOf: revisions)
                    state.pendingDeletions -= revisions.count
                case .finished(let revision):
                    finished = revision
                }
                state.sweepItems.removeFirst()
            }
        }
        // In revision order, neighbours on disk are removed together.
        batch.deletions.sort()
        if let finished { batch.meta.append(number(MetaKey.swept, finished)) }
    }

    /// Copies (shares) the tail's entries. In steps: revisions that are not persisted stay in the tail, so the lock
    /// need not be held throughout.
    private func collectRevisions(through: Int64, _ batch: inout PersistBatch) {
        let perStep: Int64 = 512
        var next = withState { $0.persisted + 1 }
        if through >= next { batch.revisions.reserveCapacity(Int(through - next + 1)) }
        while next <= through {
            let end = min(next + perStep, through + 1)
            withState { state in
                for main in next..<end { batch.revisions.append(state.tail[main]) }
            }
            next = end
        }
        for entry in batch.revisions {
            for event in entry.events { batch.recordBytes += event.storedCount }
        }
    }

    /// Publishes that `batch` is durable, and lets the tail shrink to its budget. Backend thread.
    package func persisted(_ batch: PersistBatch) {
        backendOwner.check("the store's persisting side")
        invariant(isBatchOut.load(ordering: .relaxed), "no batch is out")
        isBatchOut.store(false, ordering: .relaxed)
        guard batch.endsEntry else { return }
        let mark = batch.through
        withState { state in
            invariant(mark.revision >= state.persisted, "the persisted revision would go back")
            state.persisted = mark.revision
            state.persistedIndex = mark.appliedIndex
            state.persistedCompact = mark.compactRevision
            state.tailBytesPersisted = mark.tailBytes
            noteTailSize(state.unpersistedBytes)
        }
        trimTailToBudget()
    }

    private func trimTailToBudget() {
        var isOver = true
        while isOver {
            // Freed after the lock is released.
            var dropped: [RevisionEvents] = []
            dropped.reserveCapacity(256)
            withState { state in
                while dropped.count < 256, let entry = trimTail(&state) { dropped.append(entry) }
            }
            isOver = dropped.count == 256
        }
    }
}
