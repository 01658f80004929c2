import Testing

/// The checker of the chaos test finds what it is there for: each history has one thing wrong.
@Suite("checker of histories") struct HistoryCheckTests {
    /// Two writes of `k`, at 2 and 3, and a deletion at 4.
    private func sound() -> History {
        let history = History()
        history.watched(2, [Change(key: "k", value: "a")], by: "w")
        history.watched(3, [Change(key: "k", value: "b"), Change(key: "l", value: "c")], by: "w")
        history.watched(4, [Change(key: "k", value: nil)], by: "w")
        history.note(call(10, 20, .put([Change(key: "k", value: "a")]), .written(2)))
        history.note(
            call(15, 40, .put([Change(key: "k", value: "b"), Change(key: "l", value: "c")]), .unknown("timed out")))
        history.note(call(50, 60, .delete("k"), .written(4)))
        return history
    }

    private func call(
        _ begin: UInt64, _ end: UInt64, _ request: Operation.Request, _ outcome: Operation.Outcome
    ) -> Operation {
        Operation(member: "m1", begin: begin, end: end, request: request, outcome: outcome)
    }

    private func read(_ key: String, isSerializable: Bool = false) -> Operation.Request {
        .read(from: key, upTo: nil, isSerializable: isSerializable)
    }

    private let a = Row(key: "k", value: "a", modRevision: 2, createRevision: 2, version: 1)
    private let b = Row(key: "k", value: "b", modRevision: 3, createRevision: 2, version: 2)
    private let c = Row(key: "l", value: "c", modRevision: 3, createRevision: 3, version: 1)

    @Test("a sound history is taken") func soundHistory() {
        let history = sound()
        history.note(call(21, 30, read("k"), .read(2, [a])))
        history.note(call(21, 30, read("k"), .read(3, [b])))
        history.note(call(70, 80, read("k", isSerializable: true), .read(2, [a])))
        history.note(call(70, 80, read("k"), .read(4, [])))
        history.note(call(70, 80, .read(from: "a", upTo: "z", isSerializable: false), .read(4, [c])))
        history.note(call(12, 30, .swap(Change(key: "k", value: "d"), expected: 9), .unchanged(3, [b])))
        history.note(call(70, 80, .swap(Change(key: "k", value: "e"), expected: 2), .unknown("")))
        #expect(HistoryCheck.violations(history, last: 4) == [])
    }

    @Test(
        "what is wrong is found",
        arguments: [
            "lost write", "gap", "nobody's write", "nobody's deletion", "twice", "stale read", "wrong rows",
            "wrong swap",
            "refused and done", "half of a transaction", "write before it was asked", "deletion that was none",
        ])
    func unsound(fault: String) {
        let history = sound()
        var last: Int64 = 5
        let change = Change(key: "k", value: "x")
        switch fault {
        case "lost write":
            history.watched(5, [Change(key: "k", value: "y")], by: "w")
            history.note(call(70, 80, .put([Change(key: "k", value: "y")]), .unknown("")))
            history.note(call(70, 80, .put([change]), .written(5)))
        case "gap": last = 5
        case "nobody's write": history.watched(5, [change], by: "w")
        case "nobody's deletion": history.watched(5, [Change(key: "l", value: nil)], by: "w")
        case "twice":
            history.watched(5, [Change(key: "k", value: "a")], by: "w")
        case "stale read":
            last = 4
            history.note(call(70, 80, read("k"), .read(3, [b])))
        case "wrong rows":
            last = 4
            history.note(call(70, 80, read("k", isSerializable: true), .read(3, [a])))
        case "wrong swap":
            history.watched(5, [change], by: "w")
            history.note(call(70, 80, .swap(change, expected: 3), .written(5)))
        case "refused and done":
            history.watched(5, [change], by: "w")
            history.note(call(70, 80, .swap(change, expected: 3), .unchanged(4, [])))
        case "half of a transaction":
            history.watched(5, [change], by: "w")
            history.note(call(70, 80, .put([change, Change(key: "l", value: "z")]), .unknown("")))
        case "write before it was asked":
            last = 4
            history.note(call(61, 62, .put([Change(key: "k", value: "b")]), .unknown("")))
        default:
            last = 4
            history.note(call(35, 38, .delete("k"), .unchanged(3, [])))
        }
        #expect(!HistoryCheck.violations(history, last: last).isEmpty)
    }

    @Test("watches that differ are found") func watches() {
        let history = sound()
        history.watched(3, [Change(key: "k", value: "b")], by: "another")
        #expect(HistoryCheck.violations(history, last: 4).count == 1)
    }
}
