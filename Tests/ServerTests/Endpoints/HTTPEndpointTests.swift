import Client
import Foundation
import TestSupport
import Testing

extension ServerTests {
    /// Health, version and metrics. Source: etcd-behaviour, sections 4 and 12.
    @Suite("HTTP endpoints") struct HTTPEndpointTests {
        @Test("health and version answer as etcd's")
        func health() async throws {
            try await withBothServers { martlet, etcd in
                for target in ["/health", "/health?serializable=true", "/health?exclude=NOSPACE", "/nothing"] {
                    let expected = try await HTTPProbe.get(port: etcd.clientPort, target)
                    let actual = try await HTTPProbe.get(port: martlet.clientPort, target)
                    #expect(actual.status == expected.status, "\(target)")
                    #expect(actual.body == expected.body, "\(target)")
                }
                let version = try await HTTPProbe.get(port: martlet.clientPort, "/version")
                #expect(version.status == 200)
                #expect(version.head.lowercased().contains("content-type: application/json"))
                let names = try JSONSerialization.jsonObject(with: Data(version.body.utf8)) as? [String: String]
                #expect(names?["etcdserver"]?.split(separator: ".").compactMap { Int($0) }.count == 3)
                #expect(names?["etcdcluster"] != nil && names?["storage"] != nil)
            }
        }

        @Test("only GET, as in etcd; no request without a host")
        func methods() async throws {
            func status(_ server: TestServer, _ request: String) async throws -> String {
                let answer = try await HTTPProbe.exchange(
                    port: server.clientPort, Array((request + "Connection: close\r\n\r\n").utf8))
                return String(decoding: answer.prefix(12), as: UTF8.self)
            }
            try await withBothServers { martlet, etcd in
                let requests = ["HEAD /health", "HEAD /version", "HEAD /metrics", "POST /health", "PUT /version"]
                for request in requests.map({ $0 + " HTTP/1.1\r\nHost: a\r\n" }) + ["GET /health HTTP/1.1\r\n"] {
                    let expected = try await status(etcd, request)
                    #expect(try await status(martlet, request) == expected, "\(request)")
                }
            }
        }

        @Test("with addresses of its own, plain HTTP leaves those of gRPC")
        func ownAddress() async throws {
            let port = try Ports.free()
            let server = try TestServer(.martlet, ["--listen-client-http-urls", "http://127.0.0.1:\(port)"])
            try server.launch()
            try await eventually("health on the other port") {
                (try? await HTTPProbe.get(port: port, "/health"))?.status == 200
            }
            #expect(try await HTTPProbe.get(port: port, "/version").status == 200)
            for target in ["/health", "/version", "/metrics"] {
                #expect(try await HTTPProbe.get(port: server.clientPort, target).status == 404)
            }
            let client = try server.client()
            try await client.put("a", "b")
            await client.close()
            await server.discard()
        }

        @Test("probes: alone, verbose, excluded")
        func probes() async throws {
            try await withServer { server in
                let checks = ["data_corruption", "serializable_read", "linearizable_read", "non_learner"]
                for target in ["/livez", "/readyz", "/livez/serializable_read"] + checks.map({ "/readyz/" + $0 }) {
                    let answer = try await HTTPProbe.get(port: server.clientPort, target)
                    #expect(answer.status == 200 && answer.body.hasPrefix("ok"), "\(target): \(answer.body)")
                }
                let verbose = try await HTTPProbe.get(port: server.clientPort, "/readyz?verbose")
                for check in checks { #expect(verbose.body.contains("[+]\(check) ok\n")) }
                let fewer = try await HTTPProbe.get(
                    port: server.clientPort, "/readyz?verbose&exclude=linearizable_read&exclude=non_learner")
                #expect(!fewer.body.contains("linearizable_read") && !fewer.body.contains("non_learner"))
                #expect(fewer.body.contains("[+]data_corruption ok\n"))
                for target in ["/readyz/nothing", "/livez/linearizable_read", "/livez/"] {
                    #expect(try await HTTPProbe.get(port: server.clientPort, target).status == 404, "\(target)")
                }
            }
        }

        /// What the dashboards and alerts of the etcd mixin select.
        private static let mixinNames = [
            "etcd_server_has_leader", "etcd_server_leader_changes_seen_total", "etcd_server_proposals_committed_total",
            "etcd_server_proposals_applied_total", "etcd_server_proposals_failed_total",
            "etcd_server_proposals_pending",
            "etcd_server_quota_backend_bytes", "etcd_mvcc_db_total_size_in_bytes",
            "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_disk_wal_fsync_duration_seconds_bucket",
            "etcd_disk_backend_commit_duration_seconds_bucket", "etcd_network_client_grpc_received_bytes_total",
            "etcd_network_client_grpc_sent_bytes_total", "grpc_server_started_total", "grpc_server_handled_total",
            "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds",
        ]

        @Test("the metrics of the etcd mixin are there, also on the metrics listener, which speaks no gRPC")
        func metrics() async throws {
            let port = try Ports.free()
            try await withServer(
                .martlet, ["--listen-metrics-urls", "http://127.0.0.1:\(port)", "--metrics", "extensive"]
            ) { server in
                #expect(try await server.etcdctl(["put", "a", "b"]).exitStatus == 0)
                #expect(try await server.etcdctl(["get", "a"]).exitStatus == 0)
                for source in [port, server.clientPort] {
                    let page = try await HTTPProbe.get(port: source, "/metrics").body
                    let names = Set(
                        page.split(separator: "\n").filter { !$0.hasPrefix("#") }.map {
                            String($0.prefix { $0 != "{" && $0 != " " })
                        })
                    let missing = (Self.mixinNames + ["grpc_server_handling_seconds_bucket"]).filter {
                        !names.contains($0)
                    }
                    #expect(missing.isEmpty, "on port \(source): \(missing)")
                    #expect(page.contains("grpc_method=\"Put\""))
                }
                for target in ["/health", "/livez", "/readyz"] {
                    #expect(try await HTTPProbe.get(port: port, target).status == 200)
                }
                let result = try await Shell.run(
                    [
                        try Binaries.etcdctl(), "--endpoints", "127.0.0.1:\(port)", "--command-timeout=1s",
                        "--dial-timeout=1s", "get", "a",
                    ],
                    environment: ["ETCDCTL_API": "3"])
                #expect(result.exitStatus != 0)
            }
        }

        /// The values of the counters of operations on keys, in the order of the names.
        private func operations(_ server: TestServer) async throws -> [Int] {
            let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
            return try ["range", "put", "delete", "txn"].map { name in
                let prefix = "etcd_mvcc_\(name)_total "
                let line = try #require(page.split(separator: "\n").first { $0.hasPrefix(prefix) })
                return Int(try #require(Double(line.dropFirst(prefix.count))))
            }
        }

        @Test("operations count as in etcd, inside transactions and outside, refused or not")
        func operationCounts() async throws {
            let scripts = [
                "\nput a 1\n\n\n", "\nput b 1\nput c 2\n\n\n", "\nget a\n\n\n", "\nget a\nget b\n\n\n", "\ndel b\n\n\n",
                "ver(\"a\") = \"99\"\n\nput a 3\n\nput x 1\nput y 1\ndel a\n\n", "mod(\"a\") > \"0\"\n\nput a 3\n\n\n",
                "ver(\"a\") > \"0\"\nver(\"q\") = \"0\"\n\nput q 3\n\n\n", "\nput r 1 --lease=77\nput s 1\n\n\n",
            ]
            let commands = [
                ["put", "a", "2"], ["put", "a", "2", "--prev-kv"], ["put", "a", "2", "--lease=77"], ["get", "a"],
                ["put", "none", "--ignore-value"], ["put", "a", "--ignore-value"], ["del", "nothing"],
                ["del", "q", "--prev-kv"], ["get", "a", "--rev=9999"],
            ]
            try await withBothServers { martlet, etcd in
                @Sendable func growth(
                    _ server: TestServer, _ run: @Sendable () async throws -> Void
                ) async throws -> [Int] {
                    let before = try await operations(server)
                    try await run()
                    return zip(try await operations(server), before).map { $0 - $1 }
                }
                for command in commands {
                    async let expected = growth(etcd) { _ = try await etcd.etcdctl(command) }
                    async let actual = growth(martlet) { _ = try await martlet.etcdctl(command) }
                    let (ours, theirs) = (try await actual, try await expected)
                    #expect(ours == theirs, "\(command)")
                }
                for script in scripts {
                    async let expected = growth(etcd) { _ = try await etcd.etcdctl(["txn"], input: script) }
                    async let actual = growth(martlet) { _ = try await martlet.etcdctl(["txn"], input: script) }
                    let (ours, theirs) = (try await actual, try await expected)
                    #expect(ours == theirs, "\(script)")
                }
            }
        }
    }
}
