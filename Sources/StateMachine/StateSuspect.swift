package import Primitives

/// A member whose state is not, or may not be, what the log makes of it.
package struct StateSuspect: Sendable, Hashable {
    package let member: MemberID
    /// The first and the newest index at which it is known to differ.
    package let first: LogIndex
    package let newest: LogIndex
    /// A majority has another state. Else there is none, and one of those who differ is as good as the other.
    package let isProven: Bool

    /// Compares what members tell of their states.
    ///
    /// At each index the state that a majority of the voters has is right. Where there is none, nobody is blamed before
    /// all voters have spoken; then the state that most of all members have, of three at least, is right; and when there
    /// is none either (of two members one differs), everybody who spoke is blamed. Who agreed at a newer index, by a
    /// snapshot, is not blamed for older ones.
    ///
    /// - Parameters:
    ///   - marks: of each member, ascending by index.
    ///   - waitsForAll: false: whoever has not spoken yet is not waited for any more.
    /// - Returns: in order of identity; and whether every difference could be judged.
    package static func among(
        _ marks: [MemberID: [StateHashMark]], voters: [MemberID], waitsForAll: Bool
    ) -> (suspects: [StateSuspect], isDecided: Bool) {
        var suspects: [MemberID: StateSuspect] = [:]
        var isDecided = true
        for index in Set(marks.values.joined().map(\.index)).sorted() {
            var groups: [UInt32: [MemberID]] = [:]
            for member in marks.keys.sorted() {
                guard let mark = marks[member]?.first(where: { $0.index == index }) else { continue }
                groups[mark.hash, default: []].append(member)
            }
            let votes = groups.mapValues { members in members.count { voters.contains($0) } }
            var right = votes.first { $0.value * 2 > voters.count }?.key
            if right == nil {
                // What is proven already explains a difference.
                let open = groups.filter { !$0.value.allSatisfy { suspects[$0]?.isProven == true } }
                guard open.count > 1 else { continue }
                isDecided = votes.values.reduce(0, +) == voters.count
                guard isDecided || !waitsForAll else { continue }
                let count = groups.values.reduce(0) { $0 + $1.count }
                right = groups.first { count > 2 && $0.value.count * 2 > count }?.key
            } else {
                isDecided = true
            }
            for (hash, members) in groups {
                for member in members {
                    if hash == right {
                        suspects[member] = nil
                    } else {
                        let first = suspects[member]?.first ?? index
                        suspects[member] = StateSuspect(
                            member: member, first: first, newest: index, isProven: right != nil)
                    }
                }
            }
        }
        return (suspects.values.sorted { $0.member < $1.member }, isDecided)
    }
}
