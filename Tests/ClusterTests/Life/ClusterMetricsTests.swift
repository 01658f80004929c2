import Client
import Foundation
import TestSupport
import Testing

extension ClusterTests {
    /// Metrics that only a cluster has.
    @Suite("metrics of a cluster", .besideOthers) struct Metrics {
        @Test("families of other members have the labels that Metrics.md names")
        func labels() async throws {
            let rows = try Self.rows()
            try await withCluster(3) { cluster in
                for member in cluster.members {
                    var samples: [Substring] = []
                    // Each of the two others has a sample of each family, once they have met.
                    try await eventually("there are samples of the others") {
                        let page = try await HTTPProbe.get(
                            port: member.server.clientPort, "/metrics", timeoutSeconds: 30
                        ).body
                        samples = page.split(separator: "\n").filter {
                            $0.hasPrefix("etcd_network_") && !$0.hasPrefix("etcd_network_client")
                        }
                        return samples.count > 20
                    }
                    for sample in samples {
                        var name = String(sample.prefix { $0 != "{" })
                        for end in ["_bucket", "_sum", "_count"] where rows[name] == nil && name.hasSuffix(end) {
                            name.removeLast(end.count)
                        }
                        let labels = sample.split(separator: "\"", omittingEmptySubsequences: false).dropLast()
                            .enumerated().filter { $0.offset % 2 == 0 }
                            .map { $0.element.trimmingCharacters(in: CharacterSet(charactersIn: ",=")) }
                            .map { String($0.split(separator: "{").last ?? "") }.filter { $0 != "le" }
                        #expect(rows[name] == Set(labels), "\(sample)")
                    }
                }
            }
        }

        @Test("a read that waits for the others counts as slow")
        func slowReads() async throws {
            try await withCluster(3) { cluster in
                try await inSomeRounds { try await readSlowly(cluster) }
            }
        }

        /// What went wrong: the lead may move before the read is made.
        private func readSlowly(_ cluster: TestCluster) async throws -> String? {
            let (leader, followers) = try await cluster.roles()
            // Who waited for the first leader may have waited for long.
            let before = try await Self.value("etcd_server_slow_read_indexes_total", leader)
            for follower in followers { follower.server.signal(SIGSTOP) }
            let client = cluster.client([leader], timeoutSeconds: 60)
            let read = Task { _ = try? await client.get("k") }
            var isCounted = false
            let deadline = ContinuousClock.now + .seconds(15)
            while !isCounted, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(20))
                isCounted = try await Self.value("etcd_server_slow_read_indexes_total", leader) > before
            }
            for follower in followers { follower.server.signal(SIGCONT) }
            await read.value
            await client.close()
            return isCounted ? nil : "the read is not slow"
        }

        @Test("a leader that was held up counts the heartbeats that it sent late")
        func lateHeartbeats() async throws {
            try await withCluster(3) { cluster in
                try await eventually("a leader was late") {
                    let leader = try await cluster.leader()
                    leader.server.signal(SIGSTOP)
                    // Longer than two intervals, and shorter than it takes to be replaced.
                    try await Task.sleep(for: TestCluster.electionTimeout / 2)
                    leader.server.signal(SIGCONT)
                    try await Task.sleep(for: TestCluster.electionTimeout / 5)
                    return try await Self.value("etcd_server_heartbeat_send_failures_total", leader) >= 2
                }
            }
        }

        private static func value(_ name: String, _ member: TestMember) async throws -> Int {
            let page = try await HTTPProbe.get(port: member.server.clientPort, "/metrics", timeoutSeconds: 30).body
            let line = try #require(page.split(separator: "\n").first { $0.hasPrefix(name + " ") })
            return try #require(Int(line.dropFirst(name.count + 1)))
        }

        /// The labels of each family in the document's tables.
        private static func rows() throws -> [String: Set<String>] {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
            let path = root.appendingPathComponent("Sources/Server/Documentation.docc/Metrics.md").path
            var rows: [String: Set<String>] = [:]
            for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                guard line.hasPrefix("| `"), cells.count == 4 else { continue }
                rows[cells[0].trimmingCharacters(in: ["`"])] = Set(
                    cells[2].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
            }
            return rows
        }
    }
}
