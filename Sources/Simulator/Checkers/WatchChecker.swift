import Primitives

/// An event as a client receives it.
package struct WatchedEvent: Hashable, Sendable {
    package var record: Record
    package var isDelete: Bool
    package var previous: Record?

    package init(record: Record, isDelete: Bool, previous: Record?) {
        self.record = record
        self.isDelete = isDelete
        self.previous = previous
    }
}

/// The guarantees of one watch through all the streams it is resumed on: ordered, each event once, no gap, all of a
/// revision together, the right previous values, no progress ahead of events. Source: kubernetes-contract, section 9.
package struct WatchChecker {
    package let range: KeyRange
    package let wantsPrevious: Bool
    /// Everything before this revision has been received.
    package private(set) var next: Int64
    /// Events received, for those who want to know that there were some.
    package private(set) var received = 0

    package init(range: KeyRange, wantsPrevious: Bool, start: Int64) {
        self.range = range
        self.wantsPrevious = wantsPrevious
        next = start
    }

    /// One whole response with events: it goes on where the last one ended, lacks nothing, and ends with a revision.
    package mutating func receive(
        _ events: [WatchedEvent], headerRevision: Int64, in history: CommittedHistory
    ) throws(Violation) {
        guard let last = events.last?.record.modRevision else { throw complaint("a response without events") }
        guard last <= history.model.revision else {
            throw complaint("revision \(last) is watched, and nobody has applied it")
        }
        guard headerRevision >= last else { throw complaint("a header of \(headerRevision) for events of \(last)") }
        let expected = history.model.changes(in: range, from: next, through: last)
        guard events.count == expected.count else {
            throw complaint(
                "from \(next) through \(last) there are \(expected.count) events, received were "
                    + "\(events.map { $0.record.modRevision })")
        }
        for (event, change) in zip(events, expected) { try check(event, change, history) }
        next = last + 1
        received += events.count
    }

    private func check(_ event: WatchedEvent, _ change: Change, _ history: CommittedHistory) throws(Violation) {
        guard event.record == change.record, event.isDelete == change.isDelete else {
            throw complaint("received \(event.record), and it was \(change.record)")
        }
        if !wantsPrevious {
            if event.previous != nil { throw complaint("a previous value that nobody asked for: \(event)") }
        } else if event.previous != change.previous {
            // Only what was compacted before the watch came to it may be missing.
            let isCompacted = event.previous == nil && change.record.modRevision <= history.model.compactRevision
            if !isCompacted {
                throw complaint(
                    "the previous value at \(change.record.modRevision) is \(String(describing: event.previous)), and "
                        + "must be \(String(describing: change.previous))")
            }
        }
    }

    /// A progress response: every event up to its revision has been received.
    package mutating func progress(revision: Int64, in history: CommittedHistory) throws(Violation) {
        guard revision <= history.model.revision else {
            throw complaint("progress of \(revision), and nobody has applied it")
        }
        let missing = history.model.changes(in: range, from: next, through: revision)
        if let first = missing.first {
            throw complaint(
                "progress of \(revision) while the event of \(first.record.modRevision) has not been received")
        }
        next = max(next, revision + 1)
    }

    /// The watch ended because its history is gone.
    ///
    /// - Parameter start: the revision it was to go on from.
    package func compacted(at revision: Int64, in history: CommittedHistory) throws(Violation) {
        guard revision <= history.model.compactRevision, next < revision else {
            throw complaint(
                "canceled as compacted at \(revision) while it was at \(next); the cluster is compacted at "
                    + "\(history.model.compactRevision)")
        }
    }

    /// After the end of a run: nothing is missing.
    package func finish(in history: CommittedHistory) throws(Violation) {
        let missing = history.model.changes(in: range, from: next, through: history.model.revision)
        if let first = missing.first { throw complaint("the event of \(first.record.modRevision) never came") }
    }

    private func complaint(_ message: String) -> Violation { Violation("watch", "\(range.key): \(message)") }
}
