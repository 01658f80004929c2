import MVCC
import Primitives
import Wire

/// Transactions: decide which branches run, check all of them, then carry them out. Nothing is changed before every
/// check has passed. Source: etcd's order (all compares see the state before the transaction).
extension StateMachine {
    func txn(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try TxnRequestView(decoding: bytes) }
        defer { closeTally() }
        return try store.write { (transaction) throws(ApplyFailure) -> Bytes in
            var path = TxnPath()
            try decide(request, in: &transaction, path: &path)
            path.rewind()
            try check(request, in: &transaction, path: &path)
            path.rewind()
            // etcd compares and checks in a transaction of its own, unless nothing is going to be written.
            if request.mayWrite { closeTally() }
            var response = try execute(request, in: &transaction, path: &path)
            response.header = header(revision: transaction.readRevision)
            return response.encoded()
        }
    }

    /// Evaluates the compares of a transaction and of the nested ones in the branch that will run.
    private func decide(
        _ request: TxnRequestView, in transaction: inout WriteTransaction, path: inout TxnPath
    ) throws(ApplyFailure) {
        var succeeded = true
        for compare in request.compare where succeeded {
            tally.ranges += 1
            do throws(StoreError) { succeeded = try compare.holds(in: &transaction) } catch { throw .broken(error) }
        }
        path.record(succeeded)
        for operation in succeeded ? request.success : request.failure {
            if case .txn(let nested) = operation { try decide(nested, in: &transaction, path: &path) }
        }
    }

    private func check(
        _ request: TxnRequestView, in transaction: inout WriteTransaction, path: inout TxnPath
    ) throws(ApplyFailure) {
        for operation in path.next() ? request.success : request.failure {
            switch operation {
            case .range(let range): try check(range, in: transaction)
            case .put(let put):
                if alarms.contains(.noSpace) { throw .refused(.noSpace) }
                if put.ignoreValue || put.ignoreLease { tally.ranges += 1 }
                try check(put, in: &transaction)
            case .txn(let nested): try check(nested, in: &transaction, path: &path)
            case .deleteRange, .empty: break
            }
        }
    }

    private func check(_ range: RangeRequestView, in transaction: borrowing WriteTransaction) throws(ApplyFailure) {
        if range.revision == 0 { return }
        if range.revision > transaction.readRevision { throw .refused(.futureRevision) }
        if range.revision < store.compactRevision { throw .refused(.compacted) }
    }

    private func execute(
        _ request: TxnRequestView, in transaction: inout WriteTransaction, path: inout TxnPath
    ) throws(ApplyFailure) -> TxnResponse {
        let succeeded = path.next()
        let operations = succeeded ? request.success : request.failure
        var responses: [ResponseOpModel] = []
        responses.reserveCapacity(operations.count)
        for operation in operations {
            switch operation {
            case .range(let range): responses.append(.range(try rangeInTxn(range, in: &transaction)))
            case .put(let put):
                responses.append(.put(try self.put(put, in: &transaction, header: Self.innerHeader)))
            case .deleteRange(let delete):
                responses.append(
                    .deleteRange(try deleteRange(delete, in: &transaction, header: Self.innerHeader)))
            case .txn(let nested):
                responses.append(.txn(try execute(nested, in: &transaction, path: &path)))
            case .empty: break
            }
        }
        // A nested answer's header stays empty; `txn` fills the outermost one. Source: `ResponseOpModel`.
        return TxnResponse(succeeded: succeeded, responses: responses)
    }

    private func rangeInTxn(
        _ request: RangeRequestView, in transaction: inout WriteTransaction
    ) throws(ApplyFailure) -> RangeResponse {
        tally.ranges += 1
        let query = RangeQuery(request)
        var plan = try storing { () throws(StoreError) in try transaction.range(query) }
        let rows = plan.rowBytes
        var failure: StoreError?
        let encoded = [UInt8](unsafeUninitializedCapacity: rows) { buffer, initialized in
            do throws(StoreError) {
                try plan.writeAll(into: UnsafeMutableRawBufferPointer(buffer))
                initialized = rows
            } catch { failure = error }
        }
        if let failure { throw .broken(failure) }
        return RangeResponse(
            header: ResponseHeader(revision: plan.headerRevision), encodedRows: Bytes(encoded), more: plan.more,
            count: plan.count)
    }

    /// Inside a transaction's answer only the revision is told.
    private static func innerHeader(_ revision: Int64) -> ResponseHeader { ResponseHeader(revision: revision) }
}

extension TxnRequestView {
    /// Whether either branch, or one of a transaction inside, has a put or a delete.
    fileprivate var mayWrite: Bool {
        (success + failure).contains { operation in
            switch operation {
            case .put, .deleteRange: true
            case .txn(let nested): nested.mayWrite
            case .range, .empty: false
            }
        }
    }
}

/// Which branch every transaction of a nest takes, in the order they are met.
struct TxnPath {
    private var branches: [Bool] = []
    private var position = 0

    mutating func record(_ succeeded: Bool) { branches.append(succeeded) }

    mutating func next() -> Bool {
        defer { position += 1 }
        return branches[position]
    }

    mutating func rewind() { position = 0 }
}

extension CompareView {
    /// Whether the comparison holds for its key, or for every key of its range. A key that does not exist compares as
    /// all zeros, except that a VALUE comparison with it never holds.
    func holds(in transaction: inout WriteTransaction) throws(StoreError) -> Bool {
        if rangeEnd.count == 0 { return try holds(forKey: key, in: &transaction) }
        var keys: [Bytes] = []
        transaction.forEachCurrent(key: key, end: rangeEnd) { key, _ in
            keys.append(Bytes(copying: key))
            return true
        }
        if keys.isEmpty { return matches(existing: nil) }
        for key in keys {
            let isMet = try key.withUnsafeBytes { (key) throws(StoreError) -> Bool in
                try holds(forKey: key, in: &transaction)
            }
            if !isMet { return false }
        }
        return true
    }

    private func holds(
        forKey key: UnsafeRawBufferPointer, in transaction: inout WriteTransaction
    ) throws(StoreError) -> Bool {
        if target == CompareTarget.value || target == CompareTarget.lease {
            return try transaction.withCurrentRecord(key, matches(existing:))
        }
        var view = KeyValueView()
        if let current = transaction.current(key) {
            view.createRevision = current.createRevision
            view.modRevision = current.modRevision
            view.version = current.version
        }
        return matches(view)
    }

    /// As `matches`, for a record that may not exist.
    private func matches(existing record: KeyValueView?) -> Bool {
        guard let record else { return target == CompareTarget.value ? false : matches(KeyValueView()) }
        return matches(record)
    }

    private func matches(_ record: KeyValueView) -> Bool {
        let order: Int
        switch target {
        case CompareTarget.version: order = Self.order(record.version, version)
        case CompareTarget.create: order = Self.order(record.createRevision, createRevision)
        case CompareTarget.mod: order = Self.order(record.modRevision, modRevision)
        case CompareTarget.value:
            order = compareBytes(record.value, value ?? UnsafeRawBufferPointer(start: nil, count: 0))
        case CompareTarget.lease: order = Self.order(record.lease, lease)
        default: order = 0
        }
        return switch result {
        case 0: order == 0
        case 1: order > 0
        case 2: order < 0
        case 3: order != 0
        default: true
        }
    }

    private static func order(_ a: Int64, _ b: Int64) -> Int { a == b ? 0 : (a < b ? -1 : 1) }
}

/// `etcdserverpb.Compare.CompareTarget`.
enum CompareTarget {
    static let version: Int32 = 0
    static let create: Int32 = 1
    static let mod: Int32 = 2
    static let value: Int32 = 3
    static let lease: Int32 = 4
}
