import TestSupport
import Testing

extension ServerTests {
    @Suite("the tool's command line") struct CommandLineTests {
        private static let failing = [
            "get a", "get a b --prefix", "get a -w wrong", "get", "put a b", "put a b --lease=zz", "del a",
            "member list",
            "lease grant 10", "lease revoke 12", "alarm list", "compaction x", "defrag", "endpoint health",
            "endpoint status", "endpoint --cluster status", "endpoint hashkv", "move-leader 12", "move-leader zz",
            "snapshot save", "snapshot save unwritten", "snapshot save x --endpoints=a:1,b:2", "get a --cert nofile",
            "get a --cert nofile --key nofile", "get a --cacert nofile", "get a --insecure-discovery=false",
            "get a --discovery-srv-name x", "get a --endpoints=",
        ]

        @Test("fails with etcdctl's exit code and last line where nobody listens, and with bad flags")
        func failures() async throws {
            let nobody = "127.0.0.1:\(try Ports.free())"
            try await withThrowingTaskGroup(of: Void.self) { group in
                // Nearly all of the time is spent waiting for timeouts.
                for (index, line) in Self.failing.enumerated() {
                    if index >= 6 { try await group.next() }
                    group.addTask { try await compare(line, nobody) }
                }
                try await group.waitForAll()
            }
        }

        private func compare(_ line: String, _ nobody: String) async throws {
            let words = line.split(separator: " ").map(String.init)
            let endpoints = line.contains("--endpoints") ? [] : ["--endpoints", nobody]
            let arguments = ["--command-timeout=300ms", "--dial-timeout=100ms"] + endpoints + words
            let expected = try await Shell.run(
                [try Binaries.referenceEtcdctl()] + arguments, environment: ["ETCDCTL_API": "3"])
            let actual = try await Tool.run(arguments)
            #expect(actual.exitStatus == expected.exitStatus, "\(line)")
            #expect(actual.output == expected.output, "\(line)")
            #expect(lastLine(actual.errors) == lastLine(expected.errors), "\(line)")
        }

        private func lastLine(_ text: String) -> Substring? { text.split(separator: "\n").last }

        @Test("an endpoint that cannot be reached is named with the reason")
        func unreachable() async throws {
            let endpoint = "127.0.0.1:\(try Ports.free())"
            var result = try await Tool.run(["--endpoints", endpoint, "get", "a", "--command-timeout=1s"])
            // A second may pass on a busy machine before anything is tried.
            if !result.errors.contains("refused") {
                result = try await Tool.run(["--endpoints", endpoint, "get", "a", "--command-timeout=30s"])
            }
            #expect(result.exitStatus == 1 && result.output == "")
            #expect(result.errors.hasPrefix("cannot connect to \(endpoint): "))
            #expect(result.errors.contains(": connection refused\n") && !result.errors.contains("errno"))
        }

        @Test("an answer longer than --max-recv-bytes is not taken")
        func receiveLimit() async throws {
            try await withServer(.martlet) { server in
                let arguments = ["--endpoints", "127.0.0.1:\(server.clientPort)"]
                let put = try await Tool.run(arguments + ["put", "big", String(repeating: "x", count: 2000)])
                #expect(put.exitStatus == 0, "\(put.errors)")
                let taken = try await Tool.run(arguments + ["get", "big", "--max-recv-bytes=3000"])
                #expect(taken.exitStatus == 0 && taken.output.utf8.count == 2005, "\(taken.errors)")
                let refused = try await Tool.run(arguments + ["get", "big", "--max-recv-bytes=1000"])
                #expect(refused.exitStatus == 1 && refused.output == "")
                #expect(refused.errors.contains("received message larger than max"), "\(refused.errors)")
            }
        }

        @Test(
            "help comes whatever stands before it",
            arguments: ["help", "", "lease", "help lease grant", "lease grant -h"])
        func help(_ line: String) async throws {
            let words = line.split(separator: " ").map(String.init)
            let result = try await Tool.run(["--endpoints", "127.0.0.1:1"] + words)
            #expect(result.exitStatus == 0 && result.output.contains("USAGE: martletctl") && result.errors == "")
        }

        @Test(
            "what is not there, or cannot be done, says what can",
            arguments: [
                ("nonsense", "Run 'martletctl --help' for usage."),
                ("lease x", "Run 'martletctl lease --help' for usage."),
                ("lease grant --x", "Run 'martletctl lease grant --help' for usage."), ("lock a", "use etcdctl"),
                ("get a -d b", "--endpoints"),
                ("defrag --data-dir x", "etcdutl"),
            ])
        func advice(line: String, expected: String) async throws {
            let result = try await Tool.run(line.split(separator: " ").map(String.init))
            #expect(result.exitStatus == 1 && result.output == "" && result.errors.contains(expected))
        }
    }
}
