package import Membership

/// Why a request was refused: the values behind every error a client can see. Texts and gRPC codes stand in one table
/// in `Server`. Source: etcd-behaviour, section 2.
package enum RequestError: Error, Sendable, Hashable {
    // The request itself.
    case emptyKey
    case keyNotFound
    case valueProvided
    case leaseProvided
    case tooManyOperations
    case duplicateKey
    case invalidSortOption
    case requestTooLarge
    /// The bytes are not the message the method takes.
    case malformed

    // The store.
    case compacted
    case futureRevision
    case noSpace
    case corrupt

    // Leases.
    case leaseNotFound
    case leaseExists
    case leaseTTLTooLarge

    // The cluster.
    case noLeader
    case notLeader
    case leaderChanged
    /// The leader that had the request is not the leader any more: what became of the request is not known.
    case leaderFailed
    case badLeaderTransferee
    case notSupportedForLearner
    case malformedDowngradeTarget
    case invalidDowngradeTarget
    case noDowngrade
    /// A change of the membership, with its reason.
    case membership(MembershipError)
    case tooManyRequests
    case timeout
    case stopped
}
