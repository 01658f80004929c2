import Primitives
import RaftCore
import Simulator
import StateMachine
import Testing

/// Checkers on histories made by hand: the good ones pass, and every bad one is found.
@Suite struct CheckerTests {
    private let a: Bytes = "/a"
    private let b: Bytes = "/b"

    /// Applies requests one after the other, as one member would; entry 2 is the first.
    private func history(_ requests: [Request]) throws -> CommittedHistory {
        let history = CommittedHistory()
        var model = KeyValueModel()
        for (place, request) in requests.enumerated() {
            let id = UInt64(place + 1)
            history.propose(id, request, payload: request.payload(id: id))
            let answer = model.apply(request)
            _ = try history.apply(entry(place + 2, request, id), id: id, seenTerm: Term(1)) { _ in answer }
        }
        return history
    }

    private func entry(_ index: Int, _ request: Request, _ id: UInt64, term: UInt64 = 1) -> Entry {
        Entry(term: Term(term), index: LogIndex(UInt64(index)), payload: request.payload(id: id))
    }

    private func put(_ key: Bytes, _ value: Bytes, previous: Bool = false) -> Request {
        .single(.put(key: key, value: value, lease: 0, wantsPrevious: previous))
    }

    private func record(_ key: Bytes, _ value: Bytes, create: Int64, mod: Int64, version: Int64) -> Record {
        Record(key: key, value: value, createRevision: create, modRevision: mod, version: version)
    }

    // MARK: State machine

    @Test func otherEntryAtAnIndex() throws {
        let history = try history([put(a, "1")])
        let other = entry(2, put(a, "1"), 1, term: 2)
        #expect(throws: Violation.self) { try history.apply(other, id: 1, seenTerm: Term(2)) { _ in nil } }
    }

    @Test func requestAppliedTwice() throws {
        let history = try history([put(a, "1")])
        let again = entry(3, put(a, "1"), 1)
        #expect(throws: Violation.self) { try history.apply(again, id: 1, seenTerm: Term(1)) { _ in nil } }
    }

    @Test func refusedRequestApplied() throws {
        let history = try history([])
        let request = put(a, "1")
        history.propose(1, request, payload: request.payload(id: 1))
        try history.refuse(1)
        let refused = entry(2, request, 1)
        #expect(throws: Violation.self) { try history.apply(refused, id: 1, seenTerm: Term(1)) { _ in nil } }
    }

    @Test func appliedRequestRefused() throws {
        let history = try history([put(a, "1")])
        #expect(throws: Violation.self) { try history.refuse(1) }
    }

    @Test func neverProposed() throws {
        let history = try history([])
        let unknown = entry(2, put(a, "1"), 9)
        #expect(throws: Violation.self) { try history.apply(unknown, id: 9, seenTerm: Term(1)) { _ in nil } }
    }

    @Test func gapInTheLog() throws {
        let history = try history([put(a, "1")])
        let request = put(b, "2")
        history.propose(7, request, payload: request.payload(id: 7))
        let late = entry(4, request, 7)
        #expect(throws: Violation.self) { try history.apply(late, id: 7, seenTerm: Term(1)) { _ in nil } }
    }

    @Test func wrongPreviousValueInAnAnswer() throws {
        let history = try history([put(a, "1")])
        let request = put(a, "2", previous: true)
        history.propose(2, request, payload: request.payload(id: 2))
        let wrong = Answer(.single(.put(previous: record(a, "0", create: 2, mod: 2, version: 1))), revision: 3)
        let second = entry(3, request, 2)
        #expect(throws: Violation.self) { try history.apply(second, id: 2, seenTerm: Term(1)) { _ in wrong } }
    }

    // MARK: Linearizability

    private func answer(_ revision: Int64) -> Answer { Answer(.single(.put(previous: nil)), revision: revision) }

    @Test func orderAgreesWithRealTime() throws {
        let history = try history([put(a, "1"), put(b, "2")])
        var checker = LinearizabilityChecker()
        checker.invoke(1)
        try checker.complete(1, answer(2), in: history)
        checker.invoke(2)
        try checker.complete(2, answer(3), in: history)
    }

    @Test func orderContradictsRealTime() throws {
        // The second request in the log was answered before the first one was asked.
        let history = try history([put(a, "1"), put(b, "2")])
        var checker = LinearizabilityChecker()
        checker.invoke(2)
        try checker.complete(2, answer(3), in: history)
        checker.invoke(1)
        #expect(throws: Violation.self) { try checker.complete(1, self.answer(2), in: history) }
    }

    @Test func unknownOutcomesMayHappenOrNot() throws {
        let history = try history([put(a, "1"), put(b, "2")])
        var checker = LinearizabilityChecker()
        checker.invoke(1)
        checker.invoke(9)
        checker.abandon(1)
        checker.abandon(9)
        checker.invoke(2)
        try checker.complete(2, answer(3), in: history)
    }

    @Test func answerWithoutEffect() throws {
        let history = try history([])
        var checker = LinearizabilityChecker()
        checker.invoke(5)
        #expect(throws: Violation.self) { try checker.complete(5, self.answer(2), in: history) }
    }

    @Test func answerOfAnotherPlace() throws {
        let history = try history([put(a, "1")])
        var checker = LinearizabilityChecker()
        checker.invoke(1)
        #expect(throws: Violation.self) { try checker.complete(1, self.answer(7), in: history) }
    }

    @Test func answeredTwice() throws {
        let history = try history([put(a, "1")])
        var checker = LinearizabilityChecker()
        checker.invoke(1)
        try checker.complete(1, answer(2), in: history)
        #expect(throws: Violation.self) { try checker.complete(1, self.answer(2), in: history) }
    }

    @Test func readsOfTheNewest() throws {
        let history = try history([put(a, "1"), put(a, "2")])
        let range = KeyRange(key: a)
        let new = record(a, "2", create: 2, mod: 3, version: 2)
        let old = record(a, "1", create: 2, mod: 2, version: 1)
        var checker = LinearizabilityChecker()
        checker.invoke(10)
        try checker.completeRead(10, range, at: 0, rows: [new], revision: 3, in: history)
        checker.invoke(11)
        try checker.completeRead(11, range, at: 2, rows: [old], revision: 3, in: history)
        // A stale read after somebody was told revision 3, and one that makes its rows up.
        checker.invoke(12)
        #expect(throws: Violation.self) {
            try checker.completeRead(12, range, at: 0, rows: [old], revision: 2, in: history)
        }
        checker.invoke(13)
        #expect(throws: Violation.self) {
            try checker.completeRead(13, range, at: 0, rows: [old], revision: 3, in: history)
        }
        checker.invoke(14)
        #expect(throws: Violation.self) {
            try checker.completeRead(14, range, at: 0, rows: [new], revision: 4, in: history)
        }
    }

    @Test func staleReadIsFineWhenItWasAskedBefore() throws {
        let history = try history([put(a, "1"), put(a, "2")])
        var checker = LinearizabilityChecker()
        checker.invoke(10)
        checker.invoke(2)
        try checker.complete(2, answer(3), in: history)
        let old = record(a, "1", create: 2, mod: 2, version: 1)
        try checker.completeRead(10, KeyRange(key: a), at: 0, rows: [old], revision: 2, in: history)
    }

    @Test func groundlessRefusals() throws {
        let history = try history([put(a, "1"), put(a, "2"), .compact(2)])
        var checker = LinearizabilityChecker()
        checker.invoke(10)
        try checker.refuseRead(10, at: 1, isCompacted: true, in: history)
        checker.invoke(11)
        #expect(throws: Violation.self) { try checker.refuseRead(11, at: 2, isCompacted: true, in: history) }
        checker.invoke(12)
        try checker.completeRead(
            12, KeyRange(key: a), at: 0, rows: [record(a, "2", create: 2, mod: 3, version: 2)], revision: 3, in: history
        )
        checker.invoke(13)
        #expect(throws: Violation.self) { try checker.refuseRead(13, at: 3, isCompacted: false, in: history) }
    }

    @Test func transactionsAndLeasesOfTheModel() {
        var model = KeyValueModel()
        let create = Request.txn(
            compares: [Comparison(key: a, target: .modRevision, number: 0)],
            success: [.put(key: a, value: "1", lease: 0, wantsPrevious: false)], failure: [.range(KeyRange(key: a))])
        #expect(model.apply(create) == Answer(.txn(succeeded: true, [.put(previous: nil)]), revision: 2))
        let there = record(a, "1", create: 2, mod: 2, version: 1)
        #expect(model.apply(create) == Answer(.txn(succeeded: false, [.range([there])]), revision: 2))
        #expect(model.apply(.grant(id: 5, ttlSeconds: 1)) == Answer(.lease(id: 5, ttlSeconds: 2), revision: 2))
        _ = model.apply(.single(.put(key: b, value: "x", lease: 5, wantsPrevious: false)))
        #expect(model.revision == 3)
        #expect(model.apply(.revoke(5)) == Answer(.done, revision: 4))
        #expect(model.record(b, at: 4) == nil)
        #expect(model.record(b, at: 3)?.lease == 5)
        #expect(model.apply(.revoke(5)).result == .refused(.leaseNotFound))
    }
}
