import Primitives
import Testing

@testable import Conformance

extension ConformanceTests {
    @Suite("checkers") struct CheckerTests {
        private func operation(_ kind: RegisterOperation.Kind, _ start: UInt64, _ end: UInt64?) -> RegisterOperation {
            RegisterOperation(kind, start: start, end: end)
        }

        @Test("histories that have an order")
        func linearizable() {
            #expect(RegisterChecker.isLinearizable([]))
            #expect(
                RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, 10), operation(.read("1"), 5, 6), operation(.read(nil), 1, 4),
                ]))
            #expect(
                RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, nil), operation(.read(nil), 1, 2), operation(.read("1"), 3, 4),
                ]), "an unanswered write may take effect late")
            #expect(
                RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, nil), operation(.read(nil), 1, 2), operation(.read(nil), 3, 4),
                ]), "or never")
            #expect(
                RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, 1),
                    operation(.compareAndSet(expected: "1", new: "2", succeeded: true), 2, 5),
                    operation(.compareAndSet(expected: "1", new: "3", succeeded: false), 3, 4),
                    operation(.read("2"), 6, 7),
                ]))
        }

        @Test("histories that have none")
        func notLinearizable() {
            #expect(
                !RegisterChecker.isLinearizable([operation(.write("1"), 0, 1), operation(.read(nil), 2, 3)]),
                "stale read")
            #expect(
                !RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, 1), operation(.write("2"), 2, 3), operation(.read("1"), 4, 5),
                ]), "lost write")
            #expect(
                !RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, 10), operation(.read("1"), 2, 3), operation(.read(nil), 4, 5),
                ]), "back in time")
            #expect(
                !RegisterChecker.isLinearizable([
                    operation(.write("1"), 0, 1),
                    operation(.compareAndSet(expected: "1", new: "2", succeeded: true), 2, 5),
                    operation(.compareAndSet(expected: "1", new: "3", succeeded: true), 3, 4),
                ]), "both compare-and-sets succeeded")
            #expect(!RegisterChecker.isLinearizable([operation(.read("ghost"), 0, 1)]), "a value nobody wrote")
        }

        /// Random histories made from one copy, so linearizable; then one read is falsified with a value long gone.
        @Test("random histories", arguments: UInt64(1)...40)
        func random(seed: UInt64) {
            var random = PRNG(seed: seed)
            var operations: [RegisterOperation] = []
            var value: String?
            var time: UInt64 = 100
            for number in 0..<60 {
                time += 10
                let start = time - UInt64(random.next(in: 0..<30))
                let end = time + UInt64(random.next(in: 0..<30))
                if random.chance(oneIn: 2) {
                    value = "\(number)"
                    operations.append(operation(.write("\(number)"), start, end))
                } else {
                    operations.append(operation(.read(value), start, end))
                }
            }
            #expect(RegisterChecker.isLinearizable(operations))
            operations.append(operation(.write("last"), time + 100, time + 101))
            operations.append(operation(.read(value), time + 102, time + 103))
            #expect(!RegisterChecker.isLinearizable(operations))
        }

        @Test("revisions must agree with real time, values and the watch")
        func revisions() {
            let log: [Int64: [RevisionHistory.Change]] = [
                2: [.init("a", "1")], 3: [.init("a", nil)], 4: [.init("b", "2")],
            ]
            func violation(_ operations: [RevisionHistory.Operation]) -> String? {
                RevisionHistory(operations, log: log).violation()
            }
            func read(
                _ revision: Int64, _ key: String, _ value: String?, _ mod: Int64, _ start: UInt64
            ) -> RevisionHistory.Operation {
                .init(.read(revision: revision, key: key, value: value, modRevision: mod), start: start, end: start + 1)
            }
            let writeA = RevisionHistory.Operation(
                .write(revision: 2, changes: [.init("a", "1")]), start: 0, end: 1)
            let writeB = RevisionHistory.Operation(
                .write(revision: 4, changes: [.init("b", "2")]), start: 10, end: 11)
            #expect(violation([writeA, read(2, "a", "1", 2, 3), read(3, "a", nil, 0, 5), writeB]) == nil)
            #expect(violation([writeB, read(3, "a", nil, 0, 20)]) != nil, "an older revision after a newer one")
            #expect(violation([read(2, "a", nil, 0, 3)]) != nil, "a value that was missed")
            #expect(violation([read(3, "a", "1", 2, 3)]) != nil, "a value that was deleted")
            #expect(violation([read(2, "a", "1", 1, 3)]) != nil, "a wrong mod revision")
            let lost = RevisionHistory.Operation(.write(revision: 9, changes: [.init("c", "1")]), start: 20, end: 21)
            #expect(violation([lost]) != nil, "an acknowledged write without an event")
            let same = RevisionHistory.Operation(.write(revision: 2, changes: [.init("a", "1")]), start: 5, end: 6)
            #expect(violation([writeA, same]) != nil, "one revision for two writes")
        }
    }
}
