import Foundation
import Testing
import Wire

/// The checker of the chaos test finds what it is there for: each history has one thing wrong, and there is one for each
/// thing that the checker looks at.
@Suite("checker of histories") struct HistoryCheckTests {
    @Test("a sound history is taken") func soundHistory() {
        #expect(HistoryCheck.violations(Falsification.soundHistory(), last: Falsification.last) == [])
    }

    @Test("what is wrong is found", arguments: Falsification.all)
    func unsound(_ falsification: Falsification) {
        let history = Falsification.soundHistory()
        falsification.apply(history)
        let violations = HistoryCheck.violations(history, last: falsification.last)
        #expect(violations.contains { $0.contains(falsification.finding) }, "\(violations)")
    }
}

/// One thing wrong with an otherwise sound history.
struct Falsification: Sendable, CustomTestStringConvertible {
    /// The newest revision of the sound history.
    static let last: Int64 = 8

    var testDescription: String
    /// A part of the violation that has to be found.
    var finding: String
    var last = Self.last
    var apply: @Sendable (History) -> Void

    private init(
        _ name: String, finds finding: String, last: Int64 = Self.last, _ apply: @escaping @Sendable (History) -> Void
    ) {
        testDescription = name
        self.finding = finding
        self.last = last
        self.apply = apply
    }

    private static let second: UInt64 = 1_000_000_000

    private static func call(
        _ begin: UInt64, _ end: UInt64, _ request: Operation.Request, _ outcome: Operation.Outcome
    ) -> Operation {
        Operation(member: "m1", begin: begin, end: end, request: request, outcome: outcome)
    }

    private static func read(_ key: String, isSerializable: Bool = false) -> Operation.Request {
        .read(from: key, upTo: nil, isSerializable: isSerializable)
    }

    private static func past(_ key: String, _ revision: Int64, isSerializable: Bool = false) -> Operation.Request {
        .readPast(from: key, upTo: nil, revision: revision, isSerializable: isSerializable)
    }

    private static func start(_ revision: Int64, floor: Int64 = 0, _ outcome: WatchStart.Outcome) -> WatchStart {
        WatchStart(watcher: "w", revision: revision, floor: floor, end: 30 * second, outcome: outcome)
    }

    private static func lease(
        _ id: Int64, _ begin: UInt64, _ end: UInt64, _ kind: LeaseStep.Kind
    ) -> LeaseStep { LeaseStep(id: id, begin: begin, end: end, kind: kind) }

    private static let a = Row(key: "k", value: "a", modRevision: 2, createRevision: 2, version: 1)
    private static let b = Row(key: "k", value: "b", modRevision: 3, createRevision: 2, version: 2)
    private static let c = Row(key: "l", value: "c", modRevision: 3, createRevision: 3, version: 1)
    private static let x = Change(key: "k", value: "x")
    private static let leased = ["z1", "z2"].map { Change(key: $0, value: "on " + $0, lease: 7) }

    /// Writes of `k` at 2 and 3 and its deletion at 4, all in the first nanoseconds; a lease of 5 s, renewed at 6 s, whose
    /// two keys come at 5 and 6 and go at 7; another key that was on it and is off it again; a compaction of 3.
    static func soundHistory() -> History {
        let history = History()
        let changed = [Change(key: "k", value: "b"), Change(key: "l", value: "c")]
        history.watched(2, [Change(key: "k", value: "a")], [ChangedRows(row: a)], by: "w")
        history.watched(3, changed, [ChangedRows(row: b, previous: a), ChangedRows(row: c)], by: "w")
        history.watched(4, [Change(key: "k", value: nil)], [ChangedRows(previous: b)], by: "w")
        history.note(call(10, 20, .put([Change(key: "k", value: "a")]), .written(2)))
        history.note(call(15, 40, .put(changed), .unknown("timed out")))
        history.note(call(50, 60, .delete("k"), .written(4)))
        readsAndSwaps(history)

        history.watched(5, leased + [Change(key: "z3", value: "briefly", lease: 7)], by: "w", at: 2 * second)
        history.watched(6, [Change(key: "z3", value: "for ever")], by: "w", at: 2 * second)
        history.watched(7, leased.map { Change(key: $0.key, value: nil) }, by: "w", at: 11 * second)
        history.note(
            call(
                second, 2 * second, .put(leased + [Change(key: "z3", value: "briefly", lease: 7)]), .written(5)))
        history.note(call(2 * second, 3 * second, .put([Change(key: "z3", value: "for ever")]), .written(6)))
        history.note(lease(7, 0, 1, .asked))
        history.note(lease(7, second, second + 1, .alive(seconds: 5)))
        history.note(lease(7, 6 * second - 1, 6 * second, .alive(seconds: 5)))
        history.note(lease(7, 12 * second, 13 * second, .missing("it is gone")))

        history.watched(8, [Change(key: "l", value: "d")], by: "w", at: 14 * second)
        history.note(call(13 * second, 14 * second, .put([Change(key: "l", value: "d")]), .written(8)))
        compactions(history)
        return history
    }

    private static func readsAndSwaps(_ history: History) {
        history.note(call(21, 30, read("k"), .read(2, [a])))
        history.note(call(21, 30, read("k"), .read(3, [b])))
        history.note(call(70, 80, read("k", isSerializable: true), .read(2, [a])))
        history.note(call(70, 80, read("k"), .read(4, [])))
        history.note(call(70, 80, .read(from: "a", upTo: "z", isSerializable: false), .read(4, [c])))
        history.note(call(12, 30, .swap(Change(key: "k", value: "y"), expected: 9), .unchanged(3, [b])))
        history.note(call(70, 80, .swap(Change(key: "k", value: "e"), expected: 2), .unknown("")))
        history.note(call(70, 80, .put([Change(key: "k", value: "f", lease: 99)]), .refused("no lease")))
        history.note(call(61, 65, .delete("k"), .unchanged(4, [])))
    }

    private static func compactions(_ history: History) {
        history.note(call(20 * second, 21 * second, .compact(3), .compacted(8)))
        history.note(call(20 * second, 21 * second, .compact(2), .tooOld))
        history.note(call(20 * second, 21 * second, past("k", 2), .tooOld))
        history.note(call(20 * second, 21 * second, past("k", 2), .read(8, [a])))
        history.note(call(22 * second, 23 * second, past("k", 3), .read(8, [b])))
        history.note(call(22 * second, 23 * second, past("k", 2, isSerializable: true), .read(8, [a])))
        history.note(call(22 * second, 23 * second, past("k", 9, isSerializable: true), .refused("future")))
        history.note(start(2, floor: 3, .compacted(3)))
        history.note(start(3, floor: 3, .events(first: 3)))
        history.note(start(2, .events(first: 2)))
    }

    // MARK: What is wrong

    static let all = writes + answers + order + watches + leases + compacted

    private static let writes: [Falsification] = [
        Falsification("lost write", finds: "was acknowledged by", last: 9) { history in
            history.watched(9, [Change(key: "k", value: "y")], by: "w")
            history.note(call(70, 80, .put([x]), .written(9)))
        },
        Falsification("write at another lease", finds: "was acknowledged by", last: 9) { history in
            history.watched(9, [x], by: "w")
            history.note(call(70, 80, .put([Change(key: "k", value: "x", lease: 7)]), .written(9)))
        },
        Falsification("nobody's write", finds: "which nobody wrote", last: 9) { $0.watched(9, [x], by: "w") },
        Falsification("nobody's deletion", finds: "which nobody asked for", last: 9) { history in
            history.watched(9, [Change(key: "l", value: nil)], by: "w")
        },
        Falsification("one deletion for two calls", finds: "two deletions were acknowledged") { history in
            history.note(call(50, 60, .delete("k"), .written(4)))
        },
        Falsification("twice", finds: "carried out twice", last: 9) { history in
            history.watched(9, [Change(key: "k", value: "a")], by: "w")
        },
        Falsification("swap of another state", finds: "although k was not at 3", last: 9) { history in
            history.watched(9, [x], by: "w")
            history.note(call(70, 80, .swap(x, expected: 3), .written(9)))
        },
        Falsification("refused by its comparison and done", finds: "was refused and is there", last: 9) { history in
            history.watched(9, [x], by: "w")
            history.note(call(70, 80, .swap(x, expected: 3), .unchanged(4, [])))
        },
        Falsification("refused for its lease and done", finds: "was refused and is there", last: 9) { history in
            history.watched(9, [x], by: "w")
            history.note(call(70, 80, .put([x]), .refused("no lease")))
        },
        Falsification("half of a transaction", finds: "is not all of the write", last: 9) { history in
            history.watched(9, [x], by: "w")
            history.note(call(70, 80, .put([x, Change(key: "l", value: "z")]), .unknown("")))
        },
    ]

    private static let answers: [Falsification] = [
        Falsification("wrong row in a linearizable read", finds: "a linearizable read by m1 at 4") { history in
            history.note(call(70, 80, read("k"), .read(4, [b])))
        },
        Falsification("wrong row in a serializable read", finds: "a serializable read by m1 at 3") { history in
            history.note(call(70, 80, read("k", isSerializable: true), .read(3, [a])))
        },
        Falsification("row missing in a range", finds: "a linearizable read by m1 at 4") { history in
            history.note(call(70, 80, .read(from: "a", upTo: "z", isSerializable: false), .read(4, [])))
        },
        Falsification("wrong lease in a read", finds: "a serializable read by m1 at 6") { history in
            let row = Row(key: "z1", value: "on z1", modRevision: 5, createRevision: 5, version: 1)
            history.note(call(70, 80, read("z1", isSerializable: true), .read(6, [row])))
        },
        Falsification("wrong past", finds: "a serializable read by m1 at 3") { history in
            history.note(call(70, 80, past("k", 3, isSerializable: true), .read(4, [a])))
        },
        Falsification("past of what is to come", finds: "answered what was at 3") { history in
            history.note(call(70, 80, past("k", 3, isSerializable: true), .read(2, [b])))
        },
        Falsification("swap refused without a reason", finds: "a swap of k from 3 was refused") { history in
            history.note(call(15, 40, .swap(x, expected: 3), .unchanged(3, [b])))
        },
        Falsification("swap refused with another row", finds: "a swap of k from 9 was refused") { history in
            history.note(call(15, 40, .swap(x, expected: 9), .unchanged(3, [a])))
        },
        Falsification("deletion that was none", finds: "nothing was deleted at 3") { history in
            history.note(call(35, 38, .delete("k"), .unchanged(3, [])))
        },
    ]

    private static let order: [Falsification] = [
        Falsification("stale read", finds: "belongs to revision 3, though 4 was known") { history in
            history.note(call(70, 80, read("k"), .read(3, [b])))
        },
        Falsification("stale refusal of a swap", finds: "belongs to revision 3, though 4 was known") { history in
            history.note(call(70, 80, .swap(x, expected: 9), .unchanged(3, [b])))
        },
        Falsification("write before it was asked for", finds: "belongs to revision 3, though 4 was known") { history in
            history.note(call(61, 62, .put([Change(key: "k", value: "b")]), .unknown("")))
        },
        Falsification("write at a revision that was known", finds: "belongs to revision 4, though 4 was") { history in
            history.note(call(61, 62, .delete("k"), .written(4)))
        },
        Falsification("stale compaction", finds: "belongs to revision 7, though 8 was known") { history in
            history.note(call(25 * second, 26 * second, .compact(5), .compacted(7)))
        },
    ]

    private static let watches: [Falsification] = [
        Falsification("gap", finds: "no watch showed revision 9", last: 9) { _ in },
        Falsification("watches that differ", finds: "another shows") { history in
            history.watched(3, [Change(key: "k", value: "b")], by: "another")
        },
        Falsification("watches that differ in the rows", finds: "another shows") { history in
            history.watched(4, [Change(key: "k", value: nil)], [ChangedRows(previous: a)], by: "another")
        },
        Falsification("wrong previous row", finds: "watches show the rows", last: 9) { history in
            history.watched(
                9, [Change(key: "l", value: nil)], [ChangedRows(previous: c)], by: "w")
        },
        Falsification("previous row missing", finds: "watches show the rows", last: 9) { history in
            history.watched(9, [Change(key: "l", value: nil)], [ChangedRows()], by: "w")
        },
        Falsification("wrong version", finds: "watches show the rows", last: 9) { history in
            let row = Row(key: "k", value: "x", modRevision: 9, createRevision: 2, version: 3)
            history.watched(9, [x], [ChangedRows(row: row)], by: "w")
        },
    ]

    private static let leases: [Falsification] = [
        Falsification("one key of a lease stays", finds: "the end of lease 8 is", last: 10) { history in
            history.watched(9, leased.map { Change(key: $0.key, value: "m", lease: 8) }, by: "w")
            history.watched(10, [Change(key: "z1", value: nil)], by: "w")
        },
        Falsification("a key goes that was taken off the lease", finds: "the end of lease 8 is", last: 10) { history in
            history.watched(9, [Change(key: "z1", value: "m", lease: 8)], by: "w")
            history.watched(10, ["z1", "z3"].map { Change(key: $0, value: nil) }, by: "w")
        },
        Falsification("a lease ends in two revisions", finds: "the end of lease 8 is", last: 11) { history in
            history.watched(9, leased.map { Change(key: $0.key, value: "m", lease: 8) }, by: "w")
            history.watched(10, [Change(key: "z1", value: nil)], by: "w")
            history.watched(11, [Change(key: "z2", value: nil)], by: "w")
        },
        Falsification("a write to a lease that is no more", finds: "on a lease that ended at 7", last: 9) { history in
            history.watched(9, [Change(key: "z1", value: "m", lease: 7)], by: "w")
        },
        Falsification("a lease that does not end", finds: "though lease 8 was not kept alive", last: 9) { history in
            history.watched(9, [Change(key: "z1", value: "m", lease: 8)], by: "w")
        },
        Falsification("the end of nobody's lease", finds: "ends lease 8, which nobody asked for", last: 10) { history in
            history.watched(9, [Change(key: "z1", value: "m", lease: 8)], by: "w")
            history.watched(10, [Change(key: "z1", value: nil)], by: "w")
        },
        Falsification("keys gone early, seen by a watch", finds: "ended before its time: its keys") { history in
            history.note(lease(7, 6 * second + 1, 6 * second + 2, .alive(seconds: 5)))
        },
        Falsification("keys gone early, seen by a read", finds: "ended before its time: its keys") { history in
            history.note(call(second, 10 * second, read("z1", isSerializable: true), .read(7, [])))
        },
        Falsification("renewed after its end", finds: "ended before its time: its keys") { history in
            history.note(lease(7, 12 * second, 13 * second, .alive(seconds: 5)))
        },
        Falsification("unknown to a member before its end", finds: "ended before its time: gone") { history in
            history.note(lease(7, 9 * second, 10 * second, .missing("gone")))
        },
        Falsification("unknown before it was revoked", finds: "ended before its time: gone") { history in
            history.note(lease(7, 9 * second, 10 * second, .missing("gone")))
            history.note(lease(7, 10 * second + 1, 10 * second + 2, .revoking))
        },
    ]

    private static let compacted: [Falsification] = [
        Falsification("read refused too early", finds: "was refused, nobody compacted so far") { history in
            history.note(call(18 * second, 19 * second, past("k", 2), .tooOld))
        },
        Falsification("read at the compaction refused", finds: "was refused, nobody compacted so far") { history in
            history.note(call(22 * second, 23 * second, past("k", 3), .tooOld))
        },
        Falsification("read behind the compaction", finds: "was answered, though 3 was compacted") { history in
            history.note(call(22 * second, 23 * second, past("k", 2), .read(8, [a])))
        },
        Falsification("compaction refused without a reason", finds: "nobody had compacted so far") { history in
            history.note(call(22 * second, 23 * second, .compact(5), .tooOld))
        },
        Falsification("same compaction twice", finds: "was accepted after that of 3") { history in
            history.note(call(22 * second, 23 * second, .compact(3), .compacted(8)))
        },
        Falsification("watch begins late", finds: "begins with 4") { $0.note(start(3, .events(first: 4))) },
        Falsification("watch begins behind the compaction", finds: "begins, though 3 was compacted") { history in
            history.note(start(2, floor: 3, .events(first: 2)))
        },
        Falsification("watch refused that is not touched", finds: "which does not touch it") { history in
            history.note(start(3, .compacted(3)))
        },
        Falsification("watch refused for an older compaction", finds: "not of 5") { history in
            history.note(start(2, floor: 5, .compacted(3)))
        },
        Falsification("watch refused for nobody's compaction", finds: "which nobody asked for") { history in
            history.note(start(2, .compacted(4)))
        },
    ]
}

@Suite("cursor of watches") struct WatchCursorTests {
    private func event(_ key: String, _ revision: Int64) -> Mvccpb_Event {
        var event = Mvccpb_Event()
        event.kv.key = .init(key.utf8)
        event.kv.modRevision = revision
        return event
    }

    private func answer(_ events: [Mvccpb_Event], header: Int64 = 0) -> Etcdserverpb_WatchResponse {
        var response = Etcdserverpb_WatchResponse()
        response.header.revision = header
        response.events = events
        return response
    }

    @Test("whole revisions in order, and progress behind them") func sound() throws {
        var cursor = WatchCursor(from: 5)
        let steps = try cursor.take(answer([event("a", 5), event("b", 5), event("a", 6)], header: 9))
        #expect(steps.map(\.revision) == [5, 6])
        #expect(steps.map { $0.changes.map(\.key) } == [["a", "b"], ["a"]])
        #expect(try cursor.take(answer([], header: 6)) == [])
        #expect(cursor.next == 7)
    }

    @Test(
        "what a watch must not show is found",
        arguments: [
            [(6, 0)], [(4, 0)], [(5, 0), (7, 0)], [(5, 0), (4, 0)], [(5, 0), (0, 5), (5, 0)], [(0, 5)],
            [(5, 0), (0, 6)],
        ] as [[(event: Int, header: Int)]])
    func unsound(_ answers: [(event: Int, header: Int)]) {
        var cursor = WatchCursor(from: 5)
        #expect(throws: WatchCursor.Fault.self) {
            for one in answers {
                _ = try cursor.take(
                    answer(one.event == 0 ? [] : [event("k", Int64(one.event))], header: Int64(one.header)))
            }
        }
    }
}
