package import Primitives

/// Leadership transfer. Source: the thesis, section 3.10.
extension Raft {
    /// Asks that `target` become leader. A leader stops taking proposals, brings `target` up to date and tells it to
    /// campaign; if that has not succeeded within an election timeout it serves again. A follower forwards the wish.
    /// Without effect when there is no leader, or `target` is no voter or leads already.
    package mutating func transferLeadership(to target: MemberID) {
        guard role == .leader else {
            if role == .follower, leader != .none, leader != target { forwardTransfer(to: target) }
            return
        }
        guard target != id, target != transferTarget, tracker.configuration.voters.contains(target),
            let progress = tracker.progress[target]
        else { return }
        // A time of its own: wishes, however many, put off neither the quorum check nor the end of an abdication.
        if !isAbdicating { transferElapsedTicks = 0 }
        transferTarget = target
        owesAppends = true
        finishTransferIfCaughtUp(target, match: progress.match)
    }

    /// A transfer that has not ended within an election timeout has failed: serve again, and do what was put off; or, when
    /// abdicating, lead no longer.
    mutating func endTransfer() {
        if isAbdicating {
            becomeFollower(term: term, leader: .none)
            return
        }
        transferTarget = .none
        transferElapsedTicks = 0
        leaveJointIfDue()
    }

    private mutating func forwardTransfer(to target: MemberID) {
        // On the wire the wish comes "from" the member that is to lead.
        outbox.append(Message(type: .transferLeader, to: leader, from: target, term: term))
    }

    mutating func finishTransferIfCaughtUp(_ member: MemberID, match: LogIndex) {
        if role == .leader, member == transferTarget, match == log.lastIndex {
            send(Message(type: .timeoutNow, to: member))
        }
    }
}
