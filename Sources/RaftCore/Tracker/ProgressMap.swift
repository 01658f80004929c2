package import Primitives

/// Members' progress in order of identity, so that nothing ever depends on a hash's order. Few members: O(n) access.
package struct ProgressMap: Sendable {
    /// Sorted.
    package private(set) var members: [MemberID] = []
    private var values: [Progress] = []

    package init() {}

    package var count: Int { members.count }

    func position(of member: MemberID) -> Int? { members.firstIndex(of: member) }

    subscript(at position: Int) -> Progress {
        get { values[position] }
        _modify { yield &values[position] }
    }

    package subscript(member: MemberID) -> Progress? {
        get { position(of: member).map { values[$0] } }
        set {
            if let position = position(of: member) {
                if let newValue {
                    values[position] = newValue
                } else {
                    members.remove(at: position)
                    values.remove(at: position)
                }
            } else if let newValue {
                let position = members.firstIndex { $0 > member } ?? members.count
                members.insert(member, at: position)
                values.insert(newValue, at: position)
            }
        }
    }
}
