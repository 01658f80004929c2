package import Primitives

/// Computes the membership and progress after a change, from those before it; nothing else. Source: the thesis,
/// section 4.3, with learners.
package struct Changer {
    /// Membership and progress before the change.
    package var tracker: ProgressTracker
    /// The last log index: new members start with `next` there, so that the first probe finds how much they have.
    package var lastIndex: LogIndex

    package init(tracker: ProgressTracker, lastIndex: LogIndex) {
        self.tracker = tracker
        self.lastIndex = lastIndex
    }

    /// `tracker` after `change`; votes are kept.
    package func apply(_ change: ConfigurationChange) throws(ConfigurationChangeError) -> ProgressTracker {
        if change.leavesJoint { return try leaveJoint() }
        let enters = change.entersJoint
        if enters.joint { return try enterJoint(autoLeave: enters.autoLeave, change.changes) }
        return try simple(change.changes)
    }

    /// Moves to a joint configuration of the current voters (outgoing) and the changed ones (incoming).
    package func enterJoint(
        autoLeave: Bool, _ changes: [ConfigurationChange.Single]
    ) throws(ConfigurationChangeError) -> ProgressTracker {
        var result = tracker
        if result.configuration.voters.isJoint { throw .alreadyJoint }
        // Adding the first voters this way would make a quorum of an empty set.
        if result.configuration.voters.incoming.isEmpty { throw .noVotersToLeave }
        result.configuration.voters.outgoing = result.configuration.voters.incoming
        try apply(changes, to: &result)
        result.configuration.autoLeave = autoLeave
        check(result)
        return result
    }

    /// Drops the outgoing half; members only in it are forgotten, future learners become learners.
    package func leaveJoint() throws(ConfigurationChangeError) -> ProgressTracker {
        var result = tracker
        if !result.configuration.voters.isJoint { throw .notJoint }
        for learner in result.configuration.learnersNext {
            insert(learner, into: &result.configuration.learners)
            result.progress[learner]?.isLearner = true
        }
        result.configuration.learnersNext = []
        for member in result.configuration.voters.outgoing.members
        where !result.configuration.voters.incoming.contains(member)
            && !result.configuration.learners.contains(member)
        {
            result.progress[member] = nil
        }
        result.configuration.voters.outgoing = MajorityQuorum()
        result.configuration.autoLeave = false
        check(result)
        return result
    }

    /// Changes the voters by at most one, without a joint configuration: any old and any new majority overlap.
    package func simple(
        _ changes: [ConfigurationChange.Single]
    ) throws(ConfigurationChangeError) -> ProgressTracker {
        var result = tracker
        if result.configuration.voters.isJoint { throw .simpleInJoint }
        try apply(changes, to: &result)
        let before = tracker.configuration.voters.incoming
        let after = result.configuration.voters.incoming
        let removed = before.members.count { !after.contains($0) }
        let added = after.members.count { !before.contains($0) }
        if removed + added > 1 { throw .multipleVotersChanged }
        check(result)
        return result
    }

    private func apply(
        _ changes: [ConfigurationChange.Single], to result: inout ProgressTracker
    ) throws(ConfigurationChangeError) {
        for change in changes where change.member != .none {
            switch change.step {
            case .addVoter: makeVoter(change.member, in: &result)
            case .addLearner: makeLearner(change.member, in: &result)
            case .removeMember: remove(change.member, from: &result)
            case .updateMember: break
            }
        }
        if result.configuration.voters.incoming.isEmpty { throw .removesAllVoters }
    }

    private func makeVoter(_ member: MemberID, in result: inout ProgressTracker) {
        if result.progress[member] == nil {
            result.progress[member] = newProgress(isLearner: false)
        }
        result.progress[member]?.isLearner = false
        result.configuration.learners.removeAll { $0 == member }
        result.configuration.learnersNext.removeAll { $0 == member }
        result.configuration.voters.incoming.insert(member)
    }

    private func makeLearner(_ member: MemberID, in result: inout ProgressTracker) {
        guard let progress = result.progress[member] else {
            result.progress[member] = newProgress(isLearner: true)
            insert(member, into: &result.configuration.learners)
            return
        }
        if progress.isLearner { return }
        remove(member, from: &result)
        result.progress[member] = progress
        if result.configuration.voters.outgoing.contains(member) {
            insert(member, into: &result.configuration.learnersNext)
        } else {
            result.progress[member]?.isLearner = true
            insert(member, into: &result.configuration.learners)
        }
    }

    private func remove(_ member: MemberID, from result: inout ProgressTracker) {
        if result.progress[member] == nil { return }
        result.configuration.voters.incoming.remove(member)
        result.configuration.learners.removeAll { $0 == member }
        result.configuration.learnersNext.removeAll { $0 == member }
        // A voter of the outgoing half is still replicated to.
        if !result.configuration.voters.outgoing.contains(member) { result.progress[member] = nil }
    }

    private func newProgress(isLearner: Bool) -> Progress {
        tracker.makeProgress(next: max(lastIndex, LogIndex(1)), isLearner: isLearner)
    }

    private func insert(_ member: MemberID, into members: inout [MemberID]) {
        if members.contains(member) { return }
        members.append(member)
        members.sort()
    }

    private func check(_ result: ProgressTracker) {
        let state = result.configuration.state
        invariant(state.isConsistent, "membership change made an inconsistent membership")
        let members = MajorityQuorum(result.configuration.voters.members + result.configuration.learners).members
        invariant(members == result.progress.members, "members and progress differ")
        for learner in state.learners {
            invariant(result.progress[learner]?.isLearner == true, "learner's progress is not a learner's")
        }
        for voter in result.configuration.voters.members {
            invariant(result.progress[voter]?.isLearner == false, "voter's progress is a learner's")
        }
    }
}
