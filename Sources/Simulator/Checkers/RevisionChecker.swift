package import Primitives

/// Revisions are monotone and without gaps: a store that has applied through an index shows exactly the revision that
/// the entries up to there make, never goes back while its process lives, and its history has every revision once.
package struct RevisionChecker {
    private struct Last {
        var index: LogIndex
        var revision: Int64
        var compactRevision: Int64
    }

    private var lasts: [MemberID: Last] = [:]

    package init() {}

    /// A process has ended, or its store was replaced: what it had not persisted, it shows again later.
    package mutating func noteRestart(_ member: MemberID) { lasts[member] = nil }

    package mutating func check(
        _ member: MemberID, applied: LogIndex, revision: Int64, compactRevision: Int64, in history: CommittedHistory
    ) throws(Violation) {
        let expected = history.revision(at: applied)
        guard revision == expected else {
            throw Violation(
                "revisions",
                "member \(member.rawValue) shows \(revision) after entry \(applied.rawValue), and \(expected) is right")
        }
        guard compactRevision == history.compactRevision(at: applied) else {
            throw Violation(
                "revisions", "member \(member.rawValue) is compacted at \(compactRevision) after \(applied.rawValue)")
        }
        if let last = lasts[member] {
            guard applied >= last.index, revision >= last.revision, compactRevision >= last.compactRevision else {
                throw Violation(
                    "revisions",
                    "member \(member.rawValue) went from \(last.revision) at entry \(last.index.rawValue) back to "
                        + "\(revision) at \(applied.rawValue)")
            }
        }
        lasts[member] = Last(index: applied, revision: revision, compactRevision: compactRevision)
    }

    /// Revisions as a history gives them, one after the other.
    package static func checkSequence(_ revisions: [Int64], after: Int64) throws(Violation) {
        var expected = after + 1
        for revision in revisions {
            guard revision == expected else {
                throw Violation("revisions", "revision \(revision) stands where \(expected) must")
            }
            expected += 1
        }
    }
}
