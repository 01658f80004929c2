import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// The real etcdctl must not be able to tell the servers apart.
    @Suite("etcdctl parity") struct EtcdctlParity {
        @Test("the same output and exit code")
        func parity() async throws {
            try await forEach(EtcdctlScript.all, atOnce: 2) { try await parity($0) }
        }

        private func parity(_ script: EtcdctlScript) async throws {
            try await withBothServers { martlet, etcd in
                let folder = try TemporaryFolder("parity")
                defer { folder.remove() }
                let expectedRun = try await Run(etcd, folder)
                let actualRun = try await Run(martlet, folder)
                for step in script.steps {
                    async let theirs = expectedRun.run(step)
                    let actual = try await actualRun.run(step)
                    let expected = try await theirs
                    let line = "etcdctl \(step.arguments.joined(separator: " ")) <<< \(step.input.debugDescription)"
                    #expect(actual.exitStatus == expected.exitStatus, "\(script.name): \(line)")
                    #expect(actual.output == expected.output, "\(script.name): \(line)")
                    #expect(actual.errors == expected.errors, "\(script.name): \(line)")
                }
            }
        }

        @Test("a lease from grant to expiry")
        func lease() async throws {
            try await withBothServers { martlet, etcd in
                async let theirs = leaseLife(etcd)
                let actual = try await leaseLife(martlet)
                let expected = try await theirs
                #expect(actual == expected)
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
            // etcd tells a lease's keys in no order: one time in eight these two come the other way round.
            text.replacing(/attached keys\(\[(.*)\]\)/) { match in
                "attached keys([" + match.1.split(separator: " ").sorted().joined(separator: " ") + "])"
            }
            .replacingOccurrences(of: id, with: "LEASE")
            .replacingOccurrences(of: String(Int64(id, radix: 16) ?? 0), with: "LEASE")
            .replacingOccurrences(
                of: #"remaining\(\d+s\)"#, with: "remaining(s)", options: .regularExpression
            )
            .replacingOccurrences(
                of: #""(ClusterID|MemberID|RaftTerm)" : \d+"#, with: "", options: .regularExpression)
        }

        /// Command lines, and what is written last of what they show: `k2` is written before `k`.
        private static let watches = [
            ("watch k --rev=1", "k"), ("watch k --prefix --rev=2", "k"), ("watch k --prefix --rev=1 --prev-kv", "k"),
            ("watch k1 k3 --rev=1", "k2"), ("watch '' --prefix --rev=3 -w json", "k"),
            ("watch k --prefix --rev=1 -w fields", "k"), ("watch k --from-key --rev=1", "k"),
            ("watch k2 --rev=1 --prev-kv -w json", "k2"), ("watch k --prefix --rev=2 --hex", "k"),
            ("watch k --prefix --rev=1 --progress-notify -w json", "k"),
        ]

        @Test("watches print the same, of the store's history and of what comes after it")
        func watch() async throws {
            try await withBothServers { martlet, etcd in
                func etcdctl(_ line: String) async throws {
                    let words = line.split(separator: " ").map(String.init)
                    for server in [martlet, etcd] { #expect(try await server.etcdctl(words).exitStatus == 0) }
                }
                for line in ["put k 1", "put k1 2", "put k2 3", "put k 4", "del k1", "put k2 5", "del k --prefix"] {
                    try await etcdctl(line)
                }
                let folder = try TemporaryFolder("watch")
                defer { folder.remove() }
                let expected = try Self.watches.enumerated().map { try Watching(etcd, $1.0, folder, $0) }
                let actual = try Self.watches.enumerated().map { try Watching(martlet, $1.0, folder, $0) }
                for watching in expected + actual {
                    try await eventually("the history of \(watching.line)") { !watching.text.isEmpty }
                }
                try await etcdctl("put k2 last-k2")
                try await etcdctl("put k last-k")
                let masks = [
                    try await OutputMask(server: etcd, folder: folder),
                    try await OutputMask(server: martlet, folder: folder),
                ]
                for (number, (line, key)) in Self.watches.enumerated() {
                    for watching in [expected[number], actual[number]] {
                        try await eventually("the end of \(line): \(watching.text)") {
                            watching.hasEnded || watching.shows("last-\(key)")
                        }
                    }
                    // Some formats say more about an event after its value.
                    try? await eventually("the same") {
                        masks[1].apply(to: actual[number].text) == masks[0].apply(to: expected[number].text)
                    }
                    #expect(masks[1].apply(to: actual[number].text) == masks[0].apply(to: expected[number].text))
                }
                for watching in expected + actual { await watching.end() }
            }
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

/// An etcdctl that watches.
private struct Watching {
    let line: String
    private let path: String
    private let child: ChildProcess

    init(_ server: TestServer, _ line: String, _ folder: TemporaryFolder, _ number: Int) throws {
        self.line = line
        path = folder.path("\(server.kind.rawValue)-\(number)")
        child = try ChildProcess(
            [try Binaries.etcdctl(), "--endpoints", "127.0.0.1:\(server.clientPort)"] + EtcdctlStep(line).arguments,
            environment: ["ETCDCTL_API": "3"], output: path, errors: path)
    }

    var text: String { Shell.read(path) }

    /// Whether a value has been printed, plain, in hexadecimal or in base 64, with the end of its line.
    func shows(_ value: String) -> Bool {
        let hex = value.utf8.map { "\\x" + String($0, radix: 16) }.joined()
        let base64 = Data(value.utf8).base64EncodedString()
        let text = text
        return text.hasSuffix("\n") && [value, hex, base64].contains { text.contains($0) }
    }

    /// As on a flag that this etcdctl does not know.
    var hasEnded: Bool { child.exitStatus != nil }

    func end() async {
        child.signal(SIGKILL)
        _ = await child.wait(atMost: .seconds(60))
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
