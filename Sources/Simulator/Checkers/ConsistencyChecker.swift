package import Primitives
package import StateMachine

/// The comparison of states: who differs is accused, nobody else is while a majority can tell, and whom CORRUPT names
/// tells no client anything of its store.
package struct ConsistencyChecker {
    /// Members that were made to differ at some time, and from which entry on.
    private var altered: [MemberID: LogIndex] = [:]
    /// Members that an alarm has named at some time.
    private var named: Set<MemberID> = []

    package init() {}

    /// A member has applied something else than the log says.
    package mutating func altered(_ member: MemberID, at index: LogIndex) { altered[member] = index }

    /// A leader raises CORRUPT.
    package func accused(_ suspect: StateSuspect) throws(Violation) {
        guard !altered.isEmpty else {
            throw complaint("member \(suspect.member.rawValue) is accused, and all are equal")
        }
        // Where no majority tells who is right, both are named.
        guard suspect.isProven, altered[suspect.member] == nil else { return }
        throw complaint("member \(suspect.member.rawValue) is taken for proven to differ, and never did")
    }

    /// An alarm that names a member, or all (0), has taken effect.
    package mutating func named(_ member: MemberID) { named.insert(member) }

    /// A member keeps the outcome of a request to itself.
    package func kept(_ member: MemberID) throws(Violation) {
        guard named.contains(member) || named.contains(MemberID(0)) else {
            throw complaint("member \(member.rawValue) hides an outcome, and no alarm names it")
        }
    }

    /// A member answers a client from its store.
    ///
    /// - Parameter isNamed: by an alarm that it has applied.
    package func served(_ member: MemberID, isNamed: Bool) throws(Violation) {
        if isNamed { throw complaint("member \(member.rawValue) serves, although CORRUPT names it") }
    }

    /// A member that differs was not noticed.
    package func complaint(_ member: MemberID) -> Violation {
        complaint("member \(member.rawValue) differs since entry \(altered[member]?.rawValue ?? 0), and nobody noticed")
    }

    private func complaint(_ message: String) -> Violation { Violation("consistency", message) }
}
