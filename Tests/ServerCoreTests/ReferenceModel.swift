import Primitives
import Simulator
import StateMachine
import Wire

/// A key's version as the model keeps it.
struct ModelVersion: Equatable {
    var main: Int64
    /// Nil: deleted.
    var record: ModelRecord?
}

struct ModelRecord: Equatable {
    var create: Int64
    var mod: Int64
    var version: Int64
    var value: Bytes
    var lease: Int64

    func encoded(_ key: Bytes, keysOnly: Bool = false) -> Bytes {
        var proto = PlainMessage()
        proto.bytes(1, key)
        proto.number(2, create)
        proto.number(3, mod)
        proto.number(4, version)
        if !keysOnly {
            proto.bytes(5, value)
            proto.number(6, lease)
        }
        return Bytes(proto.bytes)
    }
}

/// A refusal inside of the model.
private struct Refusal: Error {
    let reason: RequestError
    init(_ reason: RequestError) { self.reason = reason }
}

/// What etcd's state machine is after some entries, kept in the plainest way: every version for ever, no index, no
/// tail, no backend. A value, so that a copy remembers a moment.
struct ReferenceModel {
    var revision: Int64 = 1
    var compacted: Int64 = -1
    var histories: [Bytes: [ModelVersion]] = [:]
    /// Granted seconds and checkpointed rest by lease.
    var leases: [Int64: LeaseState] = [:]
    var alarms: Set<Alarm> = []
    var memberName: String
    var memberURLs: [String]

    struct LeaseState: Equatable {
        var ttlSeconds: Int64
        var remainingSeconds: Int64 = 0
    }

    let clusterID: UInt64
    let memberID: UInt64
    let ttlSecondsMin: Int64

    // MARK: Looking

    func live(_ key: Bytes, at revision: Int64) -> ModelRecord? {
        histories[key]?.last { $0.main <= revision }?.record
    }

    /// Existing keys in [key, end) as a range has them, in order.
    func keys(_ key: Bytes, _ end: Bytes, at revision: Int64) -> [Bytes] {
        let covered = histories.keys.filter { candidate in
            if end.isEmpty { return candidate == key }
            return candidate >= key && (end == Bytes([0]) || candidate < end)
        }
        return covered.filter { live($0, at: revision) != nil }.sorted()
    }

    func keys(ofLease id: Int64) -> [Bytes] {
        keys(Bytes([0]), Bytes([0]), at: revision).filter { live($0, at: revision)?.lease == id }
    }

    // MARK: Applying

    /// Applies one entry; the outcome has the exact bytes of the answer.
    mutating func apply(_ operation: Operation, term: Term) -> ApplyOutcome {
        let before = self
        // The only member is named, or nobody, which is everybody.
        let isSecret = alarms.contains { $0.kind == .corrupt } && (4...9).contains(operation.fieldNumber)
        do {
            let answer = try perform(operation, term)
            return isSecret ? .refused(.timeout) : .response(answer)
        } catch let refusal as Refusal {
            self = before
            return .refused(isSecret ? .timeout : refusal.reason)
        } catch {
            return .nothing
        }
    }

    private func header(_ term: Term) -> [UInt8] {
        var proto = PlainMessage()
        proto.number(1, Int64(bitPattern: clusterID))
        proto.number(2, Int64(bitPattern: memberID))
        proto.number(3, revision)
        proto.number(4, Int64(bitPattern: term.rawValue))
        return proto.bytes
    }

    private mutating func perform(_ operation: Operation, _ term: Term) throws -> Bytes {
        var answer = PlainMessage()
        switch operation {
        case .put(let put):
            if isFull { throw Refusal(.noSpace) }
            try check(put, at: revision)
            var writer = ModelWriter(self)
            let rest = writer.put(put)
            writer.finish(&self)
            answer.message(1, header(term))
            return Bytes(answer.bytes + rest)
        case .delete(let delete):
            var writer = ModelWriter(self)
            let rest = writer.delete(delete)
            writer.finish(&self)
            answer.message(1, header(term))
            return Bytes(answer.bytes + rest)
        case .txn(let txn):
            let path = decide(txn)
            var remaining = path[...]
            try check(txn, &remaining)
            var writer = ModelWriter(self)
            remaining = path[...]
            let rest = writer.txn(txn, &remaining)
            writer.finish(&self)
            answer.message(1, header(term))
            return Bytes(answer.bytes + rest)
        case .compact(let target):
            if target <= compacted { throw Refusal(.compacted) }
            if target > revision { throw Refusal(.futureRevision) }
            compacted = target
            answer.message(1, header(term))
        case .grant(let id, let ttlSeconds):
            if isFull { throw Refusal(.noSpace) }
            if id == 0 { throw Refusal(.leaseNotFound) }
            if ttlSeconds > 9_000_000_000 { throw Refusal(.leaseTTLTooLarge) }
            if leases[id] != nil { throw Refusal(.leaseExists) }
            leases[id] = LeaseState(ttlSeconds: max(ttlSeconds, ttlSecondsMin))
            answer.message(1, header(term))
            answer.number(2, id)
            answer.number(3, max(ttlSeconds, ttlSecondsMin))
        case .revoke(let id):
            if leases[id] == nil { throw Refusal(.leaseNotFound) }
            let doomed = keys(ofLease: id)
            leases[id] = nil
            var writer = ModelWriter(self)
            for key in doomed { _ = writer.delete(DeleteOperation(key: key)) }
            writer.finish(&self)
            answer.message(1, header(term))
        case .checkpoint(let checkpoints):
            for (id, seconds) in checkpoints {
                if let ttl = leases[id]?.ttlSeconds { leases[id]?.remainingSeconds = max(0, min(seconds, ttl)) }
            }
        case .alarm(let action, let member, let kind): return try alarm(action, member, kind, term)
        case .attributes(let member, let name, let clientURLs):
            if member == memberID {
                memberName = name
                memberURLs = clientURLs
            }
        case .garbage: throw Refusal(.malformed)
        }
        return Bytes(answer.bytes)
    }

    private var isFull: Bool { alarms.contains { $0.kind == .noSpace } }

    private mutating func alarm(_ action: Int64, _ member: UInt64, _ kind: Int64, _ term: Term) throws -> Bytes {
        var shown: [Alarm] = []
        let alarm = AlarmKind(rawValue: Int32(kind)).map { Alarm(member: MemberID(member), kind: $0) }
        switch action {
        case 0: shown = alarms.filter { kind == 0 || Int64($0.kind.rawValue) == kind }
        case 1:
            if let alarm {
                alarms.insert(alarm)
                shown = [alarm]
            }
        case 2: if let alarm, alarms.remove(alarm) != nil { shown = [alarm] }
        default: throw Refusal(.malformed)
        }
        var answer = PlainMessage()
        answer.message(1, header(term))
        for alarm in shown.sorted(by: { ($0.kind.rawValue, $0.member) < ($1.kind.rawValue, $1.member) }) {
            var inner = PlainMessage()
            inner.number(1, Int64(bitPattern: alarm.member.rawValue))
            inner.number(2, Int64(alarm.kind.rawValue))
            answer.message(2, inner.bytes)
        }
        return Bytes(answer.bytes)
    }

    // MARK: Checks

    private func check(_ put: PutOperation, at revision: Int64) throws {
        if put.lease != 0, leases[put.lease] == nil { throw Refusal(.leaseNotFound) }
        if put.ignoresValue || put.ignoresLease, live(put.key, at: revision) == nil { throw Refusal(.keyNotFound) }
    }

    /// Which branch each transaction takes, in the order they are met: all compares see the state before.
    private func decide(_ txn: TxnOperation) -> [Bool] {
        let succeeded = txn.compares.allSatisfy(holds)
        var path = [succeeded]
        for case .txn(let nested) in succeeded ? txn.success : txn.failure { path += decide(nested) }
        return path
    }

    private func holds(_ compare: CompareOperation) -> Bool {
        let found = keys(compare.key, compare.end, at: revision)
        if found.isEmpty {
            if compare.target == 3 { return false }
            return matches(compare, ModelRecord(create: 0, mod: 0, version: 0, value: Bytes(), lease: 0))
        }
        return found.allSatisfy { matches(compare, live($0, at: revision)!) }
    }

    private func matches(_ compare: CompareOperation, _ record: ModelRecord) -> Bool {
        if compare.target == 3 {
            return Self.matches(compare.result, record.value < compare.value, record.value == compare.value)
        }
        let number =
            switch compare.target {
            case 0: record.version
            case 1: record.create
            case 2: record.mod
            default: record.lease
            }
        return Self.matches(compare.result, number < compare.number, number == compare.number)
    }

    private static func matches(_ result: Int64, _ isLess: Bool, _ isEqual: Bool) -> Bool {
        switch result {
        case 0: isEqual
        case 1: !isLess && !isEqual
        case 2: isLess
        default: !isEqual
        }
    }

    private func check(_ txn: TxnOperation, _ path: inout ArraySlice<Bool>) throws {
        for operation in path.removeFirst() ? txn.success : txn.failure {
            switch operation {
            case .range(let range):
                if range.revision == 0 { continue }
                if range.revision > revision { throw Refusal(.futureRevision) }
                if range.revision < compacted { throw Refusal(.compacted) }
            case .put(let put):
                if isFull { throw Refusal(.noSpace) }
                try check(put, at: revision)
            case .delete: continue
            case .txn(let nested): try check(nested, &path)
            }
        }
    }
}

/// One write in the making: all its changes bear the next revision.
private struct ModelWriter {
    private var model: ReferenceModel
    private var changes = 0
    private let before: Int64

    init(_ model: ReferenceModel) {
        self.model = model
        before = model.revision
        self.model.revision += 1
    }

    /// What a response says, and a range reads at.
    private var readRevision: Int64 { changes > 0 ? before + 1 : before }

    func finish(_ target: inout ReferenceModel) {
        if changes > 0 { target = model }
    }

    private func innerHeader() -> [UInt8] {
        var proto = PlainMessage()
        proto.number(3, readRevision)
        return proto.bytes
    }

    /// The answer without its header.
    mutating func put(_ put: PutOperation) -> [UInt8] {
        let old = model.live(put.key, at: before + 1)
        let record = ModelRecord(
            create: old?.create ?? before + 1, mod: before + 1, version: (old?.version ?? 0) + 1,
            value: put.ignoresValue ? old?.value ?? Bytes() : put.value,
            lease: put.ignoresLease ? old?.lease ?? 0 : put.lease)
        model.histories[put.key, default: []].append(ModelVersion(main: before + 1, record: record))
        changes += 1
        var answer = PlainMessage()
        if put.wantsPrevious, let old { answer.message(2, old.encoded(put.key).array) }
        return answer.bytes
    }

    mutating func delete(_ delete: DeleteOperation) -> [UInt8] {
        let keys = model.keys(delete.key, delete.end, at: before + 1)
        var answer = PlainMessage()
        answer.number(2, Int64(keys.count))
        for key in keys {
            let old = model.live(key, at: before + 1)!
            if delete.wantsPrevious { answer.message(3, old.encoded(key).array) }
            model.histories[key]!.append(ModelVersion(main: before + 1, record: nil))
            changes += 1
        }
        return answer.bytes
    }

    private func range(_ range: RangeOperation) -> [UInt8] {
        let at = range.revision <= 0 ? readRevision : range.revision
        var keys = model.keys(range.key, range.end, at: at)
        let count = keys.count
        var answer = PlainMessage()
        var isCut = false
        if range.countOnly {
            keys = []
        } else if range.limit > 0, count > range.limit {
            keys = Array(keys.prefix(Int(range.limit)))
            isCut = true
        }
        for key in keys {
            answer.message(2, model.live(key, at: at)!.encoded(key, keysOnly: range.keysOnly).array)
        }
        answer.flag(3, isCut)
        answer.number(4, Int64(count))
        return answer.bytes
    }

    mutating func txn(_ txn: TxnOperation, _ path: inout ArraySlice<Bool>) -> [UInt8] {
        let succeeded = path.removeFirst()
        var answer = PlainMessage()
        answer.flag(2, succeeded)
        for operation in succeeded ? txn.success : txn.failure {
            let rest: [UInt8]
            let field: UInt64
            var inner = PlainMessage()
            switch operation {
            case .range(let operation): (field, rest) = (1, range(operation))
            case .put(let operation): (field, rest) = (2, put(operation))
            case .delete(let operation): (field, rest) = (3, delete(operation))
            case .txn(let nested): (field, rest) = (4, self.txn(nested, &path))
            }
            // A nested transaction's header is there, and empty.
            inner.message(1, field == 4 ? [] : innerHeader())
            var response = PlainMessage()
            response.message(field, inner.bytes + rest)
            answer.message(3, response.bytes)
        }
        return answer.bytes
    }
}
