import Client
import Foundation
import Testing

@testable import Conformance

extension ConformanceTests {
    /// Puts a proxy that falsifies between the suite and a real server. Each falsification must fail a case.
    @Suite("mutations", .serialized) struct MutationTests {
        /// The failures of a run through a proxy with `mutation`.
        private func failures(_ mutation: Mutation, _ server: ServerProcess, first: Bool) async throws -> [String] {
            let proxy = try await MutationProxy.start(toPort: server.clientPort, mutation)
            var options = RunOptions()
            options.target = Target(endpoints: [proxy.endpoint])
            options.areas = mutation.areas
            options.isSharedOnly = true
            options.level = .v35
            options.stopsAtFirstFailure = first
            // Cases that wait for time to pass come last: what they would see, others see sooner.
            let cases = try Suite.load(folder: ConformanceTests.casesFolder)
            let quick = cases.filter { !$0.id.contains("expir") && !$0.id.contains("kept-alive") }
            let report = try await Runner(quick, options: options).run()
            await proxy.stop()
            return report.results.compactMap { if case .failed = $0.outcome { $0.id } else { nil } }
        }

        @Test("every falsification is seen", .timeLimit(.minutes(15)))
        func all() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let server = try await launcher.start()
            // Where the table goes; with `MARTLET_MUTATION_ALL` it names all the cases that see a falsification.
            let environment = ProcessInfo.processInfo.environment
            let isFull = environment["MARTLET_MUTATION_ALL"] != nil
            var table = "| falsification | caught by |\n|---|---|\n"
            for mutation in Mutation.all {
                let caught = try await failures(mutation, server, first: !isFull)
                #expect(!caught.isEmpty, "not seen: \(mutation.name)")
                let more = caught.count > 3 ? " and \(caught.count - 3) more" : ""
                table += "| \(mutation.name) | \(caught.prefix(3).map { "`\($0)`" }.joined(separator: ", "))\(more) |\n"
                if let path = environment["MARTLET_MUTATION_TABLE"] {
                    try table.write(toFile: path, atomically: true, encoding: .utf8)
                }
            }
            await server.discard()
        }

        @Test("the proxy itself changes nothing", .timeLimit(.minutes(4)))
        func identity() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let server = try await launcher.start()
            let nothing = Mutation("nothing", in: "kv", "txn", "range", "revisions", "watch", "errors") { _ in }
            let caught = try await failures(nothing, server, first: false)
            // The reference has bugs of its own in how it tells progress.
            let known = try Deviations(
                file: ConformanceTests.casesFolder + "/../deviations.yaml", server: "etcd-3.5.1")
            #expect(caught.filter { known[$0] == nil } == [], "a truthful proxy fails cases")
            await server.discard()
        }
    }
}
