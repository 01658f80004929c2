/// A Raft term: grows by one at each election. 0 means "no term yet". Source: Raft paper, section 5.1.
@frozen
package struct Term: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Term, b: Term) -> Bool { a.rawValue < b.rawValue }
    package static let zero = Term(0)
}

/// A position in the Raft log. The first entry has index 1; 0 stands before it.
@frozen
package struct LogIndex: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: LogIndex, b: LogIndex) -> Bool { a.rawValue < b.rawValue }
    /// The index `distance` entries later; traps when the result would be negative.
    @inlinable package func advanced(by distance: Int) -> LogIndex {
        LogIndex(distance >= 0 ? rawValue + UInt64(distance) : rawValue - UInt64(-distance))
    }
    package static let zero = LogIndex(0)
}

/// A cluster member's identity; 0 means "none".
@frozen
package struct MemberID: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: MemberID, b: MemberID) -> Bool { a.rawValue < b.rawValue }
    package static let none = MemberID(0)
}

/// A lease's identity; 0 means "no lease".
@frozen
package struct LeaseID: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: Int64
    @inlinable package init(rawValue: Int64) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: Int64) { self.rawValue = rawValue }
    @inlinable package static func < (a: LeaseID, b: LeaseID) -> Bool { a.rawValue < b.rawValue }
    package static let none = LeaseID(0)
}

/// One change of one key: `main` is the store revision of the request that made it (the first write of a fresh store
/// has 2), `sub` its position among the changes of that request, from 0.
@frozen
package struct Revision: Hashable, Comparable, Sendable {
    package var main: Int64
    package var sub: UInt32
    @inlinable package init(main: Int64, sub: UInt32 = 0) {
        self.main = main
        self.sub = sub
    }
    @inlinable package static func < (a: Revision, b: Revision) -> Bool {
        a.main != b.main ? a.main < b.main : a.sub < b.sub
    }
}
