/// Is the recorded history one that a single store could have had, carrying out the calls one at a time, each between its
/// beginning and its end?
///
/// A store with revisions makes that simple to decide. The watches give the order of all changes. Every answer names the
/// revision it belongs to; so it must be what the changes up to that revision lead to, and a call must not belong to a
/// revision before one that somebody had seen before the call began.
struct HistoryCheck {
    let history: History
    let operations: [Operation]
    let events: [Int64: [Change]]
    let last: Int64
    /// Every state of every key, by ascending revision; no row: deleted.
    private(set) var states: [String: [(revision: Int64, row: Row?)]] = [:]
    /// Which lease's end a revision is.
    var leaseEnds: [Int64: Int64] = [:]
    var violations: [String] = []

    /// - Parameter last: the newest revision.
    static func violations(_ history: History, last: Int64) -> [String] {
        var check = HistoryCheck(history, last)
        check.fold()
        check.checkRows()
        check.checkLeases()
        check.checkWrites()
        check.checkAnswers()
        check.checkCompactions()
        check.checkOrder()
        return history.violations + check.violations
    }

    private init(_ history: History, _ last: Int64) {
        self.history = history
        operations = history.operations
        events = history.events
        self.last = last
    }

    private mutating func fold() {
        for revision in 2..<max(2, last + 1) {
            guard let changes = events[revision] else {
                violations.append("no watch showed revision \(revision)")
                continue
            }
            for change in changes {
                let old = states[change.key]?.last?.row
                let row = change.value.map {
                    Row(
                        key: change.key, value: $0, modRevision: revision,
                        createRevision: old?.createRevision ?? revision, version: (old?.version ?? 0) + 1,
                        lease: change.lease)
                }
                states[change.key, default: []].append((revision, row))
            }
        }
    }

    /// What the watches showed beside the changes: the rows as the changes before lead to them.
    private mutating func checkRows() {
        for (revision, shown) in history.rows where revision <= last {
            let expected = (events[revision] ?? []).map { change in
                ChangedRows(row: row(change.key, at: revision), previous: row(change.key, at: revision - 1))
            }
            if shown != expected {
                violations.append("revision \(revision): watches show the rows \(shown), expected \(expected)")
            }
        }
    }

    func row(_ key: String, at revision: Int64) -> Row? {
        guard let history = states[key] else { return nil }
        var (low, high) = (0, history.count)
        while low < high {
            let middle = (low + high) / 2
            if history[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : history[low - 1].row
    }

    // MARK: Writes

    /// Every acknowledged write is in the order at its revision, every change there is somebody's, and no write is there twice.
    private mutating func checkWrites() {
        var revisions: [String: Int64] = [:]
        for (revision, changes) in events {
            for case let value? in changes.map(\.value) {
                if let before = revisions.updateValue(revision, forKey: value) {
                    violations.append("the write of \(value) was carried out twice, at \(before) and \(revision)")
                }
            }
        }
        var deletions: [Int64: String] = [:]
        var openDeletions: [String: Int] = [:]
        var sent: Set<String> = []
        for operation in operations {
            switch operation.request {
            case .put(let changes):
                sent.formUnion(changes.compactMap(\.value))
                let found = changes.first?.value.flatMap { revisions[$0] }
                checkWrite(operation, changes, found: found)
            case .swap(let change, let expected):
                if let value = change.value { sent.insert(value) }
                let found = change.value.flatMap { revisions[$0] }
                checkWrite(operation, [change], found: found)
                if let found, (row(change.key, at: found - 1)?.modRevision ?? 0) != expected {
                    violations.append("revision \(found): \(change) although \(change.key) was not at \(expected)")
                }
            case .delete(let key):
                if case .written(let revision) = operation.outcome {
                    if deletions.updateValue(key, forKey: revision) != nil {
                        violations.append("two deletions were acknowledged with revision \(revision)")
                    }
                    checkWrite(operation, [Change(key: key, value: nil)], found: revision)
                } else if case .unknown = operation.outcome {
                    openDeletions[key, default: 0] += 1
                }
            case .read, .readPast, .compact: break
            }
        }
        for (value, revision) in revisions where !sent.contains(value) {
            violations.append("revision \(revision) holds \(value), which nobody wrote")
        }
        for (revision, changes) in events {
            if leaseEnds[revision] != nil { continue }
            for change in changes where change.value == nil && deletions[revision] == nil {
                openDeletions[change.key, default: 0] -= 1
                if openDeletions[change.key, default: 0] < 0 {
                    violations.append("revision \(revision) deletes \(change.key), which nobody asked for")
                }
            }
        }
    }

    private mutating func checkWrite(_ operation: Operation, _ changes: [Change], found: Int64?) {
        switch operation.outcome {
        case .written(let revision):
            if events[revision] != changes {
                violations.append(
                    "\(changes) was acknowledged by \(operation.member) with revision \(revision), which is "
                        + "\(events[revision].map { "\($0)" } ?? "not there")")
            }
        case .unchanged, .refused:
            if let found { violations.append("\(changes) was refused and is there, at revision \(found)") }
        case .unknown:
            if let found, events[found] != changes {
                violations.append("revision \(found) is not all of the write \(changes)")
            }
        case .read, .compacted, .tooOld: break
        }
    }

    // MARK: Answers

    private mutating func checkAnswers() {
        for operation in operations {
            switch (operation.request, operation.outcome) {
            case (.read(let first, let end, _), .read(let revision, let rows)):
                checkRead(operation, first, end, at: revision, rows)
            case (.readPast(let first, let end, let revision, _), .read(let newest, let rows)):
                checkRead(operation, first, end, at: revision, rows)
                if newest < revision {
                    violations.append("\(operation.member) has \(newest) and answered what was at \(revision)")
                }
            case (.swap(let change, let expected), .unchanged(let revision, let rows)):
                let state = row(change.key, at: revision)
                if rows != (state.map { [$0] } ?? []) || (state?.modRevision ?? 0) == expected {
                    violations.append(
                        "a swap of \(change.key) from \(expected) was refused at \(revision) with \(rows), the state is "
                            + "\(state.map { "\($0)" } ?? "nothing")")
                }
            case (.delete(let key), .unchanged(let revision, _)):
                if row(key, at: revision) != nil {
                    violations.append("nothing was deleted at \(revision), where \(key) is")
                }
            default: break
            }
        }
    }

    private mutating func checkRead(
        _ operation: Operation, _ first: String, _ end: String?, at revision: Int64, _ rows: [Row]
    ) {
        let expected =
            end.map { end in
                states.keys.filter { $0 >= first && $0 < end }.sorted().compactMap { row($0, at: revision) }
            } ?? row(first, at: revision).map { [$0] } ?? []
        if rows != expected {
            violations.append(
                "a \(operation.isSerializable ? "serializable" : "linearizable") read by \(operation.member) at "
                    + "\(revision): \(rows), expected \(expected)")
        }
    }

    // MARK: Order

    /// Nothing happens before what somebody knew of when it began.
    private mutating func checkOrder() {
        var revisions: [String: Int64] = [:]
        for (revision, changes) in events {
            for case let value? in changes.map(\.value) { revisions[value] = revision }
        }
        let ended = operations.compactMap { operation in
            observed(operation).map { (time: operation.end, revision: $0) }
        }.sorted { $0.time < $1.time }
        var place = 0
        var floor: Int64 = 1
        for operation in operations.sorted(by: { $0.begin < $1.begin }) {
            while place < ended.count, ended[place].time < operation.begin {
                floor = max(floor, ended[place].revision)
                place += 1
            }
            let own: Int64?
            let isWrite: Bool
            switch operation.outcome {
            case .written(let revision): (own, isWrite) = (revision, true)
            case .unknown: (own, isWrite) = (value(of: operation).flatMap { revisions[$0] }, true)
            case .read, .unchanged, .compacted: (own, isWrite) = (observed(operation), false)
            case .tooOld, .refused: continue
            }
            guard let own else { continue }
            if own < floor || isWrite && own == floor {
                violations.append(
                    "\(operation.request) by \(operation.member) belongs to revision \(own), though \(floor) was known "
                        + "before it began")
            }
        }
    }

    /// The revision that the call shows to have been reached; none when it may have looked at the past.
    private func observed(_ operation: Operation) -> Int64? {
        operation.isSerializable ? nil : operation.revision
    }

    private func value(of operation: Operation) -> String? {
        switch operation.request {
        case .put(let changes): changes.first?.value
        case .swap(let change, _): change.value
        case .delete, .read, .readPast, .compact: nil
        }
    }
}
