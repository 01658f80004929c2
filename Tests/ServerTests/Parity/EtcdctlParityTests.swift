import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// The real etcdctl must not be able to tell the servers apart.
    @Suite("etcdctl parity") struct EtcdctlParity {
        @Test("the same output and exit code", arguments: EtcdctlScript.all)
        func parity(_ script: EtcdctlScript) async throws {
            try await withBothServers { martlet, etcd in
                let folder = try TemporaryFolder("parity")
                defer { folder.remove() }
                let expectedRun = try await Run(etcd, folder)
                let actualRun = try await Run(martlet, folder)
                for step in script.steps {
                    let expected = try await expectedRun.run(step)
                    let actual = try await actualRun.run(step)
                    let line = "etcdctl \(step.arguments.joined(separator: " ")) <<< \(step.input.debugDescription)"
                    #expect(actual.exitStatus == expected.exitStatus, "\(line)")
                    #expect(actual.output == expected.output, "\(line)")
                    #expect(actual.errors == expected.errors, "\(line)")
                }
            }
        }

        @Test("a lease from grant to expiry")
        func lease() async throws {
            try await withBothServers { martlet, etcd in
                var outputs: [[String]] = []
                for server in [etcd, martlet] { outputs.append(try await leaseLife(server)) }
                #expect(outputs[0] == outputs[1])
            }
        }

        private func leaseLife(_ server: TestServer) async throws -> [String] {
            var outputs: [String] = []
            let granted = try await server.etcdctl(["lease", "grant", "100"]).output
            let id = String(granted.split(separator: " ").dropFirst().first ?? "")
            #expect(id.count == 16)
            let lines = [
                "lease list", "put leased value --lease=\(id)", "put other value --lease=\(id)",
                "get leased -w fields",
                "lease timetolive \(id) --keys", "lease keep-alive --once \(id)", "put other value",
                "lease timetolive \(id) --keys", "put leased v2 --ignore-lease",
                "put leased --ignore-value --lease=\(id)",
                "lease revoke \(id)", "get leased", "get other", "lease list", "lease revoke \(id)",
            ]
            for line in lines {
                let result = try await server.etcdctl(line.split(separator: " ").map(String.init))
                outputs.append(
                    Self.maskLease(result.output, id) + "|" + String(result.exitStatus))
            }
            return outputs
        }

        private static func maskLease(_ text: String, _ id: String) -> String {
            text.replacingOccurrences(of: id, with: "LEASE")
                .replacingOccurrences(of: String(Int64(id, radix: 16) ?? 0), with: "LEASE")
                .replacingOccurrences(
                    of: #"remaining\(\d+s\)"#, with: "remaining(s)", options: .regularExpression
                )
                .replacingOccurrences(
                    of: #""(ClusterID|MemberID|RaftTerm)" : \d+"#, with: "", options: .regularExpression)
        }

        /// What `watch` prints between start and kill, with the store's history already there.
        @Test(
            "watch",
            arguments: [
                "watch k --rev=1", "watch k --prefix --rev=2", "watch k --prefix --rev=1 --prev-kv",
                "watch k1 k3 --rev=1", "watch '' --prefix --rev=3 -w json", "watch k --prefix --rev=1 -w fields",
                "watch k --from-key --rev=1", "watch k2 --rev=1 --prev-kv -w json", "watch k --prefix --rev=2 --hex",
                "watch k --prefix --rev=1 --progress-notify -w json",
            ])
        func watch(_ line: String) async throws {
            try await withBothServers { martlet, etcd in
                for server in [martlet, etcd] {
                    for line in ["put k 1", "put k1 2", "put k2 3", "put k 4", "del k1", "put k2 5", "del k --prefix"] {
                        #expect(try await server.etcdctl(line.split(separator: " ").map(String.init)).exitStatus == 0)
                    }
                }
                let folder = try TemporaryFolder("watch")
                defer { folder.remove() }
                let expected = try await watchOutput(etcd, line, folder)
                let actual = try await watchOutput(martlet, line, folder)
                #expect(!expected.isEmpty)
                #expect(actual == expected)
            }
        }

        private func watchOutput(_ server: TestServer, _ line: String, _ folder: TemporaryFolder) async throws -> String
        {
            let path = folder.path(server.kind.rawValue)
            let child = try ChildProcess(
                [try Binaries.etcdctl(), "--endpoints", "127.0.0.1:\(server.clientPort)"]
                    + EtcdctlStep(line).arguments,
                environment: ["ETCDCTL_API": "3"], output: path, errors: path)
            // All of it is there when nothing has been added for a while.
            var last = ""
            var quietRounds = 0
            for _ in 0..<200 where quietRounds < 10 {
                try await Task.sleep(for: .milliseconds(20))
                let text = Shell.read(path)
                quietRounds = text == last && !text.isEmpty ? quietRounds + 1 : 0
                last = text
            }
            child.signal(SIGKILL)
            _ = await child.wait(atMost: .seconds(5))
            return try await OutputMask(server: server, folder: folder).apply(to: last)
        }

        @Test("Soak check perf", .enabled(if: Binaries.environment("MARTLET_SOAK") == "1", "takes a minute"))
        func checkPerf() async throws {
            try await withServer { server in
                let result = try await server.etcdctl(["check", "perf", "--load=s"], atMost: .seconds(120))
                #expect(result.exitStatus == 0 && !result.output.contains("FAIL"), "\(result.output) \(result.errors)")
            }
        }

        @Test("watch of a compacted revision ends with the same error")
        func watchCompacted() async throws {
            try await withBothServers { martlet, etcd in
                for server in [martlet, etcd] {
                    for line in ["put k 1", "put k 2", "put k 3", "compaction 4"] {
                        _ = try await server.etcdctl(line.split(separator: " ").map(String.init))
                    }
                }
                let expected = try await etcd.etcdctl(["watch", "k", "--rev=2"])
                let actual = try await martlet.etcdctl(["watch", "k", "--rev=2"])
                #expect(actual.exitStatus == expected.exitStatus)
                #expect(actual.output == expected.output)
                #expect(actual.errors.contains("required revision has been compacted"))
                #expect(expected.errors.contains("required revision has been compacted"))
            }
        }
    }
}

/// One server's side of a script.
private struct Run {
    let server: TestServer
    let mask: OutputMask
    let folder: TemporaryFolder
    let memberID: String

    init(_ server: TestServer, _ folder: TemporaryFolder) async throws {
        self.server = server
        self.folder = folder
        mask = try await OutputMask(server: server, folder: folder)
        let client = try server.client()
        memberID = String(try await client.status().header.memberID, radix: 16)
        await client.close()
    }

    func run(_ step: EtcdctlStep) async throws -> Shell.Result {
        let own = folder.root + "/" + server.kind.rawValue
        try? FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: true)
        let arguments = step.arguments.map {
            $0.replacingOccurrences(of: "FOLDER", with: own).replacingOccurrences(of: "MEMBER", with: memberID)
        }
        var result = try await server.etcdctl(arguments, input: step.input)
        result.output = mask.apply(to: result.output.replacingOccurrences(of: own, with: "OWN"))
        result.errors = mask.apply(to: result.errors.replacingOccurrences(of: own, with: "OWN"))
        if arguments.contains("protobuf") {
            // The header's identities are in the bytes; the rest is compared in the other formats.
            result.output = result.output.isEmpty ? "" : "PROTOBUF"
        }
        return result
    }
}
