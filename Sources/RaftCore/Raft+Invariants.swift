package import Primitives

extension Raft {
    /// The term of the entry at `index`, or nil when the log does not reach there or has forgotten it.
    package func logTerm(at index: LogIndex) -> Term? { try? log.term(at: index) }

    /// Checks what must hold between any two calls. O(members + log terms + entries that are not applied).
    package func checkInvariants() {
        let settled = log.pendingSnapshot == nil
        invariant(log.terms.isConsistent, "term runs are inconsistent")
        invariant(log.terms.first <= log.memory.first, "entries in memory whose terms are unknown")
        invariant(log.terms.end == log.memory.end, "terms and entries end apart")
        invariant(log.memory.first > log.compacted.index, "compacted entries in memory")
        if settled {
            invariant(log.compacted.index <= log.applied, "compacted beyond applied")
            invariant(log.memory.first <= log.applied.advanced(by: 1), "unapplied entries are not in memory")
        }
        invariant(log.applied <= log.applying, "applied beyond applying")
        invariant(log.applying <= log.commit, "applying beyond commit")
        invariant(log.applying <= log.durable, "entries applied that are not durable")
        invariant(log.durable <= log.appended, "durable beyond appended")
        invariant(log.appended <= log.lastIndex, "appended beyond the log")
        invariant(log.commit <= log.lastIndex, "commit beyond the log")
        invariant(log.flights.last <= log.appended, "more in flight than was appended")
        invariant(log.last.term <= term, "log beyond the term")
        invariant(configurationState.isConsistent, "membership is inconsistent")
        switch role {
        case .leader: checkLeaderInvariants()
        case .candidate: invariant(vote == id && leader == .none, "a candidate follows somebody")
        case .preCandidate: invariant(leader == .none, "a pre-candidate follows somebody")
        case .follower: invariant(leader != id, "a follower follows itself")
        }
    }

    private func checkLeaderInvariants() {
        invariant(leader == id, "a leader follows somebody")
        invariant(log.last.term == term, "a leader's log does not end in its term")
        invariant(log.pendingSnapshot == nil, "a leader installs a snapshot")
        let tail = log.payloadBytes(after: log.commit, through: log.lastIndex)
        invariant(tail == uncommittedBytes, "uncommitted bytes are miscounted")
        for (member, progress) in tracker.listing {
            invariant(progress.match < progress.next, "progress of \(member): match reaches next")
            invariant(progress.sentCommit < progress.next, "progress of \(member): commit sent beyond entries")
            invariant(progress.next <= log.lastIndex.advanced(by: 1), "progress of \(member): next beyond the log")
        }
        if !configuration.stepDownOnRemoval { return }
        invariant(isVoter, "a member that is no voter leads")
    }
}

/// Checks what must hold of the *change* between two looks at one member, across restarts too if `noteRestart` is
/// called: LogCabin's idea. A test or simulator keeps one per member and calls `check` after every call of the core.
package struct RaftWitness: Sendable {
    private struct Past {
        var term: Term
        var vote: MemberID
        var role: Role
        var leader: MemberID
        var commit: LogIndex
        var commitTerm: Term?
        var applied: LogIndex
        var firstIndex: LogIndex
        var last: EntryID
    }

    private var past: Past?

    package init() {}

    /// Forgets what a restart may undo: the role, and what was not durable.
    package mutating func noteRestart() { past = nil }

    package mutating func check(_ raft: borrowing Raft) {
        raft.checkInvariants()
        let now = Past(
            term: raft.term, vote: raft.vote, role: raft.role, leader: raft.leader, commit: raft.commit,
            commitTerm: raft.log.terms.term(at: raft.commit), applied: raft.applied, firstIndex: raft.firstIndex,
            last: raft.log.last)
        if let past { RaftWitness.compare(past, now, raft) }
        past = now
    }

    private static func compare(_ past: Past, _ now: Past, _ raft: borrowing Raft) {
        invariant(now.term >= past.term, "term went back")
        invariant(now.commit >= past.commit, "commit went back")
        invariant(now.applied >= past.applied, "applied went back")
        invariant(now.firstIndex >= past.firstIndex, "the log's start went back")
        if let here = raft.log.terms.term(at: past.commit), let before = past.commitTerm {
            invariant(here == before, "a committed entry changed")
        }
        guard now.term == past.term else { return }
        invariant(past.vote == .none || now.vote == past.vote, "vote changed within a term")
        invariant(past.leader == .none || now.leader == .none || past.leader == now.leader, "two leaders in a term")
        if past.role == .leader {
            invariant(now.role == .leader || now.role == .follower, "a leader became candidate within its term")
            if now.role == .leader {
                invariant(now.last.index >= past.last.index, "a leader shortened its log")
                let kept = raft.log.terms.term(at: past.last.index)
                invariant(kept == nil || kept == past.last.term, "a leader overwrote its log")
            }
        }
    }
}
