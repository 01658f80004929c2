import Primitives
import StateMachine
import Wire

/// What is wrong with a request can be told before it goes anywhere. Source: etcd's checks, in its order.
enum RequestChecks {
    static func range(_ message: UnsafeRawBufferPointer) throws(RequestError) -> RangeRequestView {
        let request = try decode { () throws(WireError) in try RangeRequestView(decoding: message) }
        try check(request)
        return request
    }

    static func put(_ message: UnsafeRawBufferPointer) throws(RequestError) -> PutRequestView {
        let request = try decode { () throws(WireError) in try PutRequestView(decoding: message) }
        try check(request)
        return request
    }

    static func deleteRange(_ message: UnsafeRawBufferPointer) throws(RequestError) {
        let request = try decode { () throws(WireError) in try DeleteRangeRequestView(decoding: message) }
        if request.key.count == 0 { throw .emptyKey }
    }

    static func txn(
        _ message: UnsafeRawBufferPointer, operationsMax: Int
    ) throws(RequestError) -> TxnRequestView {
        let request: TxnRequestView
        do throws(WireError) { request = try TxnRequestView(decoding: message) } catch {
            // A nest as deep as that has an operation at each level: etcd says that those are too many.
            if case .nestingTooDeep = error { throw .tooManyOperations }
            throw .malformed
        }
        try check(request, operationsMax: operationsMax)
        var keys = ChangedKeys()
        try keys.collect(request.success)
        keys = ChangedKeys()
        try keys.collect(request.failure)
        return request
    }

    private static func decode<T>(_ body: () throws(WireError) -> T) throws(RequestError) -> T {
        do throws(WireError) { return try body() } catch { throw .malformed }
    }

    private static func check(_ request: RangeRequestView) throws(RequestError) {
        if request.key.count == 0 { throw .emptyKey }
        if !request.isSortKnown { throw .invalidSortOption }
    }

    private static func check(_ request: PutRequestView) throws(RequestError) {
        if request.key.count == 0 { throw .emptyKey }
        if request.ignoreValue, request.value.count > 0 { throw .valueProvided }
        if request.ignoreLease, request.lease != 0 { throw .leaseProvided }
    }

    private static func check(_ request: TxnRequestView, operationsMax: Int) throws(RequestError) {
        let count = max(request.compare.count, request.success.count, request.failure.count)
        if count > operationsMax { throw .tooManyOperations }
        for compare in request.compare where compare.key.count == 0 { throw .emptyKey }
        for operation in request.success { try check(operation, operationsMax: operationsMax - count) }
        for operation in request.failure { try check(operation, operationsMax: operationsMax - count) }
    }

    private static func check(_ operation: RequestOpView, operationsMax: Int) throws(RequestError) {
        switch operation {
        case .range(let request): try check(request)
        case .put(let request): try check(request)
        case .deleteRange(let request): if request.key.count == 0 { throw .emptyKey }
        case .txn(let request): try check(request, operationsMax: operationsMax)
        // An operation without content; etcd answers it with this text.
        case .empty: throw .keyNotFound
        }
    }
}

/// Finds keys that one branch of a transaction would change twice: put twice, or put and deleted. Deletes may overlap
/// each other, and the two branches of a nested transaction exclude each other. Source: etcd-behaviour, section 1.1.
struct ChangedKeys {
    private var puts: Set<Bytes> = []
    private var deletes = DeletedKeys()

    /// Adds the changes of a branch, nested ones included.
    mutating func collect(_ operations: [RequestOpView]) throws(RequestError) {
        // A single change can meet no other; nearly every transaction is of this kind.
        if operations.count == 1 {
            if case .txn = operations[0] {} else { return }
        }
        for case .deleteRange(let request) in operations { deletes.insert(request) }
        for case .txn(let nested) in operations {
            var then = ChangedKeys()
            var otherwise = ChangedKeys()
            try then.collectAll(nested.success)
            try otherwise.collectAll(nested.failure)
            for key in then.puts { try add(key) }
            // The same key in both branches of one transaction is no conflict.
            for key in otherwise.puts where !then.puts.contains(key) { try add(key) }
            for key in otherwise.puts where deletes.contains(key) { throw .duplicateKey }
            deletes.formUnion(then.deletes)
            deletes.formUnion(otherwise.deletes)
        }
        for case .put(let request) in operations { try add(Bytes(copying: request.key)) }
    }

    /// As `collect`, but a lone change counts too: something outside may conflict with it.
    private mutating func collectAll(_ operations: [RequestOpView]) throws(RequestError) {
        if operations.count == 1 {
            switch operations[0] {
            case .put(let request): puts.insert(Bytes(copying: request.key))
            case .deleteRange(let request): deletes.insert(request)
            case .txn, .range, .empty: try collect(operations)
            }
        } else {
            try collect(operations)
        }
    }

    private mutating func add(_ key: Bytes) throws(RequestError) {
        if deletes.contains(key) || !puts.insert(key).inserted { throw .duplicateKey }
    }
}

extension TxnRequestView {
    /// Whether no branch, nested ones included, changes anything.
    var isReadOnly: Bool { (success + failure).allSatisfy(\.isReadOnly) }

    /// Whether every range in it may be answered from this member's state alone.
    var isSerializable: Bool {
        (success + failure).allSatisfy { operation in
            switch operation {
            case .range(let request): request.serializable
            case .txn(let nested): nested.isSerializable
            case .put, .deleteRange, .empty: true
            }
        }
    }
}

extension RequestOpView {
    var isReadOnly: Bool {
        switch self {
        case .range, .empty: true
        case .put, .deleteRange: false
        case .txn(let nested): nested.isReadOnly
        }
    }
}
