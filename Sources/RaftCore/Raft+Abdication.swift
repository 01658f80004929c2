package import Primitives

/// A leader that should not lead any more, and knows it.
extension Raft {
    /// Who would best take over: the other voter that was heard from and has most of the log; `.none` when there is no
    /// other voter, or on a member that does not lead.
    package var transferCandidate: MemberID {
        guard role == .leader else { return .none }
        var best: (member: MemberID, progress: Progress)?
        for (member, progress) in tracker.listing
        where member != id && tracker.configuration.voters.incoming.contains(member) {
            guard let known = best?.progress else {
                best = (member, progress)
                continue
            }
            let isBetter =
                progress.recentlyActive == known.recentlyActive
                ? progress.match > known.match : progress.recentlyActive
            if isBetter { best = (member, progress) }
        }
        return best?.member ?? .none
    }

    /// Gives leadership up: to the best successor, and when that has not led to an election within an election timeout,
    /// to nobody. For a leader whose disk does not answer. Without effect on the only voter and on others than leaders;
    /// harmless when repeated.
    package mutating func abdicate() {
        let candidate = transferCandidate
        guard candidate != .none, !isAbdicating else { return }
        if transferTarget == .none { transferLeadership(to: candidate) }
        isAbdicating = true
    }

    /// Shortens the wait until this follower's next election by `ticks`, to one tick at least. Source: etcd's
    /// `--initial-election-tick-advance`.
    package mutating func advanceElectionTimer(by ticks: Int) {
        guard role == .follower else { return }
        electionElapsedTicks = min(electionElapsedTicks + max(0, ticks), randomizedElectionTicks - 1)
    }

    /// True while a membership change stands in a leader's log, or may stand there, that is not applied.
    package var hasUnappliedChange: Bool { pendingChangeIndex > log.applied }
}
