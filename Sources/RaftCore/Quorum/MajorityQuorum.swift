package import Primitives

/// How a vote stands.
package enum VoteResult: UInt8, Sendable, Hashable {
    case pending
    case lost
    case won
}

/// A set of voters of which more than half must agree. The empty set agrees to everything, so that it is neutral in a
/// `JointQuorum`.
package struct MajorityQuorum: Sendable, Hashable {
    /// Sorted, without duplicates.
    package private(set) var members: [MemberID]

    package init(_ members: [MemberID] = []) {
        self.members = []
        for member in members { insert(member) }
    }

    package var isEmpty: Bool { members.isEmpty }

    package func contains(_ member: MemberID) -> Bool { members.contains(member) }

    package mutating func insert(_ member: MemberID) {
        let position = members.firstIndex { $0 >= member } ?? members.count
        if position < members.count, members[position] == member { return }
        members.insert(member, at: position)
    }

    package mutating func remove(_ member: MemberID) {
        if let position = members.firstIndex(of: member) { members.remove(at: position) }
    }

    /// The greatest value that more than half of the voters have acknowledged; `UInt64.max` for the empty set.
    /// A voter for which `acknowledged` gives nil counts as 0. O(n log n) in voters, without allocation.
    package func committed(_ acknowledged: (MemberID) -> UInt64?) -> UInt64 {
        if members.isEmpty { return .max }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: members.count) { buffer in
            var values = buffer
            for (position, member) in members.enumerated() {
                values.initializeElement(at: position, to: acknowledged(member) ?? 0)
            }
            values.sort()
            // In ascending order the value at n - (n/2 + 1) has n/2 + 1 voters at or above it.
            return values[members.count - (members.count / 2 + 1)]
        }
    }

    /// The result when `vote` gives each voter's answer, nil where there is none yet.
    package func result(_ vote: (MemberID) -> Bool?) -> VoteResult {
        if members.isEmpty { return .won }
        var granted = 0
        var missing = 0
        for member in members {
            switch vote(member) {
            case .some(true): granted += 1
            case .some(false): break
            case .none: missing += 1
            }
        }
        let needed = members.count / 2 + 1
        if granted >= needed { return .won }
        return granted + missing >= needed ? .pending : .lost
    }
}
