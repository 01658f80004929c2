import Wire

/// Follows one watch of everything that changes: every revision comes, once, whole and in order, and a notification of
/// progress never runs ahead of the events.
struct WatchCursor {
    /// All changes of one revision.
    struct Step: Hashable {
        var revision: Int64
        var changes: [Change]
        var rows: [ChangedRows]
    }

    /// What a watch must not do.
    struct Fault: Error, CustomStringConvertible {
        var description: String
    }

    /// The revision that comes next.
    private(set) var next: Int64

    init(from revision: Int64) { next = revision }

    /// The revisions that the answer shows, in order.
    mutating func take(_ response: Etcdserverpb_WatchResponse) throws(Fault) -> [Step] {
        var steps: [Step] = []
        for event in response.events {
            let row = Row(event.kv)
            if row.modRevision == steps.last?.revision {
                steps[steps.count - 1].add(event, row)
            } else if row.modRevision == next {
                steps.append(Step(revision: next, changes: [], rows: []))
                steps[steps.count - 1].add(event, row)
                next += 1
            } else {
                throw Fault(description: "revision \(row.modRevision) where \(next) should come")
            }
        }
        let isProgress = response.events.isEmpty && !response.created && !response.canceled
        if isProgress, response.header.revision >= next {
            throw Fault(description: "progress to \(response.header.revision) before revision \(next) came")
        }
        return steps
    }
}

extension WatchCursor.Step {
    fileprivate mutating func add(_ event: Mvccpb_Event, _ row: Row) {
        let isPut = event.type == .put
        changes.append(Change(key: row.key, value: isPut ? row.value : nil, lease: isPut ? row.lease : 0))
        rows.append(
            ChangedRows(row: isPut ? row : nil, previous: event.hasPrevKv ? Row(event.prevKv) : nil))
    }
}
