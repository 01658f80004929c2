import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    /// No space left, by quota and by disk: writes are refused, reads go on, and room that is made is used.
    @Suite("full store") struct FullStore {
        @Test("the quota's alarm: refused writes, and an end of it without an operator")
        func quota() async throws {
            try await withServer(.martlet, ["--quota-backend-bytes", String(16 << 20)]) { server in
                let client = try server.client()
                let value = Data(repeating: 1, count: 500_000)
                var refusal: ClientError?
                for number in 0..<200 where refusal == nil {
                    refusal = await failure { try await client.put("/q/\(number)", value) }
                }
                #expect(refusal?.code == .resourceExhausted)
                #expect(refusal?.message == "etcdserver: mvcc: database space exceeded")
                try await eventually("the alarm") {
                    try await server.etcdctl(["alarm", "list"]).output.contains("alarm:NOSPACE")
                }
                let health = try await HTTPProbe.get(port: server.clientPort, "/health")
                #expect(health.status == 503 && health.body.contains("ALARM NOSPACE"))
                #expect(try await HTTPProbe.get(port: server.clientPort, "/health?exclude=NOSPACE").status == 200)
                #expect(try await HTTPProbe.get(port: server.clientPort, "/livez").status == 200)
                // What does not grow the store goes on.
                #expect(try await client.get("/q/0").kvs.count == 1)
                var grant = Etcdserverpb_LeaseGrantRequest()
                grant.ttl = 100
                let request = grant
                #expect(await failure { _ = try await client.leaseGrant(request) }?.code == .resourceExhausted)
                let small = await failure { try await client.put("/q/small", "x") }
                #expect(small?.message == "etcdserver: mvcc: database space exceeded")

                var deletion = Etcdserverpb_DeleteRangeRequest()
                deletion.key = Data("/q/".utf8)
                deletion.rangeEnd = EtcdClient.prefixEnd("/q/")
                let deleted = try await client.deleteRange(deletion)
                #expect(deleted.deleted > 10)
                try await client.compact(deleted.header.revision)
                try await eventually("the alarm clears by itself") {
                    try await server.etcdctl(["alarm", "list"]).output.isEmpty
                }
                for number in 0..<10 { try await client.put("/q/again\(number)", value) }
                #expect(try await HTTPProbe.get(port: server.clientPort, "/health").status == 200)
                await client.close()
            }
        }

        @Test(
            "a full disk: writes are refused, reads go on, room is used again",
            .enabled("a file system cannot be mounted here") { try await SmallDisk.isPermitted() })
        func disk() async throws {
            try await SmallDisk.withServer(megabytes: 320) { server, disk in try await fillDisk(server, disk.folder) }
        }

        private func fillDisk(_ server: TestServer, _ mount: TemporaryFolder) async throws {
            let client = try server.client()
            try await client.put("first", "x")
            var acknowledged = 0
            // A ballast takes what is left, except a little.
            let ballast = mount.path("ballast")
            _ = try await Shell.run(["sh", "-c", "head -c 400M /dev/zero > '\(ballast)'; truncate -s -4M '\(ballast)'"])
            var refusal: ClientError?
            for number in 0..<2000 where refusal == nil {
                refusal = await failure { try await client.put("/disk/\(number)", Data(count: 200_000)) }
                if refusal == nil { acknowledged += 1 }
            }
            #expect(refusal?.code == .resourceExhausted, "\(refusal.debugDescription)")
            #expect(server.isRunning)
            // Reads and deletes of nothing go on, for as long as the disk is full.
            for _ in 0..<10 {
                #expect(try await client.get("first").kvs.count == 1)
                _ = await failure { try await client.put("more", Data(count: 100_000)) }
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(server.isRunning)
            #expect(try await client.list("/disk/", countOnly: true).count >= Int64(acknowledged))
            try FileManager.default.removeItem(atPath: ballast)
            try await eventually("writes are taken again") {
                await failure { try await client.put("recovered", "x") } == nil
            }
            await client.close()
            // All of it is there after a crash, too.
            await server.killHard()
            try await server.start()
            let again = try server.client()
            #expect(try await again.list("/disk/", countOnly: true).count >= Int64(acknowledged))
            #expect(try await again.get("recovered").kvs.count == 1)
            await again.close()
        }
    }
}
