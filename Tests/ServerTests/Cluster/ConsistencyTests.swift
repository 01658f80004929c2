import Primitives
import StateMachine
import Testing

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
        _ marks: [MemberID: [StateHashMark]], voters: [MemberID], waitsForAll: Bool = true
    ) -> [MemberID] {
        StateSuspect.among(marks, voters: voters, waitsForAll: waitsForAll).suspects.map(\.member)
    }

    @Test func agreementBlamesNobody() {
        let same = marks(7, 8)
        #expect(blamed([Self.a: same, Self.b: same, Self.c: same], voters: [Self.a, Self.b, Self.c]) == [])
        #expect(blamed([Self.a: marks(7, 0), Self.b: marks(0, 8)], voters: [Self.a, Self.b]) == [])
    }

    @Test func minorityIsBlamed() {
        let all = [Self.a: marks(7, 9, 4), Self.b: marks(7, 8, 5), Self.c: marks(7, 8, 5)]
        #expect(blamed(all, voters: [Self.a, Self.b, Self.c]) == [Self.a])
        let suspect = StateSuspect.among(all, voters: [Self.a, Self.b, Self.c], waitsForAll: true).suspects[0]
        #expect(suspect.first == LogIndex(512) && suspect.newest == LogIndex(768) && suspect.isProven)
    }

    @Test func nobodyIsBlamedBeforeAMajorityAgrees() {
        let two = [Self.a: marks(7), Self.b: marks(8)]
        let verdict = StateSuspect.among(two, voters: [Self.a, Self.b, Self.c], waitsForAll: true)
        #expect(verdict.suspects == [] && !verdict.isDecided)
        // Until the third one has been waited for long enough.
        #expect(blamed(two, voters: [Self.a, Self.b, Self.c], waitsForAll: false) == [Self.a, Self.b])
    }

    /// Neither can be told right.
    @Test func bothOfTwoAreBlamed() {
        let verdict = StateSuspect.among(
            [Self.a: marks(7, 1), Self.b: marks(8, 2)], voters: [Self.a, Self.b], waitsForAll: true)
        #expect(verdict.suspects.map(\.member) == [Self.a, Self.b] && verdict.isDecided)
        #expect(verdict.suspects.allSatisfy { !$0.isProven && $0.first == LogIndex(256) })
    }

    @Test func allAreBlamedWhenAllDiffer() {
        let all = [Self.a: marks(1), Self.b: marks(2), Self.c: marks(3)]
        #expect(blamed(all, voters: [Self.a, Self.b, Self.c]) == [Self.a, Self.b, Self.c])
    }

    @Test func aLearnerTipsTheScales() {
        let all = [Self.a: marks(7), Self.b: marks(8), Self.c: marks(8)]
        #expect(blamed(all, voters: [Self.a, Self.b]) == [Self.a])
    }

    @Test func learnersAreBlamedAndDoNotVote() {
        let all = [Self.a: marks(7), Self.b: marks(8), Self.c: marks(8)]
        #expect(blamed(all, voters: [Self.a]) == [Self.b, Self.c])
    }

    /// The slowest member's word is often missing at the newest index.
    @Test func whatIsProvenIsNotDoubtedAgain() {
        let all = [Self.a: marks(7, 9), Self.b: marks(8, 3), Self.c: marks(8, 0)]
        for waits in [true, false] {
            let verdict = StateSuspect.among(all, voters: [Self.a, Self.b, Self.c], waitsForAll: waits)
            #expect(verdict.suspects.map(\.member) == [Self.a] && verdict.isDecided)
        }
    }

    @Test func whoAgreesAgainIsNotBlamed() {
        let all = [Self.a: marks(7, 9, 0), Self.b: marks(7, 8, 5), Self.c: marks(7, 8, 5)]
        #expect(blamed(all, voters: [Self.a, Self.b, Self.c]) == [Self.a])
        let healed = [Self.a: marks(7, 9, 5), Self.b: marks(7, 8, 5), Self.c: marks(7, 8, 5)]
        #expect(blamed(healed, voters: [Self.a, Self.b, Self.c]) == [])
    }
}
