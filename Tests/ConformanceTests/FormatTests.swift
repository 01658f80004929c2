import Foundation
import Testing

@testable import Conformance

extension ConformanceTests {
    @Suite("case format") struct FormatTests {
        private let scope = Scope(
            prefix: "p/",
            variables: ["rev": .integer(7), "other": .integer(2), "row": .text("$rev+1"), "name": .text("x")])

        @Test("variables, sums and rows written with variables")
        func expressions() throws {
            #expect(try scope.evaluate("$rev") == .integer(7))
            #expect(try scope.evaluate("$rev+1") == .integer(8))
            #expect(try scope.evaluate("$rev-$other-1") == .integer(4))
            #expect(try scope.evaluate("$row") == .integer(8))
            #expect(try scope.evaluate("k${name}-${rev}") == .text("kx-7"))
            #expect(try scope.evaluate("plain") == .text("plain"))
            #expect(throws: SuiteError.self) { try scope.evaluate("$nothing") }
        }

        @Test("keys get the prefix, values and raw bytes do not")
        func bytes() throws {
            func resolve(_ yaml: String, _ field: String) throws -> Value {
                try scope.resolve(try Value(yaml: yaml, file: "test"), field: field, method: "KV/Put")
            }
            #expect(try resolve("a", "key") == .bytes(Array("p/a".utf8)))
            #expect(try resolve("a", "value") == .bytes(Array("a".utf8)))
            #expect(try resolve("17", "value") == .bytes(Array("17".utf8)))
            #expect(try resolve("{$raw: a}", "key") == .bytes(Array("a".utf8)))
            #expect(try resolve("{$hex: ff00}", "key") == .bytes(Array("p/".utf8) + [0xff, 0]))
            #expect(try resolve("{$hex: ff00}", "value") == .bytes([0xff, 0]))
            #expect(try resolve("{$prefixEnd: a}", "range_end") == .bytes(Array("p/b".utf8)))
            #expect(try resolve("{$from: true}", "range_end") == .bytes([0]))
            #expect(try resolve("{$repeat: ab, $count: 3}", "value") == .bytes(Array("ababab".utf8)))
        }

        @Test(
            "what matches and what does not",
            arguments: [
                ("{a: 1}", "{a: 1, b: 2}", true), ("{a: 1}", "{a: 2}", false), ("{b: null}", "{a: 1}", true),
                ("{a: null}", "{a: 1}", false), ("{a: 0}", "{}", true), ("{a: 1}", "{}", false),
                ("{l: [1, 2]}", "{l: [1, 2]}", true), ("{l: [1]}", "{l: [1, 2]}", false), ("{l: []}", "{}", true),
                ("{a: {$gt: 1}}", "{a: 2}", true), ("{a: {$gt: 2}}", "{a: 2}", false),
                ("{a: {$ge: 1, $le: 3}}", "{a: 4}", false), ("{a: {$ne: 1}}", "{a: 1}", false),
                ("{a: {$in: [1, 2]}}", "{a: 2}", true), ("{a: {$in: [1, 2]}}", "{a: 3}", false),
                ("{l: {$count: 2}}", "{l: [5, 6]}", true), ("{l: {$count: 2}}", "{l: [5]}", false),
                ("{l: {$set: [2, 1]}}", "{l: [1, 2]}", true), ("{l: {$set: [2, 2]}}", "{l: [1, 2]}", false),
                ("{l: {$set: [1]}}", "{l: [1, 2]}", false), ("{l: {$each: {a: 1}}}", "{l: [{a: 1}, {a: 2}]}", false),
                ("{l: {$has: {a: 2}}}", "{l: [{a: 1}, {a: 2}]}", true), ("{l: {$has: {a: 3}}}", "{l: [{a: 1}]}", false),
                ("{l: {$first: 1, $last: 2}}", "{l: [1, 2]}", true), ("{a: {$match: '^x+$'}}", "{a: xxx}", true),
                ("{a: {$match: '^x+$'}}", "{a: xyx}", false), ("{a: $rev+1}", "{a: 8}", true),
                ("{a: $rev}", "{a: 8}", false), ("{type: PUT}", "{}", true), ("{type: DELETE}", "{}", false),
            ])
        func matching(expected: String, actual: String, holds: Bool) throws {
            let matcher = Matcher(scope: scope, method: "")
            let wrong = try matcher.mismatch(
                try Value(yaml: expected, file: "expected"), try Value(yaml: actual, file: "actual"))
            #expect((wrong == nil) == holds, "\(wrong ?? "")")
        }

        @Test(
            "mistakes in a case file are told",
            arguments: [
                "steps: [{call: KV/Nothing}]", "steps: [{call: KV/Put, response: {rows: []}}]",
                "steps: [{nonsense: 1}]",
                "steps: [{put: {a: 1}, reqest: {}}]", "needs: [nothing]", "level: '4.1'", "colour: red",
            ])
        func mistakes(line: String) throws {
            let hasSteps = line.hasPrefix("steps")
            let text = """
                area: kv
                cases:
                  - name: one
                    doc: something
                    \(line)
                    \(hasSteps ? "" : "steps: []")
                """
            #expect(throws: SuiteError.self) { try CaseFile.parse(text, file: "test") }
        }

        @Test("a request with a field that its message does not have is told")
        func unknownField() throws {
            let method = try Method.named("KV/Put")
            #expect(throws: SuiteError.self) {
                try method.encode(.map([.init(name: "keyy", value: .bytes([1]))]))
            }
        }

        @Test("the suite has its cases, each with its documentation")
        func cases() throws {
            let cases = try Suite.load(folder: ConformanceTests.casesFolder)
            #expect(cases.count >= 300)
            #expect(Set(cases.map(\.area)) == Set(Suite.areas), "an area without cases")
            for item in cases {
                #expect(item.doc.contains("["), "\(item.id) names no source")
                #expect(item.until.map { item.level <= $0 } ?? true, "\(item.id) ends before it begins")
            }
        }
    }
}
