import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    @Suite("tools for clusters") struct ClusterToolTests {
        @Test("top --once has a row for each member, the lag and the rates; a member that is down says so")
        func top() async throws {
            try await withPlanned(count: 3) { members in
                try await members.start()
                let client = try members.servers[0].client()
                try await client.put("/a", "b")
                await client.close()
                let arguments = ["--endpoints", members.endpoints, "top", "--once", "--interval", "100ms"]
                // A member that answers too late for the tool is down, and one may not have told its name yet.
                let rows = try await table(arguments) { text, rows in
                    text.contains("3 members, 3 answering") && rows.dropFirst(2).map(\.first) == ["m1", "m2", "m3"]
                        && rows.dropFirst(2).filter { $0.contains("leader") }.count == 1
                }
                #expect(rows.count == 5)
                #expect(rows[0].starts(with: ["cluster"]))
                #expect(rows[1].starts(with: ["MEMBER", "ID", "ROLE", "TERM", "INDEX", "APPLIED", "LAG"]))
                #expect(rows[2...].map(\.first) == ["m1", "m2", "m3"])
                #expect(rows[2...].map { $0[2] }.sorted() == ["follower", "follower", "leader"])
                for row in rows[2...] {
                    // Two sizes with their units, then writes/s, the syncs' p99 and the round trip.
                    #expect(row.count == 14, "\(row)")
                    #expect(Int(row[3]) ?? 0 > 0 && Int(row[4]) ?? 0 > 0 && Int(row[6]) != nil, "\(row)")
                    #expect(row[12].hasSuffix("ms") && row[13].hasSuffix("ms"), "\(row)")
                }
                await members.servers[2].killHard()
                let after = try await table(arguments) { text, _ in text.contains("3 members, 2 answering") }
                #expect(after.contains { $0.first == "m3" && $0.contains("down") })
            }
        }

        /// The words of each line, once they are as they should be.
        private func table(
            _ arguments: [String], when isAsExpected: (_ text: String, _ rows: [[String]]) -> Bool
        ) async throws -> [[String]] {
            var rows: [[String]] = []
            try await eventually("the table of \(arguments)") {
                let text = try await Tool.succeed(arguments)
                rows = text.split(separator: "\n").map { line in line.split(separator: " ").map(String.init) }
                return isAsExpected(text, rows)
            }
            return rows
        }

        @Test("the script of make cluster starts, writes, reads and stops")
        func makeCluster() async throws {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
            let bin = URL(fileURLWithPath: try Binaries.martlet()).deletingLastPathComponent().path
            var ports: [Int] = []
            while ports.count < 3 {
                let port = try Ports.free()
                // Peers have the next one.
                if !ports.contains(where: { abs($0 - port) < 2 }) { ports.append(port) }
            }
            let result = try await Shell.run(
                [
                    root.appendingPathComponent(".ci/cluster").standardized.path, "--check", "--bin", bin, "--ports",
                    ports.map(String.init).joined(separator: ","),
                ], environment: ["SWIFT_BACKTRACE": "enable=no"], atMost: .seconds(180))
            #expect(result.exitStatus == 0, "\(result.output)\(result.errors)")
            #expect(result.output.hasSuffix("cluster: written and read\n"))
        }

        @Test("member, endpoint and move-leader commands print what etcdctl prints, on Martlet and on etcd")
        func parity() async throws {
            try await forEach(TestServer.Kind.allCases, atOnce: 2) { try await parity($0) }
        }

        private func parity(_ kind: TestServer.Kind) async throws {
            try await withPlanned(kind, count: 3) { members in
                try await members.start()
                let patience = ["--command-timeout=60s", "--dial-timeout=60s"]
                let one = patience + ["--endpoints", "127.0.0.1:\(members.servers[0].clientPort)"]
                let all = patience + ["--endpoints", members.endpoints]
                let client = try members.servers[0].client()
                try await client.put("/a", "b")
                let list = try await client.memberList().members
                let status = try await client.status()
                await client.close()
                let own = String(status.header.memberID, radix: 16)
                let leader = String(status.leader, radix: 16)
                let peer = list[0].peerUrls[0]
                // Members count as healthy once they have been connected for some seconds.
                try await eventually("a change of the members is let through") {
                    let refused = try await Tool.run(one + words("member add x --peer-urls \(peer)"))
                    return !refused.errors.contains("unhealthy cluster")
                }
                let comparison = try Comparison()
                for format in ["simple", "json", "fields", "table", "protobuf"] {
                    for command in [
                        "member list", "member list --hex", "endpoint status --cluster", "endpoint hashkv --cluster",
                        "endpoint health --cluster", "member promote \(own)", "member remove 1234",
                        "member update 1234 --peer-urls http://127.0.0.1:7", "member promote 1234",
                        "member add x --peer-urls \(peer)", "member add x --learner --peer-urls \(peer)",
                        "member update \(String(list[0].id, radix: 16)) --peer-urls \(peer)",
                    ] {
                        try await comparison.check(one + ["-w", format] + words(command))
                    }
                }
                for command in [
                    "member add", "member add a", "member add a b --peer-urls x", "member add a --peer-urls x",
                    "member add a --peer-urls http://x", "member add a --peer-urls http://x:1/y",
                    "member add a --peer-urls http://x:1,", "member remove", "member remove zz", "member update",
                    "member update zz", "member update 12", "member update 12 --peer-urls x", "member promote",
                    "member list -w foo", "move-leader", "move-leader zz", "endpoint hashkv --rev 999999",
                ] {
                    try await comparison.check(one + words(command))
                }
                try await comparison.check(all + ["move-leader", "1234"])
                try await comparison.check(all + ["move-leader", leader])
            }
        }

        private func words(_ command: String) -> [String] { command.split(separator: " ").map(String.init) }
    }
}

/// Runs a command with the reference's etcdctl and with ours, and compares all that they say but for durations.
private struct Comparison {
    private let reference: String

    init() throws { reference = try Binaries.referenceEtcdctl() }

    /// What comes to pass between the two calls, as an election on a busy machine or a growth of the store, makes their
    /// words differ once: only a difference that stays counts.
    func check(_ arguments: [String]) async throws {
        for isLast in [false, false, false, false, true] {
            let expected = try await Shell.run(
                [reference] + arguments, environment: ["ETCDCTL_API": "3"], atMost: .seconds(90))
            let actual = try await Tool.run(arguments, atMost: .seconds(90))
            let (theirs, ours) = (words(of: expected), words(of: actual))
            if theirs != ours, !isLast {
                try await Task.sleep(for: .seconds(1))
                continue
            }
            #expect(ours == theirs, "\(arguments)")
            return
        }
    }

    private func words(of result: Shell.Result) -> [String] {
        ["exit status \(result.exitStatus)", "output:"] + masked(result.output) + ["errors:"] + masked(result.errors)
    }

    /// Lines sorted: health comes in the order of arrival. Left out: the Go client's own log lines, fields that etcdctl 3.5
    /// does not know, widths of columns, which follow the durations.
    private func masked(_ text: String) -> [String] {
        text.replacing(/[0-9]+(\.[0-9]+)?(ms|µs|s)\b/, with: "TIME").split(separator: "\n").map(String.init)
            .filter { !$0.hasPrefix("{\"level\"") }
            .map {
                $0.replacing(/\{[^{}]*"took":"TIME"\}/, with: "HEALTH").replacing(/\ +/, with: " ")
                    .replacing(/-{2,}/, with: "--")
                    .replacing(
                        /,"(storageVersion|dbSizeQuota|hash_revision|downgradeInfo)":("[^"]*"|[0-9]+|\{[^}]*\})/,
                        with: "")
            }.sorted()
    }
}
