import Wire

/// Where etcd 3.5.1, the reference that is at hand, answers otherwise than 3.7, which Martlet follows.
enum KnownDeviation {
    /// Whether a difference between the answers to `operation` is one of the known ones.
    static func explains(_ operation: Operation, etcd: Answer, martlet: Answer) -> Bool {
        switch operation {
        // `hash_revision` exists since 3.6; since then the compacted revision itself can be asked for, too.
        case .hashKV(let revision):
            without("hash_revision", martlet) == without("hash_revision", etcd)
                || etcd == compacted && martlet.text.contains("compact_revision: \(revision)\n")
        // Since 3.7 keys alone come from the index, which knows no leases.
        case .range(let request) where request.keysOnly: without("lease:", martlet) == without("lease:", etcd)
        case .txn where operation.description.contains("keys_only: true"):
            without("lease:", martlet) == without("lease:", etcd) || comesFromOrder(etcd: etcd, martlet: martlet)
        case .txn: comesFromOrder(etcd: etcd, martlet: martlet)
        default: false
        }
    }

    /// Which of several errors of a transaction is told. Since 3.6 a put's lease is looked up before its key, as for a put
    /// of its own, and the operations are checked in their order; 3.5 checks all puts before all ranges.
    private static func comesFromOrder(etcd: Answer, martlet: Answer) -> Bool {
        etcd == keyNotFound && martlet == leaseNotFound
            || [keyNotFound, leaseNotFound].contains(etcd) && [compacted, future].contains(martlet)
    }

    private static let keyNotFound = Answer.failure(code: 3, message: "etcdserver: key not found")
    private static let leaseNotFound = Answer.failure(code: 5, message: "etcdserver: requested lease not found")

    private static let compacted = Answer.failure(
        code: 11, message: "etcdserver: mvcc: required revision has been compacted")

    private static let future = Answer.failure(
        code: 11, message: "etcdserver: mvcc: required revision is a future revision")

    /// The answer without the lines of a field.
    private static func without(_ field: String, _ answer: Answer) -> Answer {
        guard case .reply(let revision, let text) = answer else { return answer }
        let lines = text.split(separator: "\n").filter { !$0.contains(field) }
        return .reply(revision: revision, text: lines.joined(separator: "\n"))
    }
}

extension Answer {
    fileprivate var text: String {
        switch self {
        case .reply(_, let text): text
        case .failure(_, let message): message
        }
    }
}
