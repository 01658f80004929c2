import Client
import Foundation
import Testing

@testable import Conformance

extension ConformanceTests {
    /// Puts a proxy that falsifies between the suite and a real server. Each falsification must fail a case.
    @Suite("mutations", .serialized) struct MutationTests {
        /// What each falsification was caught by when the table was written: falsification and cases.
        private static func table() throws -> [String: [String]] {
            let text = try String(contentsOfFile: ConformanceTests.casesFolder + "/../mutations.md", encoding: .utf8)
            var rows: [String: [String]] = [:]
            for line in text.split(separator: "\n") where line.hasPrefix("| ") && line.contains("`") {
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                let parts = cells[1].split(separator: "`", omittingEmptySubsequences: false)
                rows[cells[0]] = parts.indices.filter { !$0.isMultiple(of: 2) }.map { String(parts[$0]) }
            }
            return rows
        }

        /// The failures of a run of these cases through a proxy with `mutation`; of all in its areas, unless they are
        /// named.
        private func failures(
            _ mutation: Mutation, _ server: ServerProcess, of suite: [Case], only ids: [String]? = nil, first: Bool,
            patience: Duration = .zero
        ) async throws -> [String] {
            let proxy = try await MutationProxy.start(toPort: server.clientPort, mutation)
            var options = RunOptions()
            options.target = Target(endpoints: [proxy.endpoint])
            options.areas = ids == nil ? mutation.areas : []
            options.isSharedOnly = true
            options.level = .v35
            options.stopsAtFirstFailure = first
            options.patience = patience
            // Cases that wait for time to pass are left out: what they would see, others see sooner.
            let cases = suite.filter { item in
                ids.map { $0.contains(item.id) } ?? !["expir", "kept-alive"].contains { item.id.contains($0) }
            }
            let report = try await Runner(cases, options: options).run()
            await proxy.stop()
            #expect(!report.results.isEmpty, "\(mutation.name): no case was run")
            return report.results.compactMap { if case .failed = $0.outcome { $0.id } else { nil } }
        }

        /// How a run of all falsifications is done.
        private struct Plan: Sendable {
            let suite: [Case]
            /// Where the table goes, when it is written anew.
            let output = ProcessInfo.processInfo.environment["MARTLET_MUTATION_TABLE"]
            let isFull = ProcessInfo.processInfo.environment["MARTLET_MUTATION_ALL"] != nil
            let known: [String: [String]]
        }

        /// The cases that see each of some falsifications, on a server of their own.
        private func caught(_ numbers: [Int], _ plan: Plan, _ launcher: ServerLauncher) async throws -> [Int: [String]]
        {
            let server = try await launcher.start()
            var result: [Int: [String]] = [:]
            for number in numbers {
                let mutation = Mutation.all[number]
                var caught: [String] = []
                if plan.output == nil, let ids = plan.known[mutation.name] {
                    caught = try await failures(mutation, server, of: plan.suite, only: ids, first: true)
                }
                if caught.isEmpty {
                    caught = try await failures(mutation, server, of: plan.suite, first: !plan.isFull)
                }
                #expect(!caught.isEmpty, "not seen: \(mutation.name)")
                result[number] = caught
            }
            await server.discard()
            return result
        }

        /// By the cases that the table names; where those see nothing, which may happen with what strikes now and then, by
        /// all of the areas. With `MARTLET_MUTATION_TABLE` the table is written there anew, with `MARTLET_MUTATION_ALL` too
        /// with all cases that see a falsification.
        @Test("every falsification is seen", .timeLimit(.minutes(15)))
        func all() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let plan = Plan(suite: try Suite.load(folder: ConformanceTests.casesFolder), known: try Self.table())
            if plan.output == nil {
                #expect(Set(plan.known.keys) == Set(Mutation.all.map(\.name)), "mutations.md is not of today")
            }
            // Most of the time an answer is awaited that never comes: several at once wait no longer.
            let workers = 4
            var all: [Int: [String]] = [:]
            try await withThrowingTaskGroup(of: [Int: [String]].self) { group in
                for worker in 0..<workers {
                    let numbers = Mutation.all.indices.filter { $0 % workers == worker }
                    group.addTask { try await caught(numbers, plan, launcher) }
                }
                for try await some in group { all.merge(some) { first, _ in first } }
            }
            guard let output = plan.output else { return }
            var table = "| falsification | caught by |\n|---|---|\n"
            for (number, mutation) in Mutation.all.enumerated() {
                let caught = all[number] ?? []
                let more = caught.count > 3 ? " and \(caught.count - 3) more" : ""
                let names = caught.prefix(3).map { "`\($0)`" }.joined(separator: ", ")
                table += "| \(mutation.name) | \(names)\(more) |\n"
            }
            try table.write(toFile: output, atomically: true, encoding: .utf8)
        }

        @Test("the proxy itself changes nothing", .timeLimit(.minutes(4)))
        func identity() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let server = try await launcher.start()
            let all = Set(try Self.table().values.joined())
            let caught = try await failures(
                Mutation("nothing") { _ in }, server, of: Suite.load(folder: ConformanceTests.casesFolder),
                only: Array(all), first: false, patience: .seconds(60))
            // The reference has bugs of its own in how it tells progress.
            let known = try Deviations(
                file: ConformanceTests.casesFolder + "/../deviations.yaml", server: "etcd-3.5.1")
            #expect(caught.filter { known[$0] == nil } == [], "a truthful proxy fails cases")
            await server.discard()
        }
    }
}
