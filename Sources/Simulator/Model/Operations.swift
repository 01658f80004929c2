// Requests as bytes: what goes into the log, encoded by the plainest encoder there is, so that nothing of the server
// checks itself. All of the API's requests that change something; `Request` is what the simulator's model understands.

package import Primitives
import Wire

/// A protobuf message in the making.
package struct PlainMessage {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 0x7f {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    package mutating func number(_ field: UInt64, _ value: Int64) {
        if value == 0 { return }
        varint(field << 3)
        varint(UInt64(bitPattern: value))
    }

    package mutating func flag(_ field: UInt64, _ value: Bool) { number(field, value ? 1 : 0) }

    package mutating func bytes(_ field: UInt64, _ value: Bytes) { if !value.isEmpty { message(field, value.array) } }

    package mutating func message(_ field: UInt64, _ value: [UInt8]) {
        varint(field << 3 | 2)
        varint(UInt64(value.count))
        bytes += value
    }
}

/// One key's new record, as `PutRequest` asks for it.
package struct PutOperation {
    package var key: Bytes
    package var value = Bytes()
    package var lease: Int64 = 0
    package var wantsPrevious = false
    package var ignoresValue = false
    package var ignoresLease = false

    package init(
        key: Bytes, value: Bytes = Bytes(), lease: Int64 = 0, wantsPrevious: Bool = false, ignoresValue: Bool = false,
        ignoresLease: Bool = false
    ) {
        self.key = key
        self.value = value
        self.lease = lease
        self.wantsPrevious = wantsPrevious
        self.ignoresValue = ignoresValue
        self.ignoresLease = ignoresLease
    }

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        proto.bytes(1, key)
        proto.bytes(2, value)
        proto.number(3, lease)
        proto.flag(4, wantsPrevious)
        proto.flag(5, ignoresValue)
        proto.flag(6, ignoresLease)
        return proto.bytes
    }
}

/// `DeleteRangeRequest`.
package struct DeleteOperation {
    package var key: Bytes
    package var end = Bytes()
    package var wantsPrevious = false

    package init(key: Bytes, end: Bytes = Bytes(), wantsPrevious: Bool = false) {
        self.key = key
        self.end = end
        self.wantsPrevious = wantsPrevious
    }

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        proto.bytes(1, key)
        proto.bytes(2, end)
        proto.flag(3, wantsPrevious)
        return proto.bytes
    }
}

/// `RangeRequest`, without sorting.
package struct RangeOperation {
    package var key: Bytes
    package var end = Bytes()
    package var limit: Int64 = 0
    package var revision: Int64 = 0
    package var keysOnly = false
    package var countOnly = false

    package init(
        key: Bytes, end: Bytes = Bytes(), limit: Int64 = 0, revision: Int64 = 0, keysOnly: Bool = false,
        countOnly: Bool = false
    ) {
        self.key = key
        self.end = end
        self.limit = limit
        self.revision = revision
        self.keysOnly = keysOnly
        self.countOnly = countOnly
    }

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        proto.bytes(1, key)
        proto.bytes(2, end)
        proto.number(3, limit)
        proto.number(4, revision)
        proto.flag(8, keysOnly)
        proto.flag(9, countOnly)
        return proto.bytes
    }
}

/// `Compare`: `target` and `result` by their numbers; `value` for target 3, `number` for the others.
package struct CompareOperation {
    package var target: Int64
    package var result: Int64
    package var key: Bytes
    package var end = Bytes()
    package var number: Int64 = 0
    package var value = Bytes()

    package init(
        target: Int64, result: Int64, key: Bytes, end: Bytes = Bytes(), number: Int64 = 0, value: Bytes = Bytes()
    ) {
        self.target = target
        self.result = result
        self.key = key
        self.end = end
        self.number = number
        self.value = value
    }

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        proto.number(1, result)
        proto.number(2, target)
        proto.bytes(3, key)
        switch target {
        case 0: proto.number(4, number)
        case 1: proto.number(5, number)
        case 2: proto.number(6, number)
        case 3: proto.message(7, value.array)
        default: proto.number(8, number)
        }
        proto.bytes(64, end)
        return proto.bytes
    }
}

/// `TxnRequest`.
package struct TxnOperation {
    package var compares: [CompareOperation] = []
    package var success: [BranchOperation] = []
    package var failure: [BranchOperation] = []

    package init(
        compares: [CompareOperation] = [], success: [BranchOperation] = [], failure: [BranchOperation] = []
    ) {
        self.compares = compares
        self.success = success
        self.failure = failure
    }

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        for compare in compares { proto.message(1, compare.encoded) }
        for operation in success { proto.message(2, operation.encoded) }
        for operation in failure { proto.message(3, operation.encoded) }
        return proto.bytes
    }
}

/// `RequestOp`.
package indirect enum BranchOperation {
    case range(RangeOperation)
    case put(PutOperation)
    case delete(DeleteOperation)
    case txn(TxnOperation)

    package var encoded: [UInt8] {
        var proto = PlainMessage()
        switch self {
        case .range(let range): proto.message(1, range.encoded)
        case .put(let put): proto.message(2, put.encoded)
        case .delete(let delete): proto.message(3, delete.encoded)
        case .txn(let txn): proto.message(4, txn.encoded)
        }
        return proto.bytes
    }
}

/// A request that goes through the log.
package enum Operation {
    case put(PutOperation)
    case delete(DeleteOperation)
    case txn(TxnOperation)
    case compact(Int64)
    case grant(id: Int64, ttlSeconds: Int64)
    case revoke(Int64)
    case checkpoint([(id: Int64, remainingSeconds: Int64)])
    case alarm(action: Int64, member: UInt64, kind: Int64)
    case attributes(member: UInt64, name: String, clientURLs: [String])
    /// Bytes that are no message, under a field number.
    case garbage(UInt32, [UInt8])

    package var fieldNumber: UInt32 {
        switch self {
        case .put: 4
        case .delete: 5
        case .txn: 6
        case .compact: 7
        case .grant: 8
        case .revoke: 9
        case .alarm: 10
        case .checkpoint: 11
        case .attributes: 1301
        case .garbage(let number, _): number
        }
    }

    package var body: [UInt8] {
        var proto = PlainMessage()
        switch self {
        case .put(let put): return put.encoded
        case .delete(let delete): return delete.encoded
        case .txn(let txn): return txn.encoded
        case .garbage(_, let bytes): return bytes
        case .compact(let revision), .revoke(let revision): proto.number(1, revision)
        case .grant(let id, let ttlSeconds):
            proto.number(1, ttlSeconds)
            proto.number(2, id)
        case .checkpoint(let checkpoints):
            for checkpoint in checkpoints {
                var inner = PlainMessage()
                inner.number(1, checkpoint.id)
                inner.number(2, checkpoint.remainingSeconds)
                proto.message(1, inner.bytes)
            }
        case .alarm(let action, let member, let kind):
            proto.number(1, action)
            proto.number(2, Int64(bitPattern: member))
            proto.number(3, kind)
        case .attributes(let member, let name, let clientURLs):
            var inner = PlainMessage()
            inner.bytes(1, Bytes(utf8: name))
            for url in clientURLs { inner.bytes(2, Bytes(utf8: url)) }
            proto.number(1, Int64(bitPattern: member))
            proto.message(2, inner.bytes)
        }
        return proto.bytes
    }

    /// The payload of the log entry that carries it.
    package func payload(id: UInt64) -> Bytes {
        var header = PlainMessage()
        header.number(1, Int64(bitPattern: id))
        var proto = PlainMessage()
        if fieldNumber < 100 { proto.message(UInt64(fieldNumber), body) }
        proto.message(100, header.bytes)
        if fieldNumber > 100 { proto.message(UInt64(fieldNumber), body) }
        return Bytes(proto.bytes)
    }

    /// What a member proposed of its own; nil for what no member does.
    package init?(internal payload: Bytes) {
        let found = payload.withUnsafeBytes { bytes -> Operation? in
            guard let request = try? InternalRaftRequestView(decoding: bytes) else { return nil }
            switch request.body {
            case .leaseRevoke(let bytes): return (try? LeaseRevokeRequest(decoding: bytes)).map { .revoke($0.id) }
            case .leaseCheckpoint(let bytes):
                return (try? LeaseCheckpointRequest(decoding: bytes)).map { request in
                    .checkpoint(request.checkpoints.map { ($0.id, $0.remainingSeconds) })
                }
            case .alarm(let bytes):
                return (try? AlarmRequest(decoding: bytes)).map { request in
                    .alarm(action: Int64(request.action), member: request.memberID, kind: Int64(request.alarm))
                }
            default: return nil
            }
        }
        guard let found else { return nil }
        self = found
    }
}
