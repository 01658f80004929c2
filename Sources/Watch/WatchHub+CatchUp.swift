import DequeModule
import MVCC
import Primitives

/// Lagging watchers: brought up in line, first come first served; each scan serves all whose cursor lies in it.
///
/// The first in line is always served, and then goes to the end of the line, so that every watcher whose stream has
/// room gets on within as many turns as there are watchers in line. A scan is much faster than the store can write.
extension WatchHub {
    func catchUp(_ budget: inout TurnBudget) throws(StoreError) {
        var scans = configuration.turnScansMax
        while scans > 0, budget.remains, let first = firstInLine() {
            scans -= 1
            guard try scan(from: first.next, &budget) else { return }
        }
    }

    /// A lagging watcher that can be sent something; those before it in line that cannot are taken out of it.
    private func firstInLine() -> Watcher? {
        while let watcher = lagging.first {
            if watcher.state != .queued {
                lagging.removeFirst()
            } else if !watcher.stream.isWritable {
                lagging.removeFirst()
                watcher.state = .parked
            } else if watcher.next < compactRevision {
                lagging.removeFirst()
                watcher.stream.cancelCompacted(watcher)
            } else if watcher.next > position {
                lagging.removeFirst()
                becomeSynced(watcher)
            } else {
                return watcher
            }
        }
        return nil
    }

    /// Reads from a revision that is still needed and serves the watchers in line. False: nothing could be read now.
    private func scan(from first: Int64, _ budget: inout TurnBudget) throws(StoreError) -> Bool {
        guard let (revisions, through) = try read(from: first) else { return true }
        guard through >= first else { return false }
        let (participants, lookedAt) = chooseParticipants(first...through)
        batch.fill(revisions, through: through)
        match { $0.hasParticipants }
        do throws(StoreError) {
            try completePrevious()
        } catch {
            abandon(participants)
            throw error
        }
        encodeHeader(revision: position)
        // In the order of the line, so that the first in line is served first.
        for participant in participants where participant.variant.group.hasParticipants {
            serve(participant.variant.group, &budget)
        }
        moveServed(among: lookedAt, through: through)
        endDistribution()
        return true
    }

    /// Nil when what the first in line needs has been compacted away; `compactRevision` then says so.
    private func read(from first: Int64) throws(StoreError) -> (revisions: [RevisionEvents], through: Int64)? {
        let bytesMax = configuration.batchBytesMax
        if let revisions = source.tailEvents(after: first - 1, through: position, maxBytes: bytesMax) {
            return (revisions, revisions.last?.main ?? position)
        }
        totals.historyScans += 1
        do throws(StoreError) {
            let (revisions, through) = try source.historyEvents(
                after: first - 1, maxRevisions: configuration.historyRevisionsMax, maxBytes: bytesMax,
                wantPrevious: laggingWantsPreviousCount > 0)
            return (revisions, min(through, position))
        } catch .compacted(let revision) {
            noteCompaction(to: max(revision, first + 1))
            return nil
        } catch {
            throw error
        }
    }

    /// The watchers in line that have their cursor in the scanned revisions and room in their stream, in its order; not
    /// more than a turn can serve. Also how many in line were looked at for it, from the first on.
    private func chooseParticipants(_ scanned: ClosedRange<Int64>) -> (participants: [Watcher], lookedAt: Int) {
        var participants: [Watcher] = []
        var lookedAt = 0
        while lookedAt < min(lagging.count, configuration.lineLookMax),
            participants.count < configuration.turnResponsesMax
        {
            let watcher = lagging[lookedAt]
            lookedAt += 1
            guard watcher.state == .queued, scanned.contains(watcher.next), watcher.stream.isWritable else { continue }
            participants.append(watcher)
            watcher.variant.participants.append(watcher)
            watcher.variant.group.hasParticipants = true
        }
        return (participants, lookedAt)
    }

    /// Looks up the previous values that the events of participants lack, as far as they are not compacted.
    private func completePrevious() throws(StoreError) {
        for group in touchedGroups where group.participantsWantPrevious {
            for index in group.pending where batch.lacksPrevious(index) {
                let before = batch.mains[index] - 1
                guard before >= compactRevision else { continue }
                let event = batch.events[index]
                let previous = try event.record.withUnsafeBytes { (record) throws(StoreError) in
                    try source.record(of: UnsafeRawBufferPointer(rebasing: record[event.keyRange]), at: before)
                }
                if let previous { batch.setPrevious(index, previous) }
            }
        }
    }

    private func abandon(_ participants: [Watcher]) {
        for watcher in participants {
            watcher.variant.participants.removeAll()
            watcher.variant.group.hasParticipants = false
        }
        for group in touchedGroups { group.pending.removeAll() }
        endDistribution()
    }

    private func serve(_ group: WatcherGroup, _ budget: inout TurnBudget) {
        for variant in group.variants where !variant.participants.isEmpty {
            serve(group, variant, &budget)
            variant.participants.removeAll()
        }
        group.hasParticipants = false
        group.pending.removeAll(keepingCapacity: true)
    }

    private func serve(_ group: WatcherGroup, _ variant: WatcherVariant, _ budget: inout TurnBudget) {
        payload.select(group.pending, variant.options, from: batch)
        if budget.remains, payload.count > 0, variant.participants.count > 1 { payload.encode(from: batch) }
        for watcher in variant.participants {
            let begin = payload.firstIndex(from: watcher.next, in: batch)
            let hasNothing = begin == payload.count
            watcher.isServed = hasNothing || (budget.remains && send(begin, to: watcher, &budget))
        }
    }

    /// Those who were served move on: to the synced ones, or to the end of the line. All others, participants for whom
    /// the budget was not enough among them, keep their places: nobody passes them who was not before them.
    private func moveServed(among lookedAt: Int, through: Int64) {
        var served: [Watcher] = []
        var kept: [Watcher] = []
        for watcher in lagging.prefix(lookedAt) where watcher.state == .queued {
            if watcher.isServed { served.append(watcher) } else { kept.append(watcher) }
        }
        lagging.removeFirst(lookedAt)
        lagging.prepend(contentsOf: kept)
        for watcher in served {
            watcher.isServed = false
            laggingNextSum += through + 1 - watcher.next
            watcher.next = through + 1
            if watcher.next > position { becomeSynced(watcher) } else { lagging.append(watcher) }
        }
    }
}
