package import Primitives

/// A membership change: a set of single steps, made at once (when it moves at most one voter) or through a joint
/// configuration. Source: Ongaro's thesis, chapter 4; `raftpb.ConfChangeV2`.
package struct ConfigurationChange: Sendable, Hashable {
    /// Raw values are those of `raftpb.ConfChangeTransition`.
    package enum Transition: UInt8, Sendable, Hashable {
        /// Joint only when more than one voter changes; a joint configuration is left automatically.
        case automatic = 0
        /// Always joint; left automatically.
        case jointImplicit = 1
        /// Always joint; left by a further, empty, change.
        case jointExplicit = 2
    }

    /// Raw values are those of `raftpb.ConfChangeType`.
    package enum Step: UInt8, Sendable, Hashable {
        case addVoter = 0
        case removeMember = 1
        /// No effect on the configuration; carries data about a member to the state machine.
        case updateMember = 2
        case addLearner = 3
    }

    package struct Single: Sendable, Hashable {
        package var step: Step
        /// `.none` makes the step void.
        package var member: MemberID

        package init(_ step: Step, _ member: MemberID) {
            self.step = step
            self.member = member
        }
    }

    package var transition: Transition
    package var changes: [Single]

    package init(_ changes: [Single], transition: Transition = .automatic) {
        self.changes = changes
        self.transition = transition
    }

    /// The change that leaves a joint configuration.
    package static let leaveJoint = ConfigurationChange([])

    package var leavesJoint: Bool { transition == .automatic && changes.isEmpty }

    /// Whether the change goes through a joint configuration, and if so whether that is left automatically.
    package var entersJoint: (joint: Bool, autoLeave: Bool) {
        guard transition != .automatic || changes.count > 1 else { return (false, false) }
        return (true, transition != .jointExplicit)
    }
}

/// Why a membership change cannot be made. Every member finds the same error for the same change, which is then a
/// no-op. `description` is for people and for the data-driven tests.
package enum ConfigurationChangeError: Error, Sendable, Hashable, CustomStringConvertible {
    case alreadyJoint
    case simpleInJoint
    case notJoint
    case noVotersToLeave
    case removesAllVoters
    case multipleVotersChanged

    package var description: String {
        switch self {
        case .alreadyJoint: "config is already joint"
        case .simpleInJoint: "can't apply simple config change in joint config"
        case .notJoint: "can't leave a non-joint config"
        case .noVotersToLeave: "can't make a zero-voter config joint"
        case .removesAllVoters: "removed all voters"
        case .multipleVotersChanged: "more than one voter changed without entering joint config"
        }
    }
}
