/// Why a change of the membership is refused. `description` is etcd's text, without its `etcdserver: `. Source:
/// etcd-behaviour.md, section 2.
package enum MembershipError: Error, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    case memberExists
    case peerURLExists
    case memberNotFound
    case notLearner
    case tooManyLearners
    case notEnoughStarted
    case unhealthy
    case learnerNotReady
    case badURLs

    package var description: String {
        switch self {
        case .memberExists: "member ID already exist"
        case .peerURLExists: "Peer URLs already exists"
        case .memberNotFound: "member not found"
        case .notLearner: "can only promote a learner member"
        case .tooManyLearners: "too many learner members in cluster"
        case .notEnoughStarted: "re-configuration failed due to not enough started members"
        case .unhealthy: "unhealthy cluster"
        case .learnerNotReady: "can only promote a learner member which is in sync with leader"
        case .badURLs: "given member URLs are invalid"
        }
    }
}
