// What clients ask for and what they are answered, as values; answers are decoded by the codecs that clients use.

package import Primitives
package import StateMachine
import Wire

/// A key's version as clients see it. A deletion has neither value nor version.
package struct Record: Hashable, Sendable {
    package var key: Bytes
    package var value = Bytes()
    package var createRevision: Int64 = 0
    package var modRevision: Int64 = 0
    package var version: Int64 = 0
    package var lease: Int64 = 0

    package init(
        key: Bytes, value: Bytes = Bytes(), createRevision: Int64 = 0, modRevision: Int64 = 0, version: Int64 = 0,
        lease: Int64 = 0
    ) {
        self.key = key
        self.value = value
        self.createRevision = createRevision
        self.modRevision = modRevision
        self.version = version
        self.lease = lease
    }

    init(_ view: KeyValueView) {
        self.init(
            key: Bytes(copying: view.key), value: Bytes(copying: view.value), createRevision: view.createRevision,
            modRevision: view.modRevision, version: view.version, lease: view.lease)
    }
}

/// A range of keys: one key when `end` is empty, else [key, end).
package struct KeyRange: Hashable, Sendable {
    package var key: Bytes
    package var end: Bytes

    package init(key: Bytes, end: Bytes = Bytes()) {
        self.key = key
        self.end = end
    }

    /// Every key that begins with `prefix`, whose last byte is not the greatest.
    package init(prefix: Bytes) {
        key = prefix
        end = Bytes(prefix.array.dropLast() + [prefix.array[prefix.count - 1] + 1])
    }

    package func contains(_ candidate: Bytes) -> Bool {
        end.isEmpty ? candidate == key : candidate >= key && candidate < end
    }
}

/// One operation inside a transaction or alone.
package enum KeyOperation: Hashable, Sendable {
    case put(key: Bytes, value: Bytes, lease: Int64, wantsPrevious: Bool)
    case delete(KeyRange, wantsPrevious: Bool)
    case range(KeyRange)
}

/// A comparison of a key's number with another for equality; a key that is not there has 0.
package struct Comparison: Hashable, Sendable {
    package enum Target: Int64, Sendable { case version = 0, createRevision = 1, modRevision = 2 }

    package var key: Bytes
    package var target: Target
    package var number: Int64

    package init(key: Bytes, target: Target, number: Int64) {
        self.key = key
        self.target = target
        self.number = number
    }
}

/// A request that goes through the log.
package enum Request: Hashable, Sendable {
    case single(KeyOperation)
    case txn(compares: [Comparison], success: [KeyOperation], failure: [KeyOperation])
    case compact(Int64)
    case grant(id: Int64, ttlSeconds: Int64)
    case revoke(Int64)
    case checkpoint([Checkpoint])
    /// `StateMachine.AlarmAction`, and what the alarm is.
    case alarm(Int32, MemberID, AlarmKind)
    /// Of the cluster's own: what is applied changes no key and no lease.
    case other

    package struct Checkpoint: Hashable, Sendable {
        package var id: Int64
        package var remainingSeconds: Int64
    }
}

/// What one operation answered.
package enum OperationResult: Hashable, Sendable {
    case put(previous: Record?)
    case delete(count: Int64, previous: [Record])
    case range([Record])
}

/// What a request answered.
package enum RequestResult: Hashable, Sendable {
    case single(OperationResult)
    case txn(succeeded: Bool, [OperationResult])
    case lease(id: Int64, ttlSeconds: Int64)
    case alarms([Alarm])
    case done
    case refused(RequestError)
}

/// A result with the revision its header tells.
package struct Answer: Hashable, Sendable {
    package var result: RequestResult
    /// 0 where the answer has none.
    package var revision: Int64

    package init(_ result: RequestResult, revision: Int64) {
        self.result = result
        self.revision = revision
    }
}
