import Primitives
import StateMachine
import Testing

@testable import Server

/// Whom the comparison of states blames.
struct ConsistencyTests {
    private static let a = MemberID(1)
    private static let b = MemberID(2)
    private static let c = MemberID(3)

    /// Marks at indexes 256, 512, ... with these hashes; 0 for none.
    private func marks(_ hashes: UInt32...) -> [StateHashMark] {
        hashes.enumerated().compactMap { place, hash in
            hash == 0 ? nil : StateHashMark(index: LogIndex(UInt64(place + 1) * 256), hash: hash)
        }
    }

    private func blamed(
        _ marks: [MemberID: [StateHashMark]], voters: [MemberID], leader: MemberID
    ) -> [MemberID] {
        ConsistencyCheck.suspects(marks, voters: voters, leader: leader).map(\.member)
    }

    @Test func agreementBlamesNobody() {
        let same = marks(7, 8)
        #expect(
            blamed([Self.a: same, Self.b: same, Self.c: same], voters: [Self.a, Self.b, Self.c], leader: Self.a) == [])
        #expect(blamed([Self.a: marks(7, 0), Self.b: marks(0, 8)], voters: [Self.a, Self.b], leader: Self.a) == [])
    }

    @Test func minorityIsBlamedWhoeverLeads() {
        let all = [Self.a: marks(7, 9), Self.b: marks(7, 8), Self.c: marks(7, 8)]
        for leader in [Self.a, Self.b, Self.c] {
            #expect(blamed(all, voters: [Self.a, Self.b, Self.c], leader: leader) == [Self.a])
        }
    }

    @Test func nobodyIsBlamedBeforeAMajorityAgrees() {
        let two = [Self.a: marks(7), Self.b: marks(8)]
        #expect(blamed(two, voters: [Self.a, Self.b, Self.c], leader: Self.a) == [])
        #expect(blamed(two, voters: [Self.a, Self.b], leader: Self.a) == [Self.b])
    }

    @Test func learnersAreBlamedAndDoNotVote() {
        let all = [Self.a: marks(7), Self.b: marks(8), Self.c: marks(8)]
        #expect(blamed(all, voters: [Self.a], leader: Self.a) == [Self.b, Self.c])
    }
}
