package import Primitives

/// Two sets of voters that must both agree, while membership moves from one to the other. With an empty outgoing set
/// it is a simple majority. Source: the paper, section 6.
package struct JointQuorum: Sendable, Hashable {
    package var incoming: MajorityQuorum
    package var outgoing: MajorityQuorum

    package init(incoming: MajorityQuorum = MajorityQuorum(), outgoing: MajorityQuorum = MajorityQuorum()) {
        self.incoming = incoming
        self.outgoing = outgoing
    }

    package var isJoint: Bool { !outgoing.isEmpty }

    /// The voters of both sets, sorted, without duplicates.
    package var members: [MemberID] {
        outgoing.isEmpty ? incoming.members : MajorityQuorum(incoming.members + outgoing.members).members
    }

    package func contains(_ member: MemberID) -> Bool {
        incoming.contains(member) || outgoing.contains(member)
    }

    /// The greatest value acknowledged by a majority of each set.
    package func committed(_ acknowledged: (MemberID) -> UInt64?) -> UInt64 {
        min(incoming.committed(acknowledged), outgoing.committed(acknowledged))
    }

    /// Won when both sets have, lost as soon as one has.
    package func result(_ vote: (MemberID) -> Bool?) -> VoteResult {
        switch (incoming.result(vote), outgoing.result(vote)) {
        case (.won, .won): .won
        case (.lost, _), (_, .lost): .lost
        default: .pending
        }
    }
}
