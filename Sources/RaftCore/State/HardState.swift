package import Primitives

/// The state that must survive a crash beside the log. `term` and `vote` must be durable before any message that
/// depends on them leaves; `commit` may lag. Source: Raft paper, figure 2; `raftpb.HardState`.
package struct HardState: Sendable, Hashable {
    package var term: Term
    package var vote: MemberID
    package var commit: LogIndex

    package init(term: Term = .zero, vote: MemberID = .none, commit: LogIndex = .zero) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}
