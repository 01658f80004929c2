package import Primitives

/// The membership in the form the algorithm works with.
package struct MemberConfiguration: Sendable, Hashable {
    package var voters = JointQuorum()
    /// Sorted. Disjoint from the voters of both halves.
    package var learners: [MemberID] = []
    /// Sorted. Voters of the outgoing half that become learners when the joint configuration is left: no member is
    /// ever voter and learner at once.
    package var learnersNext: [MemberID] = []
    package var autoLeave = false

    package init() {}

    package init(_ state: ConfigurationState) {
        voters = JointQuorum(
            incoming: MajorityQuorum(state.voters), outgoing: MajorityQuorum(state.votersOutgoing))
        learners = state.learners
        learnersNext = state.learnersNext
        autoLeave = state.autoLeave
    }

    package var state: ConfigurationState {
        ConfigurationState(
            voters: voters.incoming.members, learners: learners, votersOutgoing: voters.outgoing.members,
            learnersNext: learnersNext, autoLeave: autoLeave)
    }
}

extension ConfigurationState {
    /// The rules every stored or received membership obeys: no duplicates, no member 0, learners are no voters,
    /// future learners leave the outgoing voters, and what belongs to a joint configuration appears in one only.
    package var isConsistent: Bool {
        func isSet(_ members: [MemberID]) -> Bool {
            !members.contains(.none) && zip(members, members.dropFirst()).allSatisfy { $0 < $1 }
        }
        guard isSet(voters), isSet(learners), isSet(votersOutgoing), isSet(learnersNext) else { return false }
        for learner in learners where voters.contains(learner) || votersOutgoing.contains(learner) { return false }
        for next in learnersNext where voters.contains(next) || !votersOutgoing.contains(next) { return false }
        if !isJoint, autoLeave || !learnersNext.isEmpty { return false }
        return !voters.isEmpty || (votersOutgoing.isEmpty && learners.isEmpty)
    }

    package func contains(_ member: MemberID) -> Bool {
        voters.contains(member) || votersOutgoing.contains(member) || learners.contains(member)
    }
}
