package import Primitives

/// Leader completeness: what was committed in a term is in the log of every leader of a later one. Source: the Raft
/// paper, section 5.4.
package enum LeaderCompletenessChecker {
    /// - Parameter logTerm: the leader's log; nil where it holds nothing or has compacted.
    package static func check(
        _ leader: MemberID, term: Term, firstIndex: LogIndex, lastIndex: LogIndex, in history: CommittedHistory,
        logTerm: (LogIndex) -> Term?
    ) throws(Violation) {
        var index = max(firstIndex, history.foundation.advanced(by: 1))
        while index <= history.lastIndex {
            guard let item = history[index] else { break }
            if item.seenTerm < term {
                guard index <= lastIndex, logTerm(index) == item.term else {
                    throw Violation(
                        "leader completeness",
                        "member \(leader.rawValue) leads term \(term.rawValue) without entry \(index.rawValue) of term "
                            + "\(item.term.rawValue), which was committed by term \(item.seenTerm.rawValue)")
                }
            }
            index = index.advanced(by: 1)
        }
    }
}
