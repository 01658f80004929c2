import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    /// What the API server's storage layer asks, in its own request shapes. Source: kubernetes-contract, section 2.
    @Suite("Kubernetes storage") struct KubernetesStorage {
        @Test("pages at a pinned revision while the store is written and compacted")
        func paging() async throws {
            try await withServer { server in
                let client = try server.client()
                let prefix = "/registry/pods/"
                let revision = try await client.fill(prefix, count: 3000, value: Data(repeating: 1, count: 200))
                let writer = Task {
                    let client = try server.client()
                    var number = 0
                    while !Task.isCancelled {
                        number += 1
                        let key = prefix + String(1_000_000 + number * 7 % 4000)
                        _ = try? await (number % 3 == 0 ? client.delete(key) : client.put(key, "new"))
                        // Never beyond the pages' revision.
                        if number % 20 == 0 { try? await client.compact(min(revision, Int64(number / 20))) }
                    }
                    await client.close()
                }
                defer { writer.cancel() }
                var keys: [Data] = []
                var start: Data?
                while true {
                    let page = try await client.list(prefix, from: start, limit: 250, revision: revision)
                    #expect(page.count == Int64(3000 - keys.count), "the count is exact, whatever the limit")
                    #expect(page.header.revision >= revision)
                    #expect(page.more == (page.count > Int64(page.kvs.count)))
                    keys += page.kvs.map(\.key)
                    for row in page.kvs { #expect(row.value.count == 200 && row.modRevision <= revision) }
                    guard page.more, let last = page.kvs.last else { break }
                    start = last.key + [0]
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(keys.count == 3000)
                #expect(zip(keys, keys.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
                writer.cancel()
                try await writer.value
                // 410 exactly when the revision is older than the compaction.
                try await client.compact(revision)
                _ = try await client.list(prefix, from: start, limit: 1, revision: revision)
                try await client.compact(revision + 1)
                let (next, page) = (start, revision)
                let error = await failure { _ = try await client.list(prefix, from: next, limit: 1, revision: page) }
                #expect(error?.code == .outOfRange)
                #expect(error?.message == "etcdserver: mvcc: required revision has been compacted")
                await client.close()
            }
        }

        @Test("optimistic writes: one revision each, exact conflicts")
        func optimistic() async throws {
            try await withServer { server in
                let client = try server.client()
                let key = "/registry/configmaps/default/a"
                let created = try await client.optimisticPut(key, Data("1".utf8), expected: 0, getOnFailure: false)
                #expect(created.succeeded && created.responses.count == 1)
                let revision = created.header.revision
                #expect(try await client.get(key).kvs.first?.modRevision == revision)

                let again = try await client.optimisticPut(key, Data("2".utf8), expected: 0, getOnFailure: false)
                #expect(!again.succeeded && again.responses.isEmpty && again.header.revision == revision)

                let stale = try await client.optimisticPut(key, Data("2".utf8), expected: 77, getOnFailure: true)
                #expect(!stale.succeeded)
                #expect(stale.responses.first?.responseRange.kvs.first?.modRevision == revision)

                let updated = try await client.optimisticPut(
                    key, Data("2".utf8), expected: revision, getOnFailure: true)
                #expect(updated.succeeded && updated.header.revision == revision + 1)

                let wrong = try await client.optimisticDelete(key, expected: revision)
                #expect(!wrong.succeeded && wrong.responses[0].responseRange.kvs[0].value == Data("2".utf8))
                let deleted = try await client.optimisticDelete(key, expected: revision + 1)
                #expect(deleted.succeeded && deleted.header.revision == revision + 2)
                let gone = try await client.optimisticDelete(key, expected: revision + 2)
                #expect(!gone.succeeded && gone.responses[0].responseRange.kvs.isEmpty)
                #expect(gone.header.revision == revision + 2)
                await client.close()
            }
        }

        @Test("guaranteed updates by many clients lose nothing")
        func counter() async throws {
            try await withServer { server in
                let clients = try (0..<4).map { _ in try server.client() }
                let key = "/registry/counters/one"
                try await clients[0].put(key, "0")
                let start = try await clients[0].get(key).header.revision
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<8 {
                        let client = clients[number % 4]
                        group.addTask {
                            for _ in 0..<50 { try await Self.increment(key, client) }
                        }
                    }
                    try await group.waitForAll()
                }
                let end = try await clients[0].get(key)
                #expect(end.kvs[0].value == Data("400".utf8))
                #expect(end.header.revision == start + 400)
                #expect(end.kvs[0].version == 401)
                for client in clients { await client.close() }
            }
        }

        private static func increment(_ key: String, _ client: EtcdClient) async throws {
            var known = try await client.get(key).kvs[0]
            while true {
                let value = (Int(String(decoding: known.value, as: UTF8.self)) ?? 0) + 1
                let answer = try await client.optimisticPut(
                    key, Data(String(value).utf8), expected: known.modRevision, getOnFailure: true)
                if answer.succeeded { return }
                known = answer.responses[0].responseRange.kvs[0]
            }
        }

        @Test("the compaction election has one winner each time")
        func election() async throws {
            try await withServer { server in
                let client = try server.client()
                for version in Int64(0)..<5 {
                    var winners = 0
                    for _ in 0..<3 {
                        var request = Etcdserverpb_TxnRequest()
                        var compare = Etcdserverpb_Compare()
                        compare.key = Data("compact_rev_key".utf8)
                        compare.target = .version
                        compare.version = version
                        request.compare = [compare]
                        var put = Etcdserverpb_RequestOp()
                        put.requestPut.key = compare.key
                        put.requestPut.value = Data("\(version)".utf8)
                        request.success = [put]
                        var get = Etcdserverpb_RequestOp()
                        get.requestRange.key = compare.key
                        request.failure = [get]
                        let answer = try await client.txn(request)
                        if answer.succeeded {
                            winners += 1
                        } else {
                            #expect(answer.responses[0].responseRange.kvs[0].version == version + 1)
                        }
                    }
                    #expect(winners == 1)
                }
                await client.close()
            }
        }

        private static func text(_ error: ClientError?) -> String {
            error.map { "\($0.code.rawValue) \($0.message)" } ?? "OK"
        }

        /// etcd answers these before anything is written; so must we, to the letter.
        @Test("limits and their errors are etcd's")
        func limits() async throws {
            try await withBothServers { martlet, etcd in
                var answers: [[String]] = []
                for server in [etcd, martlet] {
                    let client = try server.client()
                    var lines: [String] = []
                    for bytes in [1_572_000, 1_572_863, 1_572_864, 1_600_000, 2_097_000, 2_200_000, 4_000_000] {
                        let error = await failure { try await client.put("big", Data(count: bytes)) }
                        lines.append("\(bytes) bytes: " + Self.text(error))
                    }
                    for count in [127, 128, 129] {
                        var request = Etcdserverpb_TxnRequest()
                        for number in 0..<count {
                            var put = Etcdserverpb_RequestOp()
                            put.requestPut.key = Data("t\(number)".utf8)
                            request.success.append(put)
                        }
                        let error = await failure { _ = try await client.txn(request) }
                        lines.append("\(count) operations: " + Self.text(error))
                    }
                    for ttl in [Int64.min, -1, 0, 1, 9_000_000_000, 9_000_000_001, .max] {
                        var request = Etcdserverpb_LeaseGrantRequest()
                        request.ttl = ttl
                        let error = await failure { lines.append("\(try await client.leaseGrant(request).ttl)") }
                        lines.append("TTL \(ttl): " + Self.text(error))
                    }
                    answers.append(lines)
                    await client.close()
                }
                #expect(answers[1] == answers[0])
            }
        }
    }
}
