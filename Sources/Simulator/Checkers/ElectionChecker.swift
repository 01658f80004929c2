package import Primitives

/// Election safety: at most one leader in a term. And what pre-vote is for: a member that nobody can reach does not
/// raise its term, so that it disturbs nobody when it comes back. Source: the Raft paper, section 5.2; the thesis,
/// section 9.6.
package struct ElectionChecker {
    private var leaders: [Term: MemberID] = [:]
    private var lonely: [MemberID: Term] = [:]
    /// How often a leader was elected.
    package private(set) var elections = 0

    package init() {}

    /// True when `member` is newly seen to lead `term`.
    package mutating func check(_ member: MemberID, term: Term, isLeader: Bool) throws(Violation) -> Bool {
        if let start = lonely[member], term > start {
            throw Violation(
                "election",
                "member \(member.rawValue), whom nobody can reach, rose from term \(start.rawValue) to \(term.rawValue)"
            )
        }
        guard isLeader else { return false }
        if let known = leaders[term] {
            guard known == member else {
                throw Violation(
                    "election", "term \(term.rawValue) has two leaders, \(known.rawValue) and \(member.rawValue)")
            }
            return false
        }
        leaders[term] = member
        elections += 1
        return true
    }

    /// From now on nothing reaches `member`, which asks before it campaigns; nil ends it.
    package mutating func setLonely(_ member: MemberID, term: Term?) { lonely[member] = term }
}
