// Who belongs to the cluster: members with their addresses, the identities derived from them, and how a member is
// stored. Pure values; the state machine owns the table and changes it only by applying log entries.

package import Primitives

/// One member of the cluster.
package struct Member: Sendable, Equatable {
    package var id: MemberID
    /// Empty until the member has started and published itself.
    package var name: String
    package var peerURLs: [String]
    /// Empty until the member has published itself.
    package var clientURLs: [String]
    package var isLearner: Bool

    package init(id: MemberID, name: String, peerURLs: [String], clientURLs: [String] = [], isLearner: Bool = false) {
        self.id = id
        self.name = name
        self.peerURLs = peerURLs
        self.clientURLs = clientURLs
        self.isLearner = isLearner
    }
}

/// How etcd derives identities from a bootstrap configuration: the first eight bytes, big endian, of a SHA-1.
package enum ClusterIdentity {
    /// A SHA-1 function; given from outside so that this module needs no cryptography library.
    package typealias SHA1 = (_ bytes: [UInt8]) -> [UInt8]

    /// The identity of a bootstrap member: its peer URLs, sorted and joined without separator, then the token.
    package static func memberID(peerURLs: [String], token: String, sha1: SHA1) -> MemberID {
        let text = peerURLs.sorted().joined() + token
        return MemberID(leadingInteger(of: sha1(Array(text.utf8))))
    }

    /// The identity of the cluster: the members' identities, ascending, as eight big-endian bytes each.
    package static func clusterID(members: [MemberID], sha1: SHA1) -> UInt64 {
        var bytes: [UInt8] = []
        for id in members.sorted() {
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: id.rawValue >> UInt64(shift)))
            }
        }
        return leadingInteger(of: sha1(bytes))
    }

    private static func leadingInteger(of digest: [UInt8]) -> UInt64 {
        digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
