import Foundation
import Testing

@testable import Conformance

extension ConformanceTests {
    @Suite("reports") struct ReportTests {
        private func makeReport() -> RunReport {
            var report = RunReport(endpoints: ["http://x:1"], version: "3.5.1", level: .v35, memberCount: 1)
            let outcomes: [Outcome] = [
                .passed, .failed("a < b & \"c\" | d"), .deviates("bad", reason: "meant"), .skipped("needs more"),
            ]
            for (index, outcome) in outcomes.enumerated() {
                report.results.append(
                    CaseResult(
                        id: "kv/case-\(index)", area: "kv", doc: "does <this> [source]", level: .v34,
                        isRequired: index != 3,
                        outcome: outcome, seconds: 0.25))
            }
            return report
        }

        @Test("JSON can be read back")
        func roundTrip() throws {
            let before = makeReport()
            let after = try RunReport(json: before.text(.json))
            #expect(after.results.map(\.outcome) == before.results.map(\.outcome))
            #expect(after.results.map(\.id) == before.results.map(\.id))
            #expect(after.version == "3.5.1" && after.level == .v35)
            #expect(!after.isSuccess)
        }

        @Test("only failures of required cases fail a run")
        func success() {
            var report = makeReport()
            #expect(!report.isSuccess)
            report.results.remove(at: 1)
            #expect(report.isSuccess)
        }

        @Test("JUnit is XML and counts")
        func junit() throws {
            let text = makeReport().text(.junit)
            #expect(text.contains("tests=\"4\" failures=\"1\" skipped=\"2\""))
            #expect(text.contains("a &lt; b &amp; &quot;c&quot; | d"))
        }

        @Test("the matrix shows every case and every reason")
        func matrix() {
            let text = Matrix([(name: "one", report: makeReport()), (name: "two", report: makeReport())]).markdown
            #expect(text.contains("| one | `kv/case-2` | meant |"))
            #expect(text.contains("| case-0: does <this> [source] | 3.4 | pass | pass |"))
            #expect(text.contains("| case-1: does <this> [source] | 3.4 | FAIL | FAIL |"))
            #expect(text.contains("a < b & \"c\" \\| d"))
        }

        @Test("a deviation covers the failure that is meant, and no other")
        func covered() throws {
            let text = """
                a:
                  - {case: kv/x, reason: "It is so", failure: "expected 1"}
                  - {case: "http/g-*", reason: "Not offered"}
                """
            let known = try Deviations(yaml: text, file: "f", server: "a")
            #expect(known.reason("kv/x", failure: "step 2: expected 1, got 2") == "It is so")
            #expect(known.reason("kv/x", failure: "UNAVAILABLE") == nil)
            #expect(known.reason("http/g-1", failure: "whatever") == "Not offered")
            #expect(known.reason("http/h", failure: "whatever") == nil)
            #expect(throws: SuiteError.self) { try Deviations(yaml: text, file: "f", server: "b") }
        }

        @Test("the known deviations name cases that exist")
        func deviations() throws {
            let file = ConformanceTests.casesFolder + "/../deviations.yaml"
            let root = try Value(yaml: try String(contentsOfFile: file, encoding: .utf8), file: file)
            let ids = Set(try Suite.load(folder: ConformanceTests.casesFolder).map(\.id))
            for server in root.fields ?? [] {
                for entry in server.value.list ?? [] {
                    let id = entry["case"]?.text ?? ""
                    let isKnown = id.hasSuffix("*") ? ids.contains { $0.hasPrefix(id.dropLast()) } : ids.contains(id)
                    #expect(isKnown, "\(server.name): there is no case \(id)")
                    #expect((entry["reason"]?.text ?? "").count > 20, "\(id) has no reason")
                }
            }
        }
    }
}
