package import Primitives
package import StateMachine
import Wire

/// A protobuf message in the making, in the plainest way.
struct PlainMessage {
    private(set) var bytes: [UInt8] = []

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 0x7f {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    mutating func number(_ field: UInt64, _ value: Int64) {
        if value == 0 { return }
        varint(field << 3)
        varint(UInt64(bitPattern: value))
    }

    mutating func bytes(_ field: UInt64, _ value: Bytes) { if !value.isEmpty { message(field, value.array) } }

    mutating func message(_ field: UInt64, _ value: [UInt8]) {
        varint(field << 3 | 2)
        varint(UInt64(value.count))
        bytes += value
    }
}

extension KeyOperation {
    /// The request message of the operation.
    var encoded: [UInt8] {
        var message = PlainMessage()
        switch self {
        case .put(let key, let value, let lease, let wantsPrevious):
            message.bytes(1, key)
            message.bytes(2, value)
            message.number(3, lease)
            message.number(4, wantsPrevious ? 1 : 0)
        case .delete(let range, let wantsPrevious):
            message.bytes(1, range.key)
            message.bytes(2, range.end)
            message.number(3, wantsPrevious ? 1 : 0)
        case .range(let range):
            message.bytes(1, range.key)
            message.bytes(2, range.end)
        }
        return message.bytes
    }

    /// Its field in `RequestOp`.
    private var field: UInt64 {
        switch self {
        case .range: 1
        case .put: 2
        case .delete: 3
        }
    }

    fileprivate var wrapped: [UInt8] {
        var message = PlainMessage()
        message.message(field, encoded)
        return message.bytes
    }
}

extension Request {
    private var fieldNumber: UInt64 {
        switch self {
        case .single(.put): 4
        case .single(.delete): 5
        case .single(.range): 3
        case .txn: 6
        case .compact: 7
        case .grant: 8
        case .revoke: 9
        case .checkpoint: 11
        case .other: 1302
        }
    }

    private var body: [UInt8] {
        var message = PlainMessage()
        switch self {
        case .single(let operation): return operation.encoded
        case .txn(let compares, let success, let failure):
            for compare in compares {
                var inner = PlainMessage()
                inner.number(2, compare.target.rawValue)
                inner.bytes(3, compare.key)
                switch compare.target {
                case .version: inner.number(4, compare.number)
                case .createRevision: inner.number(5, compare.number)
                case .modRevision: inner.number(6, compare.number)
                }
                message.message(1, inner.bytes)
            }
            for operation in success { message.message(2, operation.wrapped) }
            for operation in failure { message.message(3, operation.wrapped) }
        case .compact(let number), .revoke(let number): message.number(1, number)
        case .grant(let id, let ttlSeconds):
            message.number(1, ttlSeconds)
            message.number(2, id)
        case .checkpoint(let checkpoints):
            for checkpoint in checkpoints {
                var inner = PlainMessage()
                inner.number(1, checkpoint.id)
                inner.number(2, checkpoint.remainingSeconds)
                message.message(1, inner.bytes)
            }
        case .other: break
        }
        return message.bytes
    }

    /// The payload of the log entry that carries it.
    package func payload(id: UInt64) -> Bytes {
        var header = PlainMessage()
        header.number(1, Int64(bitPattern: id))
        var message = PlainMessage()
        message.message(fieldNumber, body)
        message.message(100, header.bytes)
        return Bytes(message.bytes)
    }

    /// What a member proposed of itself.
    init(internal payload: Bytes) {
        self = payload.withUnsafeBytes { bytes -> Request in
            guard let request = try? InternalRaftRequestView(decoding: bytes) else { return .other }
            switch request.body {
            case .leaseRevoke(let bytes):
                return (try? LeaseRevokeRequest(decoding: bytes)).map { .revoke($0.id) } ?? .other
            case .leaseCheckpoint(let bytes):
                guard let request = try? LeaseCheckpointRequest(decoding: bytes) else { return .other }
                return .checkpoint(
                    request.checkpoints.map { Checkpoint(id: $0.id, remainingSeconds: $0.remainingSeconds) })
            case .compaction(let bytes):
                return (try? CompactionRequest(decoding: bytes)).map { .compact($0.revision) } ?? .other
            default: return .other
            }
        }
    }
}

extension Answer {
    /// Decodes what the state machine answered to `request`; nil when it is no answer to it.
    package init?(_ outcome: ApplyOutcome, to request: Request) {
        switch outcome {
        case .nothing: self.init(.done, revision: 0)
        case .refused(let error): self.init(.refused(error), revision: 0)
        case .response(let bytes):
            let answer = bytes.withUnsafeBytes { try? Answer(decoding: $0, to: request) }
            guard let answer else { return nil }
            self = answer
        }
    }

    private init(decoding bytes: UnsafeRawBufferPointer, to request: Request) throws(WireError) {
        switch request {
        case .single(.put):
            let view = try PutResponseView(decoding: bytes)
            self.init(.single(.put(previous: view.previous.map { Record($0) })), revision: view.header.revision)
        case .single(.delete):
            let view = try DeleteRangeResponseView(decoding: bytes)
            let previous = view.previous.map { Record($0) }
            self.init(.single(.delete(count: view.deleted, previous: previous)), revision: view.header.revision)
        case .single(.range):
            let view = try RangeResponseView(decoding: bytes)
            self.init(.single(.range(view.keyValues.map { Record($0) })), revision: view.header.revision)
        case .txn:
            let view = try TxnResponseView(decoding: bytes)
            var results: [OperationResult] = []
            for response in view.responses {
                switch response {
                case .range(let view): results.append(.range(view.keyValues.map { Record($0) }))
                case .put(let view): results.append(.put(previous: view.previous.map { Record($0) }))
                case .deleteRange(let view):
                    results.append(.delete(count: view.deleted, previous: view.previous.map { Record($0) }))
                case .txn, .empty: throw .truncated(offset: 0)
                }
            }
            self.init(.txn(succeeded: view.succeeded, results), revision: view.header.revision)
        case .grant: self = try Answer(lease: bytes)
        case .compact, .revoke: self.init(.done, revision: try Self.revision(bytes))
        case .checkpoint, .other: self.init(.done, revision: 0)
        }
    }

    private init(lease bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        var id: Int64 = 0
        var ttlSeconds: Int64 = 0
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(2): id = try reader.int64()
            case .varint(3): ttlSeconds = try reader.int64()
            default: try reader.skip(tag)
            }
        }
        self.init(.lease(id: id, ttlSeconds: ttlSeconds), revision: try Self.revision(bytes))
    }

    /// The revision in the header, field 1 of every answer.
    private static func revision(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Int64 {
        var reader = ProtoReader(bytes)
        var revision: Int64 = 0
        while let tag = try reader.nextField() {
            if case .bytes(1) = tag {
                revision = try ResponseHeader(decoding: try reader.bytes()).revision
            } else {
                try reader.skip(tag)
            }
        }
        return revision
    }
}
