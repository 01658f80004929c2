package import Primitives

/// Members that have applied the same entries are the same: an equal hash at an equal applied index. The hash covers
/// every record ever written; the digest covers leases, alarms and members.
package struct StateHashChecker {
    private struct Seen {
        var hash: UInt32
        var digest: UInt32?
        var member: MemberID
    }

    private var seen: [LogIndex: Seen] = [:]

    package init() {}

    /// - Parameter digest: over the meta entries, nil when it was not taken.
    package mutating func check(
        _ member: MemberID, applied: LogIndex, hash: UInt32, digest: UInt32?
    ) throws(Violation) {
        guard let known = seen[applied] else {
            seen[applied] = Seen(hash: hash, digest: digest, member: member)
            return
        }
        guard known.hash == hash else {
            throw Violation(
                "state hash",
                "members \(known.member.rawValue) and \(member.rawValue) differ after entry \(applied.rawValue)")
        }
        guard let digest else { return }
        if let other = known.digest, other != digest {
            throw Violation(
                "state hash",
                "the meta entries of members \(known.member.rawValue) and \(member.rawValue) differ after entry "
                    + "\(applied.rawValue)")
        }
        seen[applied]?.digest = digest
    }
}
