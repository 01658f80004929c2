import Wire

/// Where etcd 3.5.1, the reference that is at hand, answers otherwise than 3.7, which Martlet follows.
enum KnownDeviation {
    /// Whether a difference between the answers to `operation` is one of the known ones.
    static func explains(_ operation: Operation, etcd: Answer, martlet: Answer) -> Bool {
        switch operation {
        // `hash_revision` exists since 3.6.
        case .hashKV: withoutHashRevision(martlet) == withoutHashRevision(etcd)
        default: false
        }
    }

    private static func withoutHashRevision(_ answer: Answer) -> Answer {
        guard case .reply(let revision, let text) = answer else { return answer }
        return .reply(
            revision: revision,
            text: text.split(separator: "\n").filter { !$0.contains("hash_revision") }.joined(separator: "\n"))
    }
}
