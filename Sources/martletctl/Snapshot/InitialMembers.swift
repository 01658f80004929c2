import COpenSSL
package import Membership
import Primitives

/// The members of a cluster to be, as `--initial-cluster` names them, with etcd's rules and texts.
package struct InitialMembers: Sendable {
    /// In the order of their first mention; the URLs of each are sorted.
    package private(set) var members: [(name: String, urls: [String])] = []

    /// Reads `name=url,name=url`; a name may stand several times, once for each of its URLs.
    package init(_ text: String) throws(CommandError) {
        for part in text.split(separator: ",") {
            let pieces = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pieces.count == 2, !pieces[0].isEmpty else {
                throw .failure("empty URL given for \"\(pieces[0])\"")
            }
            let (name, url) = (String(pieces[0]), try PeerURLText.checked(pieces[1]))
            if let position = members.firstIndex(where: { $0.name == name }) {
                members[position].urls.append(url)
            } else {
                members.append((name, [url]))
            }
        }
        guard !members.isEmpty else { throw .failure("--initial-cluster names no member") }
        for position in members.indices { members[position].urls.sort() }
    }

    /// Checks that `name` is a member, and that it is to advertise the URLs that the cluster knows it by.
    package func check(name: String, advertised text: String) throws(CommandError) {
        guard let member = members.first(where: { $0.name == name }) else {
            throw .failure("couldn't find local name \"\(name)\" in the initial cluster configuration")
        }
        var advertised: [String] = []
        for part in text.split(separator: ",") { advertised.append(try PeerURLText.checked(part)) }
        advertised.sort()
        if let missing = member.urls.first(where: { !advertised.contains($0) }) {
            throw .failure(
                "--initial-cluster has \(name)=\(missing) but missing from --initial-advertise-peer-urls="
                    + advertised.joined(separator: ","))
        }
        if let missing = advertised.first(where: { !member.urls.contains($0) }) {
            throw .failure(
                "--initial-advertise-peer-urls has \(missing) but missing from --initial-cluster="
                    + member.urls.map { "\(name)=\($0)" }.joined(separator: ","))
        }
    }

    /// The members with the identities that they have in a cluster of this token.
    package func identified(token: String) -> [(name: String, member: Membership.Member)] {
        members.map { name, urls in
            let id = ClusterIdentity.memberID(peerURLs: urls, token: token, sha1: Self.sha1)
            return (name, Membership.Member(id: id, name: name, peerURLs: urls))
        }
    }

    static func sha1(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        var count: UInt32 = 0
        let result = EVP_Digest(bytes, bytes.count, &digest, &count, EVP_sha1(), nil)
        invariant(result == 1 && Int(count) == digest.count, "OpenSSL cannot compute SHA-1")
        return digest
    }
}
