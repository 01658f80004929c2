package import Primitives
package import StateMachine

/// A change of one key, with the version it replaced.
package struct Change: Hashable, Sendable {
    /// For a deletion the key and the revision alone.
    package var record: Record
    package var isDelete: Bool
    package var previous: Record?

    package init(record: Record, isDelete: Bool, previous: Record?) {
        self.record = record
        self.isDelete = isDelete
        self.previous = previous
    }
}

/// What a member must be after the committed entries, kept in the plainest way: every version for ever, no index, no
/// tail, no backend. Source: etcd-behaviour, sections 1.1 to 1.4.
package struct KeyValueModel: Sendable {
    package private(set) var revision: Int64 = 1
    package private(set) var compactRevision: Int64 = -1
    /// The changes of every revision from 2 on, in the order of their operations.
    package private(set) var changes: [[Change]] = []
    /// Every version of a key, ascending; a deletion has version 0.
    private var histories: [Bytes: [Record]] = [:]
    /// Every key there ever was, ascending.
    private var keys: [Bytes] = []
    /// Granted seconds by lease.
    package private(set) var leases: [Int64: Int64] = [:]
    /// By kind, then member.
    package private(set) var alarms: [Alarm] = []
    private let ttlSecondsMin: Int64

    package init(ttlSecondsMin: Int64 = 2) { self.ttlSecondsMin = ttlSecondsMin }

    // MARK: Looking

    /// What `key` was at `revision`; nil when it was not there.
    package func record(_ key: Bytes, at revision: Int64) -> Record? {
        guard let history = histories[key], let version = history.last(where: { $0.modRevision <= revision }) else {
            return nil
        }
        return version.version == 0 ? nil : version
    }

    /// The records in a range at a revision, by key.
    package func records(_ range: KeyRange, at revision: Int64) -> [Record] {
        if range.end.isEmpty { return record(range.key, at: revision).map { [$0] } ?? [] }
        return keys.filter { range.contains($0) }.compactMap { record($0, at: revision) }
    }

    /// The changes from `first` to `last` of keys in `range`, in order.
    package func changes(in range: KeyRange, from first: Int64, through last: Int64) -> [Change] {
        guard max(2, first) <= last else { return [] }
        var found: [Change] = []
        for revision in max(2, first)...last {
            for change in changes[Int(revision) - 2] where range.contains(change.record.key) { found.append(change) }
        }
        return found
    }

    package func keys(ofLease id: Int64) -> [Bytes] {
        keys.filter { record($0, at: revision)?.lease == id }
    }

    // MARK: Applying

    /// Applies one committed request, and says what it must answer.
    package mutating func apply(_ request: Request) -> Answer {
        switch request {
        case .single(let operation):
            if let refusal = refusal([operation]) { return Answer(.refused(refusal), revision: 0) }
            let result = perform([operation])[0]
            return Answer(.single(result), revision: revision)
        case .txn(let compares, let success, let failure):
            let succeeded = compares.allSatisfy { holds($0) }
            let operations = succeeded ? success : failure
            if let refusal = refusal(operations) { return Answer(.refused(refusal), revision: 0) }
            let results = perform(operations)
            return Answer(.txn(succeeded: succeeded, results), revision: revision)
        case .compact(let target):
            if target <= compactRevision { return Answer(.refused(.compacted), revision: 0) }
            if target > revision { return Answer(.refused(.futureRevision), revision: 0) }
            compactRevision = target
            return Answer(.done, revision: revision)
        case .grant(let id, let ttlSeconds):
            if isFull { return Answer(.refused(.noSpace), revision: 0) }
            if leases[id] != nil { return Answer(.refused(.leaseExists), revision: 0) }
            leases[id] = max(ttlSeconds, ttlSecondsMin)
            return Answer(.lease(id: id, ttlSeconds: leases[id]!), revision: revision)
        case .revoke(let id):
            if leases[id] == nil { return Answer(.refused(.leaseNotFound), revision: 0) }
            let attached = keys(ofLease: id)
            leases[id] = nil
            _ = perform(attached.map { .delete(KeyRange(key: $0), wantsPrevious: false) })
            return Answer(.done, revision: revision)
        case .alarm(let action, let member, let kind): return alarm(action, Alarm(member: member, kind: kind))
        case .checkpoint, .other: return Answer(.done, revision: 0)
        }
    }

    /// While any member has no space, nothing grows.
    private var isFull: Bool { alarms.contains { $0.kind == .noSpace } }

    private mutating func alarm(_ action: Int32, _ alarm: Alarm) -> Answer {
        var concerned: [Alarm] = []
        switch action {
        case StateMachine.AlarmAction.activate:
            if !alarms.contains(alarm) { alarms.append(alarm) }
            alarms.sort { ($0.kind.rawValue, $0.member) < ($1.kind.rawValue, $1.member) }
            concerned = [alarm]
        case StateMachine.AlarmAction.deactivate:
            if alarms.contains(alarm) { concerned = [alarm] }
            alarms.removeAll { $0 == alarm }
        default: concerned = alarms.filter { $0.kind == alarm.kind }
        }
        return Answer(.alarms(concerned), revision: revision)
    }

    /// A member was removed: nothing is said of it any more.
    package mutating func forget(_ member: MemberID) { alarms.removeAll { $0.member == member } }

    private func refusal(_ operations: [KeyOperation]) -> RequestError? {
        for case .put(_, _, let lease, _) in operations {
            if isFull { return .noSpace }
            if lease != 0, leases[lease] == nil { return .leaseNotFound }
        }
        return nil
    }

    private func holds(_ compare: Comparison) -> Bool {
        let record = record(compare.key, at: revision)
        let number =
            switch compare.target {
            case .version: record?.version ?? 0
            case .createRevision: record?.createRevision ?? 0
            case .modRevision: record?.modRevision ?? 0
            }
        return number == compare.number
    }

    /// Carries out operations at the next revision, which comes into being with the first change.
    private mutating func perform(_ operations: [KeyOperation]) -> [OperationResult] {
        let next = revision + 1
        var made: [Change] = []
        var results: [OperationResult] = []
        for operation in operations {
            switch operation {
            case .put(let key, let value, let lease, let wantsPrevious):
                let previous = record(key, at: next)
                let record = Record(
                    key: key, value: value, createRevision: previous?.createRevision ?? next, modRevision: next,
                    version: (previous?.version ?? 0) + 1, lease: lease)
                add(record)
                made.append(Change(record: record, isDelete: false, previous: previous))
                results.append(.put(previous: wantsPrevious ? previous : nil))
            case .delete(let range, let wantsPrevious):
                let gone = records(range, at: next)
                for previous in gone {
                    let tombstone = Record(key: previous.key, modRevision: next)
                    add(tombstone)
                    made.append(Change(record: tombstone, isDelete: true, previous: previous))
                }
                results.append(.delete(count: Int64(gone.count), previous: wantsPrevious ? gone : []))
            case .range(let range): results.append(.range(records(range, at: made.isEmpty ? revision : next)))
            }
        }
        if !made.isEmpty {
            revision = next
            changes.append(made)
        }
        return results
    }

    private mutating func add(_ record: Record) {
        if histories[record.key] == nil {
            let place = keys.firstIndex { $0 > record.key } ?? keys.count
            keys.insert(record.key, at: place)
        }
        histories[record.key, default: []].append(record)
    }
}
