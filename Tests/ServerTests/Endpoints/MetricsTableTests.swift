import Foundation
import TestSupport
import Testing

extension ServerTests {
    /// The page of metrics, its description in `Metrics.md`, and what etcd exports: all three must agree.
    @Suite("metrics table") struct MetricsTable {
        /// One family: its type and the names of its labels, without the buckets' own.
        struct Family: Equatable, CustomStringConvertible {
            var type: String
            var labels: Set<String> = []
            var hasSamples = false

            var description: String { "\(type) {\(labels.sorted().joined(separator: ", "))}" }
        }

        /// etcd's families whose labels are not ours, as the document says.
        private static let otherLabels: Set<String> = ["etcd_server_apply_duration_seconds"]

        @Test("every family is in the table with its type and labels, and every row of the table is a family")
        func table() async throws {
            let rows = try Self.rows()
            try await withServer(.martlet, ["--metrics", "extensive"]) { server in
                try await Self.exercise(server)
                let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
                let families = try Self.families(page)
                #expect(Set(families.keys).subtracting(rows.keys).sorted() == [], "not in Metrics.md")
                #expect(Set(rows.keys).subtracting(families.keys).sorted() == [], "in Metrics.md only")
                for (name, family) in families {
                    guard let row = rows[name] else { continue }
                    #expect(family.type == row.type, "\(name)")
                    if family.hasSamples { #expect(family.labels == row.labels, "\(name)") }
                }
            }
        }

        @Test("what etcd exports is here with the same type and labels, or left out in the document with a reason")
        func reference() async throws {
            let rows = try Self.rows()
            let leftOut = try Self.leftOut()
            try await withServer(.etcd, ["--metrics", "extensive"]) { server in
                try await Self.exercise(server)
                let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
                for (name, family) in try Self.families(page) {
                    let isLeftOut = leftOut.contains { pattern in
                        pattern.hasSuffix("*") ? name.hasPrefix(pattern.dropLast()) : name == pattern
                    }
                    guard let row = rows[name] else {
                        #expect(isLeftOut, "\(name) is missing")
                        continue
                    }
                    #expect(!isLeftOut, "\(name) is there and left out")
                    #expect(row.type == family.type, "\(name)")
                    guard family.hasSamples, !Self.otherLabels.contains(name) else { continue }
                    #expect(row.labels == family.labels, "\(name)")
                }
            }
        }

        @Test("new counters tell the truth")
        func values() async throws {
            try await withServer { server in
                try await Self.exercise(server)
                let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
                func value(_ sample: String) -> Double? {
                    page.split(separator: "\n").first { $0.hasPrefix(sample + " ") }.flatMap {
                        Double($0.dropFirst(sample.count + 1))
                    }
                }
                // etcdctl has put, read and granted; each call is of its client's version.
                let put = "{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}"
                for name in ["started", "msg_received", "msg_sent"] {
                    #expect(value("grpc_server_\(name)_total\(put)") == 1, "\(name)")
                }
                let version = try await server.etcdctl(["version"]).output
                let spoken = version.split(separator: "\n").first { $0.hasPrefix("API version: ") }?.dropFirst(13)
                let clients = "etcd_server_client_requests_total{client_api_version="
                let unary = page.split(separator: "\n").filter {
                    $0.hasPrefix(clients) && $0.contains("type=\"unary\"")
                }
                #expect(unary.count == 1)
                #expect(
                    unary.first?.hasPrefix("\(clients)\"\(spoken ?? "?")") == true
                        || unary.first?.hasPrefix("\(clients)\"unknown\"") == true)
                #expect(value("etcd_disk_wal_write_bytes_total") ?? 0 > 64)
                #expect(value("etcd_debugging_lease_ttl_total_bucket{le=\"32\"}") == 0)
                #expect(value("etcd_debugging_lease_ttl_total_bucket{le=\"64\"}") == 1)
                #expect(value("etcd_debugging_lease_ttl_total_sum") == 60)
                #expect(value("etcd_mvcc_hash_rev_duration_seconds_count") == 1)
                #expect(value("etcd_disk_backend_snapshot_duration_seconds_count") == 1)
                #expect(value("etcd_server_healthcheck{name=\"linearizable_read\",type=\"readyz\"}") == 1)
                for name in ["etcd_server_slow_read_indexes_total", "etcd_server_heartbeat_send_failures_total"] {
                    #expect(value(name) == 0, "\(name)")
                }
                #expect(value("martlet_client_connections_refused_total") == 0)
            }
        }

        /// Calls that make families with labels show samples.
        private static func exercise(_ server: TestServer) async throws {
            for arguments in [
                ["put", "a", "b"], ["get", "a"], ["lease", "grant", "60"], ["alarm", "list"],
                ["endpoint", "hashkv"], ["snapshot", "save", server.folder.path("snapshot.db")],
            ] {
                #expect(try await server.etcdctl(arguments).exitStatus == 0, "\(arguments)")
            }
            if server.kind == .martlet {
                #expect(try await HTTPProbe.get(port: server.clientPort, "/readyz").status == 200)
            }
        }

        // MARK: The document

        private static func document() throws -> [Substring] {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
            let path = root.appendingPathComponent("Sources/Server/Documentation.docc/Metrics.md").path
            return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        }

        /// The rows `| name | type | labels | meaning |`.
        private static func rows() throws -> [String: Family] {
            var rows: [String: Family] = [:]
            for line in try document() where line.hasPrefix("| `") {
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                guard cells.count == 4 else { continue }
                let labels = cells[2].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                rows[cells[0].trimmingCharacters(in: ["`"])] = Family(type: cells[1], labels: Set(labels))
            }
            #expect(rows.count > 50)
            return rows
        }

        /// The rows `| names | reason |`: etcd's families that are not here; a name may end in `*`.
        private static func leftOut() throws -> [String] {
            var names: [String] = []
            for line in try document() where line.hasPrefix("| `") {
                let cells = line.split(separator: "|")
                guard cells.count == 2 else { continue }
                names += cells[0].split(separator: ",").map {
                    $0.trimmingCharacters(in: CharacterSet(charactersIn: " `"))
                }
            }
            #expect(names.count > 5)
            return names
        }

        // MARK: The page

        static func families(_ page: String) throws -> [String: Family] {
            var families: [String: Family] = [:]
            for line in page.split(separator: "\n") {
                if line.hasPrefix("# TYPE ") {
                    let words = line.split(separator: " ")
                    try #require(words.count == 4)
                    #expect(families[String(words[2])] == nil, "\(words[2]) twice")
                    families[String(words[2])] = Family(type: String(words[3]))
                } else if !line.hasPrefix("#") {
                    try note(line, in: &families)
                }
            }
            return families
        }

        private static func note(_ line: Substring, in families: inout [String: Family]) throws {
            let sample = String(line.prefix { $0 != "{" && $0 != " " })
            let parts = ["", "_bucket", "_sum", "_count"].filter { sample.hasSuffix($0) }
            let name = parts.map { String(sample.dropLast($0.count)) }.first { families[$0] != nil }
            let family = try #require(name, "a sample without a family: \(line)")
            families[family]?.hasSamples = true
            guard let open = line.firstIndex(of: "{"), let close = line.lastIndex(of: "}") else { return }
            // No value of a label has a comma or a quote in it.
            for pair in line[line.index(after: open)..<close].split(separator: ",") {
                let label = String(pair.prefix { $0 != "=" })
                if !["le", "quantile"].contains(label) { families[family]?.labels.insert(label) }
            }
        }
    }
}
