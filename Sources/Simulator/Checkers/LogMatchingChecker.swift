package import Primitives

/// Log matching: where two logs have the same term at an index, they are the same before it. And no log contradicts
/// what is committed and applied by its own member. Source: the Raft paper, section 5.3.
package enum LogMatchingChecker {
    /// A log as far as its owner has it.
    package struct Log {
        package var member: MemberID
        package var firstIndex: LogIndex
        package var lastIndex: LogIndex
        package var commit: LogIndex
        /// Terms from `firstIndex` on.
        package var terms: [Term]

        package init(member: MemberID, firstIndex: LogIndex, lastIndex: LogIndex, commit: LogIndex, terms: [Term]) {
            self.member = member
            self.firstIndex = firstIndex
            self.lastIndex = lastIndex
            self.commit = commit
            self.terms = terms
        }

        package func term(at index: LogIndex) -> Term { terms[Int(index.rawValue - firstIndex.rawValue)] }
    }

    package static func check(_ a: Log, _ b: Log) throws(Violation) {
        let first = max(a.firstIndex, b.firstIndex)
        var index = min(a.lastIndex, b.lastIndex)
        var mustMatch = false
        while index >= first, index > .zero {
            let isSame = a.term(at: index) == b.term(at: index)
            let isCommitted = index <= a.commit && index <= b.commit
            if !isSame, mustMatch || isCommitted {
                throw Violation(
                    "log matching",
                    "members \(a.member.rawValue) and \(b.member.rawValue) differ at \(index.rawValue), "
                        + (isCommitted ? "which both call committed" : "and agree after it"))
            }
            mustMatch = mustMatch || isSame
            index = index.advanced(by: -1)
        }
    }
}
