import Membership
package import StateMachine
package import Transport

/// The one table from refusals to what goes over the wire: etcd's codes and texts, to the letter, because clients
/// match on them. Source: etcd-behaviour, section 2.
extension RPCStatus {
    package init(_ error: RequestError) {
        // What a gRPC library in Go says before its server sees the request.
        if case .malformed = error {
            self.init(.internal, "grpc: error unmarshalling request: malformed message")
            return
        }
        let (code, text) = Self.row(of: error)
        self.init(code, "etcdserver: " + text)
    }

    /// There are no users.
    static let authenticationNotEnabled = RPCStatus(
        .failedPrecondition, "etcdserver: authentication is not enabled")

    private static func row(of error: RequestError) -> (RPCCode, String) {
        switch error {
        case .emptyKey: (.invalidArgument, "key is not provided")
        case .keyNotFound: (.invalidArgument, "key not found")
        case .valueProvided: (.invalidArgument, "value is provided")
        case .leaseProvided: (.invalidArgument, "lease is provided")
        case .tooManyOperations: (.invalidArgument, "too many operations in txn request")
        case .duplicateKey: (.invalidArgument, "duplicate key given in txn request")
        case .invalidSortOption: (.invalidArgument, "invalid sort option")
        case .requestTooLarge: (.invalidArgument, "request is too large")
        case .malformed: (.internal, "malformed request")
        case .compacted: (.outOfRange, "mvcc: required revision has been compacted")
        case .futureRevision: (.outOfRange, "mvcc: required revision is a future revision")
        case .noSpace: (.resourceExhausted, "mvcc: database space exceeded")
        case .corrupt: (.dataLoss, "corrupt cluster")
        case .leaseNotFound: (.notFound, "requested lease not found")
        case .leaseExists: (.failedPrecondition, "lease already exists")
        case .leaseTTLTooLarge: (.outOfRange, "too large lease TTL")
        case .noLeader: (.unavailable, "no leader")
        case .notLeader: (.failedPrecondition, "not leader")
        case .leaderChanged: (.unavailable, "leader changed")
        case .leaderFailed: (.unavailable, "request timed out, possibly due to previous leader failure")
        case .badLeaderTransferee: (.failedPrecondition, "bad leader transferee")
        case .notSupportedForLearner: (.failedPrecondition, "rpc not supported for learner")
        case .malformedDowngradeTarget: (.invalidArgument, "wrong downgrade target version format")
        case .invalidDowngradeTarget: (.invalidArgument, "invalid downgrade target version")
        case .noDowngrade: (.failedPrecondition, "no inflight downgrade job")
        case .membership(let error): (code(of: error), error.description)
        case .tooManyRequests: (.resourceExhausted, "too many requests")
        case .timeout: (.unavailable, "request timed out")
        case .stopped: (.unavailable, "server stopped")
        }
    }

    private static func code(of error: MembershipError) -> RPCCode {
        switch error {
        case .memberNotFound: .notFound
        case .badURLs: .invalidArgument
        case .unhealthy: .unavailable
        case .memberExists, .peerURLExists, .notLearner, .tooManyLearners, .notEnoughStarted, .learnerNotReady:
            .failedPrecondition
        }
    }
}
