import Wire

/// Where etcd 3.5.1, the reference that is at hand, answers otherwise than 3.7, which Martlet follows.
enum KnownDeviation {
    /// Whether a difference between the answers to `operation` is one of the known ones.
    static func explains(_ operation: Operation, etcd: Answer, martlet: Answer) -> Bool {
        switch operation {
        // `hash_revision` exists since 3.6.
        case .hashKV: withoutHashRevision(martlet) == withoutHashRevision(etcd)
        // A put within a transaction, of a missing key with an unknown lease: since 3.6 the lease is looked up first,
        // as for a put of its own.
        case .txn: etcd == keyNotFound && martlet == leaseNotFound
        default: false
        }
    }

    private static let keyNotFound = Answer.failure(code: 3, message: "etcdserver: key not found")
    private static let leaseNotFound = Answer.failure(code: 5, message: "etcdserver: requested lease not found")

    private static func withoutHashRevision(_ answer: Answer) -> Answer {
        guard case .reply(let revision, let text) = answer else { return answer }
        return .reply(
            revision: revision,
            text: text.split(separator: "\n").filter { !$0.contains("hash_revision") }.joined(separator: "\n"))
    }
}
