/// A history of a whole store, judged by the revisions in the answers: they are the server's own claim of the order in
/// which everything happened, and must agree with real time and with the values.
package struct RevisionHistory: Sendable {
    package enum Kind: Sendable {
        /// Changed the store; made `revision`.
        case write(revision: Int64, changes: [Change])
        /// Read a key at the store's `revision`: the value's mod revision, 0 when the key was not there.
        case read(revision: Int64, key: String, value: String?, modRevision: Int64)
    }

    /// A key's new value; nil: deleted.
    package struct Change: Sendable, Hashable {
        package var key: String
        package var value: String?

        package init(_ key: String, _ value: String?) {
            self.key = key
            self.value = value
        }
    }

    package struct Operation: Sendable {
        package var kind: Kind
        /// When it was called and when it was answered: nanoseconds of one clock.
        package var start: UInt64
        package var end: UInt64

        package init(_ kind: Kind, start: UInt64, end: UInt64) {
            self.kind = kind
            self.start = start
            self.end = end
        }

        var revision: Int64 {
            switch kind {
            case .write(let revision, _), .read(let revision, _, _, _): revision
            }
        }
    }

    private var operations: [Operation]
    /// The events that a watch of everything saw, by revision: also writes whose answer was lost.
    private let log: [Int64: [Change]]

    package init(_ operations: [Operation], log: [Int64: [Change]]) {
        self.operations = operations
        self.log = log
    }

    /// What is wrong; nil when the history is linearizable with the revisions as its order.
    package func violation() -> String? {
        realTimeViolation() ?? contentViolation()
    }

    /// An operation that was called after another had been answered must not have an older revision.
    private func realTimeViolation() -> String? {
        let byStart = operations.sorted { $0.start < $1.start }
        let byEnd = operations.sorted { $0.end < $1.end }
        var newest: Int64 = 0
        var newestWrite: Int64 = 0
        var next = 0
        for operation in byStart {
            while next < byEnd.count, byEnd[next].end < operation.start {
                newest = max(newest, byEnd[next].revision)
                if case .write(let revision, _) = byEnd[next].kind { newestWrite = max(newestWrite, revision) }
                next += 1
            }
            if operation.revision < newest {
                return
                    "an operation answered with revision \(operation.revision) began after one with \(newest) had ended"
            }
            if case .write(let revision, _) = operation.kind, revision <= newestWrite {
                return "two writes one after the other have revisions \(newestWrite) and \(revision)"
            }
        }
        return nil
    }

    private func contentViolation() -> String? {
        for operation in operations {
            guard case .write(let revision, let changes) = operation.kind else { continue }
            guard let logged = log[revision] else { return "the write of revision \(revision) has no event" }
            guard Set(logged) == Set(changes) else {
                return "revision \(revision): written \(changes), the watch saw \(logged)"
            }
        }
        var states: [String: [(revision: Int64, value: String?)]] = [:]
        for (revision, changes) in log.sorted(by: { $0.key < $1.key }) {
            for change in changes { states[change.key, default: []].append((revision, change.value)) }
        }
        for operation in operations {
            guard case .read(let revision, let key, let value, let modRevision) = operation.kind else { continue }
            let last = states[key]?.last { $0.revision <= revision }
            guard last?.value == value, value == nil || last?.revision == modRevision else {
                return "at revision \(revision) \(key) was read as \(value ?? "nothing") of \(modRevision), "
                    + "it was \(last?.value ?? "nothing") of \(last?.revision ?? 0)"
            }
        }
        return nil
    }
}
