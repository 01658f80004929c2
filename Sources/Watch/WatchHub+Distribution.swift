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
        var index = 0
        while index < variant.synced.count {
            let watcher = variant.synced[index]
            // Only watchers of a future revision begin elsewhere.
            let begin = watcher.next <= first ? 0 : payload.firstIndex(from: watcher.next, in: batch)
            guard begin < payload.count else {
                index += 1
                continue
            }
            if !lacks, budget.remains, watcher.stream.isWritable {
                if variant.synced.count > 1 { payload.encode(from: batch) }
                send(begin, to: watcher, &budget)
                index += 1
            } else {
                // Takes it out of the list; another comes to its place.
                becomeLagging(watcher, next: batch.mains[payload.selected[begin]])
            }
        }
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
        headerField = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            var writer = ProtoWriter(UnsafeMutableRawBufferPointer(buffer))
            writer.messageHeader(1, count: header.encodedSize)
            header.write(to: &writer)
            writer.finish()
            count = size
        }
    }

    /// Sends the payload's events from place `begin` on to one watcher, in fragments when it asked for them and they are
    /// many. Fragments leave together: half a response is of no use to anybody.
    func send(_ begin: Int, to watcher: Watcher, _ budget: inout TurnBudget) {
        let end = payload.count
        let size = headerField.count + ProtoSize.int64(2, watcher.id) + payload.size(begin..<end)
        watcher.hasSentEvents = true
        totals.eventsSent += UInt64(end - begin)
        if watcher.isFragmented, end - begin > 1, size >= configuration.fragmentBytesMax {
            payload.encode(from: batch)
            sendFragments(begin, to: watcher, &budget)
        } else {
            sendPart(begin..<end, to: watcher, isFragment: false, &budget)
        }
    }

    private func sendFragments(_ begin: Int, to watcher: Watcher, _ budget: inout TurnBudget) {
        let sizeMax =
            configuration.fragmentBytesMax - headerField.count - ProtoSize.int64(2, watcher.id)
            - ProtoSize.bool(7, true)
        var start = begin
        while start < payload.count {
            var stop = start + 1
            while stop < payload.count, payload.size(start..<stop + 1) < sizeMax { stop += 1 }
            sendPart(start..<stop, to: watcher, isFragment: stop < payload.count, &budget)
            start = stop
        }
    }

    private func sendPart(_ range: Range<Int>, to watcher: Watcher, isFragment: Bool, _ budget: inout TurnBudget) {
        let size =
            headerField.count + ProtoSize.int64(2, watcher.id) + ProtoSize.bool(7, isFragment) + payload.size(range)
        watcher.stream.sink?.send(size: size) { buffer in
            var writer = ProtoWriter(buffer)
            headerField.withUnsafeBytes { writer.raw($0) }
            writer.int64(2, watcher.id)
            writer.bool(7, isFragment)
            payload.write(range, from: batch, to: &writer)
            writer.finish()
        }
        totals.responsesSent += 1
        budget.spend(messages: 1, bytes: size)
    }
}
