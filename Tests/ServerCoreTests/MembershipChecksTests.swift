import Membership
import Primitives
import Testing

/// The leader's checks before a change is proposed. Source of the cases: etcd's behaviour.
@Suite struct MembershipChecksTests {
    private static func member(_ id: UInt64, isStarted: Bool = true, isLearner: Bool = false) -> Membership.Member {
        Membership.Member(
            id: MemberID(id), name: isStarted ? "m\(id)" : "", peerURLs: ["http://p:\(id)"], isLearner: isLearner)
    }

    /// Members 1...voters, of which `started` are started and `connected` connected, and learners from 10 on.
    private static func situation(
        voters: Int, started: Int? = nil, connected: Int? = nil, learners: Int = 0
    ) -> MembershipChecks.Situation {
        let members =
            (0..<voters).map { member(UInt64($0 + 1), isStarted: $0 < started ?? voters) }
            + (0..<learners).map { member(UInt64($0 + 10), isLearner: true) }
        var situation = MembershipChecks.Situation(table: MemberTable(members: members), leader: MemberID(1))
        situation.connected = Set((0..<(connected ?? voters)).map { MemberID(UInt64($0 + 1)) })
        situation.active = situation.connected
        for member in members { situation.match[member.id] = LogIndex(1000) }
        return situation
    }

    private static func refusal(_ body: () throws(MembershipError) -> Void) -> MembershipError? {
        do throws(MembershipError) {
            try body()
            return nil
        } catch { return error }
    }

    @Test("A voter is added only when enough have started and all are connected")
    func add() {
        func add(_ situation: MembershipChecks.Situation, isLearner: Bool = false) -> MembershipError? {
            Self.refusal { () throws(MembershipError) in
                try MembershipChecks.add(Self.member(20, isStarted: false, isLearner: isLearner), situation)
            }
        }
        #expect(add(Self.situation(voters: 1)) == nil)
        #expect(add(Self.situation(voters: 2)) == nil)
        #expect(add(Self.situation(voters: 2, started: 1)) == .notEnoughStarted)
        #expect(add(Self.situation(voters: 3, started: 2)) == .notEnoughStarted)
        #expect(add(Self.situation(voters: 4, started: 3)) == nil)
        #expect(add(Self.situation(voters: 3, connected: 2)) == .unhealthy)
        var lax = Self.situation(voters: 3, started: 1, connected: 1)
        lax.isStrict = false
        #expect(add(lax) == nil)
        // Learners cost no quorum, but there may be few, and the voters must be well.
        #expect(add(Self.situation(voters: 3, connected: 2), isLearner: true) == .unhealthy)
        #expect(add(Self.situation(voters: 3, started: 1), isLearner: true) == nil)
        #expect(add(Self.situation(voters: 3, learners: 1), isLearner: true) == .tooManyLearners)
        var same = Self.situation(voters: 3)
        same.table = MemberTable(members: same.table.members, removed: [MemberID(20)])
        #expect(add(same) == .memberNotFound)
    }

    @Test("A voter is removed only when what is left is a quorum that works")
    func remove() {
        func remove(_ id: UInt64, _ situation: MembershipChecks.Situation) -> MembershipError? {
            Self.refusal { () throws(MembershipError) in try MembershipChecks.remove(MemberID(id), situation) }
        }
        #expect(remove(3, Self.situation(voters: 3)) == nil)
        #expect(remove(1, Self.situation(voters: 1)) == .notEnoughStarted)
        #expect(remove(1, Self.situation(voters: 2)) == nil)
        #expect(remove(1, Self.situation(voters: 3, started: 2)) == .notEnoughStarted)
        // The one that is down may go; one that is up may not, beside it.
        #expect(remove(3, Self.situation(voters: 3, connected: 2)) == nil)
        #expect(remove(2, Self.situation(voters: 3, connected: 2)) == .unhealthy)
        #expect(remove(10, Self.situation(voters: 3, connected: 1, learners: 1)) == nil)
        #expect(remove(77, Self.situation(voters: 3)) == .memberNotFound)
        var lax = Self.situation(voters: 1)
        lax.isStrict = false
        #expect(remove(1, lax) == .notEnoughStarted)
    }

    @Test("A learner is promoted once it has nine tenths of the leader's log")
    func promote() {
        func promote(_ id: UInt64, match: UInt64, _ situation: MembershipChecks.Situation) -> MembershipError? {
            var situation = situation
            situation.match[MemberID(10)] = LogIndex(match)
            return Self.refusal { () throws(MembershipError) in
                try MembershipChecks.promote(MemberID(id), situation)
            }
        }
        let three = Self.situation(voters: 3, learners: 1)
        #expect(promote(10, match: 900, three) == nil)
        #expect(promote(10, match: 899, three) == .learnerNotReady)
        #expect(promote(1, match: 900, three) == .notLearner)
        #expect(promote(44, match: 900, three) == .memberNotFound)
        #expect(promote(10, match: 900, Self.situation(voters: 3, started: 1, learners: 1)) == .notEnoughStarted)
        #expect(promote(10, match: 900, Self.situation(voters: 1, learners: 1)) == nil)
        var large = three
        large.match[MemberID(1)] = LogIndex(UInt64.max)
        #expect(promote(10, match: .max / 2, large) == .learnerNotReady)
    }

    @Test("Peer URLs belong to one member")
    func update() {
        let situation = Self.situation(voters: 3)
        func update(_ id: UInt64, _ urls: [String]) -> MembershipError? {
            Self.refusal { () throws(MembershipError) in
                try MembershipChecks.update(MemberID(id), peerURLs: urls, situation)
            }
        }
        #expect(update(1, ["http://p:1", "http://x:1"]) == nil)
        #expect(update(1, ["http://p:2"]) == .peerURLExists)
        #expect(update(9, ["http://x:2"]) == .memberNotFound)
    }
}
