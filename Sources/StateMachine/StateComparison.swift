import Membership
package import Primitives

/// What one member has heard of the others' states, and what follows: whom the leader accuses by the alarm CORRUPT, and
/// what the log is told. See `StateSuspect` for who is blamed.
///
/// Owner: whoever hears; not safe for several threads.
package struct StateComparison {
    /// So long a difference that nobody can judge waits for voters that have told nothing of it, in nanoseconds.
    package static let patienceNanoseconds: UInt64 = 10_000_000_000

    /// The members' newest words, this one's included.
    private var marks: [MemberID: [StateHashMark]] = [:]
    /// Since when there is a difference that cannot be judged yet, in the clock's nanoseconds.
    private var undecidedSince: UInt64?
    /// The newest difference of each that was dealt with: an alarm that an operator has cleared comes again only when a
    /// newer one is seen.
    private var handled: [MemberID: LogIndex] = [:]
    /// Of whom the log tells already.
    private var logged: Set<MemberID> = []

    package init() {}

    /// What is to be done.
    package struct Findings: Sendable, Hashable {
        /// The leader raises the alarm for them; harmless when repeated.
        package var accused: [StateSuspect] = []
        /// The log is to tell of them.
        package var news: [StateSuspect] = []
    }

    /// Takes in what another member tells.
    ///
    /// - Parameters:
    ///   - own: this member, and its own marks.
    ///   - now: monotonic nanoseconds.
    package mutating func hear(
        _ theirs: [StateHashMark], from member: MemberID, own: (id: MemberID, marks: [StateHashMark]), isLeader: Bool,
        _ state: PublishedState, now: UInt64
    ) -> Findings {
        marks[member] = theirs
        marks[own.id] = own.marks
        marks = marks.filter { id, _ in state.members.contains { $0.id == id } }
        let suspects = judge(voters: state.members.filter { !$0.isLearner }.map(\.id), now: now)
        var findings = Findings()
        findings.news = suspects.filter { (isLeader || $0.member == own.id) && !logged.contains($0.member) }
        logged.formUnion(findings.news.map(\.member))
        logged.formIntersection(suspects.map(\.member))
        for suspect in suspects {
            if state.isCorrupt(suspect.member) {
                handled[suspect.member] = suspect.newest
            } else if isLeader, suspect.newest > handled[suspect.member] ?? .zero {
                findings.accused.append(suspect)
            }
        }
        return findings
    }

    /// Who differs as of now. A difference without a majority is judged once everybody, or enough time, has spoken.
    private mutating func judge(voters: [MemberID], now: UInt64) -> [StateSuspect] {
        let (suspects, isDecided) = StateSuspect.among(marks, voters: voters, waitsForAll: true)
        guard !isDecided else {
            undecidedSince = nil
            return suspects
        }
        let since = undecidedSince ?? now
        undecidedSince = since
        guard now >= since + Self.patienceNanoseconds else { return suspects }
        return StateSuspect.among(marks, voters: voters, waitsForAll: false).suspects
    }
}
