import Foundation
import Testing
import Wire

@testable import Conformance

extension ConformanceTests {
    @Suite("against servers", .serialized) struct RunTests {
        /// Cases that wait for leases to end, load a server for long, or move many megabytes, which takes this build without
        /// optimisation tens of seconds: `make conformance` runs them.
        private static let slow = [
            "expir", "kept-alive", "survives", "not-before", "killed", "thousand", "starvation", "large-answer",
            "message-bytes", "paused-process", "not-enough-started",
        ]

        private func run(
            _ program: String, _ server: String, areas: Set<String> = [], level: Level? = nil
        ) async throws -> RunReport {
            let cases = try Suite.load(folder: ConformanceTests.casesFolder).filter { item in
                !Self.slow.contains { item.id.contains($0) }
            }
            let launcher = try ServerLauncher(command: program)
            defer { launcher.discard() }
            var options = RunOptions()
            options.launcher = launcher
            options.areas = areas
            options.level = level
            options.deviations = try Deviations(
                file: ConformanceTests.casesFolder + "/../deviations.yaml", server: server)
            return try await Runner(cases, options: options).run()
        }

        private func expectSuccess(_ report: RunReport) {
            for result in report.results {
                if case .failed(let message) = result.outcome { Issue.record("\(result.id): \(message)") }
            }
        }

        @Test("Martlet conforms", .timeLimit(.minutes(8)))
        func martlet() async throws {
            let program = try ConformanceTests.program("martlet", in: "MARTLET_BIN")
            let report = try await run("env SWIFT_BACKTRACE=enable=no \(program)", "martlet")
            expectSuccess(report)
            #expect(report.count("pass") >= 300)
        }

        @Test("the reference conforms, so the cases are right", .timeLimit(.minutes(4)))
        func reference() async throws {
            let program = try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE")
            let report = try await run(
                program, "etcd-3.5.1", areas: ["kv", "txn", "range", "revisions", "errors", "health", "http"])
            expectSuccess(report)
            #expect(report.count("pass") >= 200)
        }

        @Test("a run leaves nothing behind", .timeLimit(.minutes(2)))
        func cleansUp() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let server = try await launcher.start()
            let context = CaseContext(target: server.target, prefix: "foreign/", level: .v35)
            try await context.put("data", "kept")
            var options = RunOptions()
            options.target = Target(endpoints: server.target.endpoints)
            options.areas = ["kv", "txn", "lease"]
            let cases = try Suite.load(folder: ConformanceTests.casesFolder).filter { !$0.id.contains("expir") }
            let report = try await Runner(cases, options: options).run()
            #expect(report.count("pass") > 50)
            #expect(report.results.contains { if case .skipped = $0.outcome { true } else { false } })
            let left = CaseContext(target: server.target, prefix: "", level: .v35)
            var all = left.listRequest("")
            all.key = Data([0])
            all.rangeEnd = Data([0])
            let rows: [String] = try await left.list("") { $0 = all }.kvs.map {
                String(decoding: $0.key, as: UTF8.self)
            }
            #expect(rows == ["foreign/data"])
            await server.discard()
        }
    }
}
