import MVCC
import Primitives
import Wire

/// From events to responses: which groups an event belongs to, and one response for each watcher of them.
extension WatchHub {
    /// Sends a batch that follows the position to synced watchers. Those that cannot be sent it now begin to lag.
    func distribute(_ revisions: [RevisionEvents], _ budget: inout TurnBudget) {
        guard let last = revisions.last else { return }
        batch.fill(revisions, through: last.main)
        match { $0.syncedCount > 0 }
        encodeHeader(revision: last.main)
        for group in touchedGroups {
            for variant in group.variants where !variant.synced.isEmpty { distribute(group, variant, &budget) }
            group.pending.removeAll(keepingCapacity: true)
        }
        endDistribution()
    }

    private func distribute(_ group: WatcherGroup, _ variant: WatcherVariant, _ budget: inout TurnBudget) {
        payload.select(group.pending, variant.options, from: batch)
        guard payload.count > 0 else { return }
        let first = batch.mains[payload.selected[0]]
        // Missing previous values are looked up, perhaps on disk, when the watchers catch up.
        let lacks = variant.options.contains(.previous) && payload.selected.contains { batch.lacksPrevious($0) }
        if !lacks, budget.remains, variant.synced.count > 1 { payload.encode(from: batch) }
        for watcher in variant.synced {
            // Only watchers of a future revision begin elsewhere.
            let begin = watcher.next <= first ? 0 : payload.firstIndex(from: watcher.next, in: batch)
            if begin == payload.count { continue }
            if lacks || !budget.remains || !send(begin, to: watcher, &budget) { leftBehind.append(watcher) }
        }
        for watcher in leftBehind {
            let begin = payload.firstIndex(from: watcher.next, in: batch)
            becomeLagging(watcher, next: batch.mains[payload.selected[begin]])
        }
        leftBehind.removeAll(keepingCapacity: true)
    }

    /// Fills `touchedGroups` and their `pending` with the batch's events, for groups that `isWanted`.
    func match(_ isWanted: (WatcherGroup) -> Bool) {
        matcher.prepare()
        touchedGroups.removeAll(keepingCapacity: true)
        for index in batch.events.indices {
            let event = batch.events[index]
            event.record.withUnsafeBytes { record in
                let key = UnsafeRawBufferPointer(rebasing: record[event.keyRange])
                matcher.forEachMatch(key) { group in
                    guard isWanted(group) else { return }
                    if group.pending.isEmpty { touchedGroups.append(group) }
                    group.pending.append(index)
                }
            }
        }
    }

    func endDistribution() {
        touchedGroups.removeAll(keepingCapacity: true)
        batch.clear()
        payload.trim()
    }

    /// Prepares the header that all responses of a distribution share.
    func encodeHeader(revision: Int64) {
        let header = header(revision: revision)
        let size = ProtoSize.message(1, count: header.encodedSize)
        invariant(size <= headerMemory.count, "a response header of \(size) bytes")
        headerField = UnsafeRawBufferPointer(rebasing: headerMemory[..<size])
        var writer = ProtoWriter(UnsafeMutableRawBufferPointer(rebasing: headerMemory[..<size]))
        writer.messageHeader(1, count: header.encodedSize)
        header.write(to: &writer)
        writer.finish()
    }

    /// Sends the payload's events from place `begin` on to one watcher, in fragments when it asked for them and they are
    /// many. False: its stream has no room.
    func send(_ begin: Int, to watcher: Watcher, _ budget: inout TurnBudget) -> Bool {
        let range = begin..<payload.count
        let id = watcher.id
        let header = headerField
        let size = header.count + ProtoSize.int64(2, id) + payload.size(range)
        if watcher.isFragmented, range.count > 1, size >= configuration.fragmentBytesMax {
            guard watcher.stream.isWritable else { return false }
            sendFragments(range, to: watcher, &budget)
        } else if let events = payload.encoded(range) {
            // One copy for each watcher, and no reference counted for it.
            let isSent = watcher.stream.offer(size: size) { buffer in
                var writer = ProtoWriter(buffer)
                writer.raw(header)
                writer.int64(2, id)
                writer.raw(events)
                writer.finish()
            }
            guard isSent else { return false }
            budget.spend(responses: 1, bytes: size)
        } else {
            let isSent = watcher.stream.offer(size: size) { buffer in
                var writer = ProtoWriter(buffer)
                writer.raw(header)
                writer.int64(2, id)
                payload.write(range, from: batch, to: &writer)
                writer.finish()
            }
            guard isSent else { return false }
            budget.spend(responses: 1, bytes: size)
        }
        watcher.hasSentEvents = true
        budget.eventsSent += UInt64(range.count)
        return true
    }

    /// Fragments leave together: half a response is of no use to anybody.
    private func sendFragments(_ range: Range<Int>, to watcher: Watcher, _ budget: inout TurnBudget) {
        payload.encode(from: batch)
        let id = watcher.id
        let header = headerField
        let overhead = header.count + ProtoSize.int64(2, id) + ProtoSize.bool(7, true)
        var start = range.lowerBound
        while start < range.upperBound {
            var stop = start + 1
            while stop < range.upperBound,
                overhead + payload.size(start..<stop + 1) < configuration.fragmentBytesMax
            { stop += 1 }
            let isFragment = stop < range.upperBound
            guard let events = payload.encoded(start..<stop) else { return }
            let size = header.count + ProtoSize.int64(2, id) + ProtoSize.bool(7, isFragment) + events.count
            watcher.stream.push(size: size) { buffer in
                var writer = ProtoWriter(buffer)
                writer.raw(header)
                writer.int64(2, id)
                writer.bool(7, isFragment)
                writer.raw(events)
                writer.finish()
            }
            budget.spend(responses: 1, bytes: size)
            start = stop
        }
    }
}
