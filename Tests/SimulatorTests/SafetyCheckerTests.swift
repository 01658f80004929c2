import Primitives
import RaftCore
import Simulator
import Testing

/// The checkers of logs, elections, durability, watches and leases on histories made by hand.
@Suite struct SafetyCheckerTests {
    private let key: Bytes = "/a"
    private let one = MemberID(1)
    private let two = MemberID(2)

    private func entries(_ range: ClosedRange<UInt64>, term: UInt64) -> [Entry] {
        range.map { Entry(term: Term(term), index: LogIndex($0)) }
    }

    /// Puts of one key, revision 2 the first.
    private func history(puts: Int) throws -> CommittedHistory {
        let history = CommittedHistory()
        var model = KeyValueModel()
        for number in 0..<puts {
            let id = UInt64(number + 1)
            let request = Request.single(
                .put(key: key, value: Bytes(utf8: "\(number)"), lease: 0, wantsPrevious: false))
            history.propose(id, request, payload: request.payload(id: id))
            let answer = model.apply(request)
            let entry = Entry(term: Term(1), index: LogIndex(id + 1), payload: request.payload(id: id))
            _ = try history.apply(entry, id: id, seenTerm: Term(1)) { _ in answer }
        }
        return history
    }

    // MARK: Durability

    private let three = ConfigurationState(voters: [MemberID(1), MemberID(2), MemberID(3)])

    @Test func commitNeedsAQuorumOfDisks() throws {
        var checker = DurabilityChecker()
        let entry = entries(2...2, term: 1)[0]
        checker.synced(one, [entry])
        #expect(throws: Violation.self) { try checker.committed(entry, [self.three]) }
        checker.synced(two, entries(2...2, term: 2))
        #expect(throws: Violation.self) { try checker.committed(entry, [self.three]) }
        checker.synced(two, [entry])
        try checker.committed(entry, [three])
    }

    @Test func lostEntriesAreFound() throws {
        var checker = DurabilityChecker()
        checker.installed(one, through: LogIndex(1))
        checker.synced(one, entries(2...5, term: 1))
        func restart(_ last: UInt64, term: UInt64) throws(Violation) {
            try checker.restarted(
                one, term: Term(1), vote: .none, firstIndex: LogIndex(2), lastIndex: LogIndex(last),
                logTerm: { _ in Term(term) })
        }
        try restart(5, term: 1)
        #expect(throws: Violation.self) { try restart(4, term: 1) }
        #expect(throws: Violation.self) { try restart(5, term: 2) }
    }

    @Test func overwriteThatWasNotSyncedMayBeThereOrNot() throws {
        var checker = DurabilityChecker()
        checker.synced(one, entries(1...5, term: 1))
        checker.attempted(one, from: LogIndex(4))
        try checker.restarted(
            one, term: Term(2), vote: .none, firstIndex: LogIndex(1), lastIndex: LogIndex(4),
            logTerm: { $0 == LogIndex(4) ? Term(2) : Term(1) })
        // It is what the disk has now.
        #expect(throws: Violation.self) {
            try checker.restarted(
                self.one, term: Term(2), vote: .none, firstIndex: LogIndex(1), lastIndex: LogIndex(4),
                logTerm: { _ in Term(1) })
        }
    }

    @Test func forgottenPromisesAreFound() {
        var checker = DurabilityChecker()
        checker.sent(Message(type: .voteResponse, to: two, from: one, term: Term(4)))
        func restart(_ term: UInt64, _ vote: MemberID) throws(Violation) {
            try checker.restarted(
                one, term: Term(term), vote: vote, firstIndex: LogIndex(1), lastIndex: .zero, logTerm: { _ in nil })
        }
        #expect(throws: Never.self) { try restart(4, two) }
        #expect(throws: Violation.self) { try restart(3, .none) }
        #expect(throws: Violation.self) { try restart(4, .none) }
    }

    @Test func acknowledgedAndNotThere() {
        var checker = DurabilityChecker()
        checker.acknowledged(LogIndex(7))
        #expect(throws: Never.self) { try checker.finish(one, applied: LogIndex(7)) }
        #expect(throws: Violation.self) { try checker.finish(one, applied: LogIndex(6)) }
    }

    // MARK: Elections and logs

    @Test func twoLeadersOfATerm() throws {
        var checker = ElectionChecker()
        #expect(try checker.check(one, term: Term(2), isLeader: true))
        #expect(try !checker.check(one, term: Term(2), isLeader: true))
        #expect(throws: Violation.self) { try checker.check(two, term: Term(2), isLeader: true) }
    }

    @Test func lonelyMemberRaisesItsTerm() throws {
        var checker = ElectionChecker()
        checker.setLonely(one, term: Term(3))
        _ = try checker.check(one, term: Term(3), isLeader: false)
        #expect(throws: Violation.self) { try checker.check(one, term: Term(4), isLeader: false) }
        checker.setLonely(one, term: nil)
        _ = try checker.check(one, term: Term(4), isLeader: false)
    }

    @Test func leaderWithoutACommittedEntry() throws {
        let history = try history(puts: 3)
        func check(_ term: UInt64, last: UInt64, holds: UInt64) throws(Violation) {
            try LeaderCompletenessChecker.check(
                one, term: Term(term), firstIndex: LogIndex(2), lastIndex: LogIndex(last), in: history,
                logTerm: { _ in Term(holds) })
        }
        try check(2, last: 4, holds: 1)
        #expect(throws: Violation.self) { try check(2, last: 3, holds: 1) }
        #expect(throws: Violation.self) { try check(2, last: 4, holds: 2) }
        // A leader of the term in which they were committed may not know of it yet.
        try check(1, last: 3, holds: 1)
    }

    @Test func logsThatDoNotMatch() throws {
        func log(_ member: MemberID, _ terms: [UInt64], commit: UInt64 = 0) -> LogMatchingChecker.Log {
            LogMatchingChecker.Log(
                member: member, firstIndex: LogIndex(1), lastIndex: LogIndex(UInt64(terms.count)),
                commit: LogIndex(commit), terms: terms.map { Term($0) })
        }
        try LogMatchingChecker.check(log(one, [1, 1, 2]), log(two, [1, 1, 3, 3]))
        #expect(throws: Violation.self) { try LogMatchingChecker.check(log(one, [1, 2, 3]), log(two, [1, 1, 3])) }
        #expect(throws: Violation.self) {
            try LogMatchingChecker.check(log(one, [1, 2], commit: 2), log(two, [1, 3], commit: 2))
        }
    }

    // MARK: State

    @Test func membersThatDiffer() throws {
        var checker = StateHashChecker()
        try checker.check(one, applied: LogIndex(5), hash: 1, digest: nil)
        try checker.check(two, applied: LogIndex(5), hash: 1, digest: 7)
        #expect(throws: Violation.self) { try checker.check(two, applied: LogIndex(5), hash: 2, digest: nil) }
        #expect(throws: Violation.self) { try checker.check(one, applied: LogIndex(5), hash: 1, digest: 8) }
    }

    @Test func revisionsThatAreWrongOrGoBack() throws {
        let history = try history(puts: 3)
        var checker = RevisionChecker()
        func check(_ index: UInt64, _ revision: Int64, compact: Int64 = -1) throws(Violation) {
            try checker.check(
                one, applied: LogIndex(index), revision: revision, compactRevision: compact, in: history)
        }
        try check(2, 2)
        #expect(throws: Violation.self) { try check(3, 4) }
        #expect(throws: Violation.self) { try check(3, 3, compact: 2) }
        try check(4, 4)
        #expect(throws: Violation.self) { try check(3, 3) }
        checker.noteRestart(one)
        try check(3, 3)
        try RevisionChecker.checkSequence([2, 3, 4], after: 1)
        #expect(throws: Violation.self) { try RevisionChecker.checkSequence([2, 4], after: 1) }
        #expect(throws: Violation.self) { try RevisionChecker.checkSequence([2, 2], after: 1) }
    }

    // MARK: Watches

    private func event(_ number: Int, previous: Bool = false, value: String? = nil) -> WatchedEvent {
        func record(_ number: Int, _ value: String) -> Record {
            Record(
                key: key, value: Bytes(utf8: value), createRevision: 2, modRevision: Int64(number + 2),
                version: Int64(number + 1))
        }
        return WatchedEvent(
            record: record(number, value ?? "\(number)"), isDelete: false,
            previous: previous && number > 0 ? record(number - 1, "\(number - 1)") : nil)
    }

    private func watch(_ start: Int64 = 2, previous: Bool = false) -> WatchChecker {
        WatchChecker(range: KeyRange(key: key), wantsPrevious: previous, start: start)
    }

    @Test func goodWatch() throws {
        let history = try history(puts: 4)
        var checker = watch(previous: true)
        try checker.receive([event(0, previous: true), event(1, previous: true)], headerRevision: 3, in: history)
        try checker.progress(revision: 3, in: history)
        try checker.receive([event(2, previous: true)], headerRevision: 4, in: history)
        #expect(throws: Violation.self) { try checker.finish(in: history) }
        try checker.receive([event(3, previous: true)], headerRevision: 5, in: history)
        try checker.finish(in: history)
        #expect(checker.received == 4)
    }

    @Test func badWatches() throws {
        let history = try history(puts: 4)
        func expectViolation(_ events: [WatchedEvent], start: Int64 = 2, previous: Bool = false, header: Int64 = 9) {
            var checker = watch(start, previous: previous)
            #expect(throws: Violation.self) { try checker.receive(events, headerRevision: header, in: history) }
        }
        expectViolation([event(1)])
        expectViolation([event(0), event(2)])
        expectViolation([event(1), event(0)])
        expectViolation([event(0), event(0)])
        expectViolation([event(0, value: "x")])
        expectViolation([event(0), event(1)], previous: true)
        expectViolation([event(0), event(1, previous: true)])
        expectViolation([event(0)], header: 1)
        expectViolation([event(7)])
        expectViolation([event(0)], start: 3)
        expectViolation([])
    }

    @Test func earlyProgress() throws {
        let history = try history(puts: 4)
        var checker = watch()
        try checker.receive([event(0)], headerRevision: 2, in: history)
        #expect(throws: Violation.self) { try checker.progress(revision: 3, in: history) }
        #expect(throws: Violation.self) { try checker.progress(revision: 9, in: history) }
    }

    @Test func groundlessCompaction() throws {
        let history = try history(puts: 4)
        #expect(throws: Violation.self) { try self.watch().compacted(at: 3, in: history) }
    }

    // MARK: Leases

    @Test func leaseEndsTooEarly() throws {
        let second: UInt64 = 1_000_000_000
        var checker = LeaseChecker(driftPermille: 0)
        checker.renewed(1, asked: 10 * second, jumped: 0, ttlSeconds: 5)
        #expect(throws: Violation.self) { try checker.expired(1, now: 14 * second) }
        checker.renewed(1, asked: 10 * second, jumped: 0, ttlSeconds: 5)
        try checker.expired(1, now: 15 * second)
        // Clocks jumped; the client gave it up itself.
        checker.renewed(2, asked: 10 * second, jumped: 0, ttlSeconds: 5)
        checker.jumpedNanoseconds = 2 * second
        try checker.expired(2, now: 13 * second)
        checker.renewed(3, asked: 10 * second, jumped: 2 * second, ttlSeconds: 5)
        checker.revoked(3)
        try checker.expired(3, now: 11 * second)
        #expect(checker.expired == 4)
    }
}
