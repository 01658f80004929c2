package import Primitives
package import StateMachine
import Wire

extension KeyOperation {
    /// As one operation of a transaction.
    fileprivate var branch: BranchOperation {
        switch self {
        case .put(let key, let value, let lease, let wantsPrevious):
            .put(PutOperation(key: key, value: value, lease: lease, wantsPrevious: wantsPrevious))
        case .delete(let range, let wantsPrevious):
            .delete(DeleteOperation(key: range.key, end: range.end, wantsPrevious: wantsPrevious))
        case .range(let range): .range(RangeOperation(key: range.key, end: range.end))
        }
    }
}

extension Request {
    /// As it is encoded.
    private var operation: Operation {
        switch self {
        case .single(let single):
            switch single.branch {
            case .put(let put): .put(put)
            case .delete(let delete): .delete(delete)
            case .range, .txn: invariantFailed("a range alone goes through no log")
            }
        case .txn(let compares, let success, let failure):
            .txn(
                TxnOperation(
                    compares: compares.map {
                        CompareOperation(target: $0.target.rawValue, result: 0, key: $0.key, number: $0.number)
                    },
                    success: success.map(\.branch), failure: failure.map(\.branch)))
        case .compact(let revision): .compact(revision)
        case .grant(let id, let ttlSeconds): .grant(id: id, ttlSeconds: ttlSeconds)
        case .revoke(let id): .revoke(id)
        case .checkpoint(let checkpoints): .checkpoint(checkpoints.map { ($0.id, $0.remainingSeconds) })
        case .alarm(let action, let member, let kind):
            .alarm(action: Int64(action), member: member.rawValue, kind: Int64(kind.rawValue))
        case .other: .garbage(1302, [])
        }
    }

    /// The payload of the log entry that carries it.
    package func payload(id: UInt64) -> Bytes { operation.payload(id: id) }

    /// What a member proposed of itself.
    init(internal payload: Bytes) {
        self =
            switch Operation(internal: payload) {
            case .revoke(let id): .revoke(id)
            case .checkpoint(let checkpoints):
                .checkpoint(checkpoints.map { Checkpoint(id: $0.id, remainingSeconds: $0.remainingSeconds) })
            case .alarm(let action, let member, let kind):
                AlarmKind(rawValue: Int32(kind)).map { Request.alarm(Int32(action), MemberID(member), $0) } ?? .other
            default: .other
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
        case .alarm: self = try Answer(alarms: bytes)
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

    private init(alarms bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        var alarms: [Alarm] = []
        while let tag = try reader.nextField() {
            guard tag == .bytes(2) else {
                try reader.skip(tag)
                continue
            }
            var inner = ProtoReader(try reader.bytes())
            var (member, kind): (UInt64, UInt64) = (0, 0)
            while let tag = try inner.nextField() {
                switch tag {
                case .varint(1): member = try inner.uint64()
                case .varint(2): kind = try inner.uint64()
                default: try inner.skip(tag)
                }
            }
            guard let kind = AlarmKind(rawValue: Int32(truncatingIfNeeded: kind)) else { throw .truncated(offset: 0) }
            alarms.append(Alarm(member: MemberID(member), kind: kind))
        }
        self.init(.alarms(alarms), revision: try Self.revision(bytes))
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
