import Foundation
import Testing
import Transport
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

        @Test("cases that end, pause and change servers run on three members, too", .timeLimit(.minutes(4)))
        func members() async throws {
            let program = try ConformanceTests.program("martlet", in: "MARTLET_BIN")
            let launcher = try ServerLauncher(command: "env SWIFT_BACKTRACE=enable=no \(program)")
            defer { launcher.discard() }
            var options = RunOptions()
            options.launcher = launcher
            options.memberCount = 3
            options.filters = [
                "graceful-restart", "paused-process", "add-and-remove-learner", "request-bytes-flag", "tls/alpn",
            ]
            let report = try await Runner(
                try Suite.load(folder: ConformanceTests.casesFolder), options: options
            ).run()
            expectSuccess(report)
            #expect(report.memberCount == 3 && report.count("pass") == 4 && report.count("skip") == 1)
        }

        @Test("a run that is broken off leaves nothing behind, either", .timeLimit(.minutes(2)))
        func interrupted() async throws {
            let launcher = try ServerLauncher(command: try ConformanceTests.program("etcd", in: "MARTLET_REFERENCE"))
            defer { launcher.discard() }
            let server = try await launcher.start()
            let (reached, onReached) = AsyncStream<Void>.makeStream()
            let endless = Case("kv", "endless", doc: "It does not end", timeout: .seconds(600)) { context in
                defer { onReached.finish() }
                let lease = try await context.grant(ttl: 600)
                let load = WriteLoad(context)
                let writing = Task { await load.run(writers: 4) }
                defer { load.stop() }
                let watch = try await context.watch("load/")
                try await context.put("leased", "v", lease: lease)
                onReached.finish()
                while !Task.isCancelled { _ = try await watch.next() }
                try Task.checkCancellation()
                await writing.value
            }
            let alarming = Case("kv", "alarming", doc: "It fails with an alarm raised", needs: [.private]) { context in
                var request = Etcdserverpb_AlarmRequest()
                request.action = .activate
                request.alarm = .nospace
                request.memberID = try await context.status().header.memberID
                let _: Etcdserverpb_AlarmResponse = try await context.call(Paths.alarm, request)
                throw CaseFailure("half way")
            }
            let never = Case("kv", "never", doc: "It is not begun") { _ in throw CaseFailure("it was begun") }
            var options = RunOptions()
            options.target = Target(endpoints: server.target.endpoints)
            options.isExclusive = true
            let failed = try await Runner([alarming], options: options).run()
            #expect(failed.count("FAIL") == 1)
            // With the alarm still raised no lease would be granted, and the next case would not come so far.
            let running = Task { [options] in try await Runner([endless, never], options: options).run() }
            for await _ in reached {}
            running.cancel()
            #expect(try await running.value.results.isEmpty)
            let left = CaseContext(target: server.target, prefix: "", level: .v35)
            try await left.expectNothing()
            await server.discard()
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
            try await left.expectNothing(but: ["foreign/data"])
            await server.discard()
        }
    }
}

extension CaseContext {
    /// The whole store has these keys and no lease.
    fileprivate func expectNothing(but keys: [String] = []) async throws {
        let rows: [String] = try await list("") {
            $0.key = Data([0])
            $0.rangeEnd = Data([0])
        }.kvs.map { String(decoding: $0.key, as: UTF8.self) }
        #expect(rows == keys)
        let leases: Etcdserverpb_LeaseLeasesResponse = try await call(
            RPCPath("/etcdserverpb.Lease/LeaseLeases"), Etcdserverpb_LeaseLeasesRequest())
        #expect(leases.leases.isEmpty)
    }
}
