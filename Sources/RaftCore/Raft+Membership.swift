import Primitives

/// Membership changes. Source: the thesis, chapter 4. A configuration takes effect when its entry is applied, not when
/// it is appended; that is safe because a leader proposes no further change before the last one is applied, and nobody
/// campaigns with an unapplied one.
extension Raft {
    /// Switches to the configuration after `change`, and returns it for the state machine to store with the entry.
    /// Call for every membership entry, in log order, when it is applied and before `applied(through:)` covers it.
    /// On error (the same on every member) the entry has no effect.
    package mutating func applyConfigurationChange(
        _ change: ConfigurationChange
    ) throws(ConfigurationChangeError) -> ConfigurationState {
        let changed = try Changer(tracker: tracker, lastIndex: log.lastIndex).apply(change)
        tracker = changed
        if role == .leader { adaptLeader() }
        return configurationState
    }

    private mutating func adaptLeader() {
        if !isVoter {
            if configuration.stepDownOnRemoval { stepDownRemoved() }
            return
        }
        // A smaller quorum may have more; new members are to be probed at once.
        advanceCommit()
        owesAppends = true
        confirmReads()
        if transferTarget != .none, !tracker.configuration.voters.contains(transferTarget) { transferTarget = .none }
    }

    /// Removed or demoted: leads no longer, and tells a voter that has the whole log, if there is one, to campaign at
    /// once. Source: the thesis, section 4.2.2.
    private mutating func stepDownRemoved() {
        let successor = tracker.configuration.voters.members.first { tracker.progress[$0]?.match == log.lastIndex }
        if let successor { send(Message(type: .timeoutNow, to: successor)) }
        becomeFollower(term: term, leader: .none)
    }

    /// Proposes to leave a joint configuration that is to be left automatically, once it is applied. Its entry is empty
    /// and so is never refused for its size.
    mutating func leaveJointIfDue() {
        guard role == .leader, tracker.configuration.autoLeave, log.applied >= pendingChangeIndex,
            transferTarget == .none, tracker.progress.position(of: id) != nil
        else { return }
        let index = log.lastIndex.advanced(by: 1)
        pendingChangeIndex = index
        appendOwn([Entry(term: term, index: index, kind: .configurationChangeV2)])
    }
}
