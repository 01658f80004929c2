import Client
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// Defragment gives disk space back while the server goes on, and whatever happens meanwhile.
    @Suite("defragment") struct Defragment {
        private static func storeBytes(_ server: TestServer) -> Int64 {
            var about = stat()
            guard stat(server.folder.path("data/store/data.mdb"), &about) == 0 else { return -1 }
            return Int64(about.st_blocks) * 512
        }

        @Test("the size falls after compaction and defragment, on disk and in every number")
        func size() async throws {
            try await withServer(.martlet) { server in
                let client = try server.client()
                let value = Data(repeating: 1, count: 60_000)
                var revision: Int64 = 0
                for number in 0..<400 { revision = try await client.put("/d/\(number % 20)", value) }
                // What waits is persisted first, and what is compacted removed, but a defragment does not wait for ever.
                try await eventually("the file has grown") {
                    _ = try await client.defragment()
                    let full = try await client.status()
                    return full.dbSize > 24_000_000 && full.dbSizeInUse > 24_000_000
                }
                try await client.compact(revision)
                try await eventually("the file is small") {
                    _ = try await client.defragment()
                    let small = try await client.status()
                    return small.dbSizeInUse < 2_000_000 && small.dbSize < 3_000_000
                }
                #expect(Self.storeBytes(server) < 3_000_000)
                let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
                let line = page.split(separator: "\n").first { $0.hasPrefix("etcd_mvcc_db_total_size_in_bytes ") }
                let told = try #require(line?.split(separator: " ").last.flatMap { Double($0) })
                #expect(told < 3_000_000)
                for number in 0..<20 { #expect(try await client.get("/d/\(number)").kvs.first?.value == value) }
                await client.close()
            }
        }

        @Test("kill -9 at any moment of it loses nothing")
        func kill() async throws {
            let server = try TestServer(.martlet)
            var random = PRNG(seed: 20_261_123)
            var ledger = Ledger()
            do {
                var round = 0
                // More rounds where the disk is slow: there is to be something that could be lost.
                while round < 8 || ledger.acknowledgedCount <= 40 {
                    try await server.start()
                    try await ledger.check(server)
                    let client = try server.client(timeoutSeconds: 1)
                    let compacting = Task { await Self.compactAndDefragment(client) }
                    let end = ContinuousClock.now + .milliseconds(random.next(in: 100..<600))
                    let killing = Task {
                        try? await Task.sleep(until: end)
                        await server.killHard()
                    }
                    await ledger.write(client)
                    round += 1
                    await killing.value
                    await compacting.value
                    await client.close()
                }
                try await server.start()
                try await ledger.check(server)
            } catch {
                let tail = server.logTail
                await server.discard()
                throw TestFailure("\(error)\n\(tail)")
            }
            await server.discard()
        }

        @Test(
            "a full disk: compaction and defragment make the room that writes go on in",
            .enabled("a file system cannot be mounted here") { try await SmallDisk.isPermitted() })
        func fullDisk() async throws {
            // Two segments of the log, and a store that is full before the third can be reserved.
            try await SmallDisk.withServer(megabytes: 224) { server, _ in try await Self.fillAndEmpty(server) }
        }

        private static func fillAndEmpty(_ server: TestServer) async throws {
            let client = try server.client()
            let value = Data(repeating: 2, count: 100_000)
            var refusal: ClientError?
            var acknowledged = 0
            while refusal == nil {
                refusal = await failure { try await client.put("/f/\(acknowledged % 10)", value) }
                if refusal == nil { acknowledged += 1 }
            }
            #expect(refusal?.message == "etcdserver: mvcc: database space exceeded")
            #expect(acknowledged > 300 && server.isRunning)
            let revision = try await client.status().header.revision
            #expect(revision == Int64(acknowledged) + 1)
            try await client.compact(revision, isPhysical: true)
            _ = try await client.defragment()
            #expect(try await client.status().dbSize < 4_000_000)
            try await eventually("writes are taken again") {
                await failure { try await client.put("/f/more", value) } == nil
            }
            for key in 0..<10 { #expect(try await client.get("/f/\(key)").kvs.first?.value == value) }
            await client.close()
            await server.killHard()
            try await server.start()
            let again = try server.client()
            #expect(try await again.list("/f/", countOnly: true).count == 11)
            await again.close()
        }

        /// Over and over, until the server has gone.
        private static func compactAndDefragment(_ client: EtcdClient) async {
            while true {
                do {
                    let revision = try await client.status().header.revision
                    try? await client.compact(revision)
                    _ = try await client.defragment()
                } catch { return }
            }
        }
    }
}

/// What was written under a few keys: every value tells its number, and which were acknowledged.
private struct Ledger {
    private static let keys = 30
    private var sent = 0
    private var acknowledged: [Int: Int] = [:]
    private(set) var acknowledgedCount = 0

    private static func value(_ number: Int) -> Data {
        let head = Data("\(number) ".utf8)
        return head + Data(repeating: UInt8(truncatingIfNeeded: number), count: 3000 + number % 7 * 4000)
    }

    /// Writes until that fails.
    mutating func write(_ client: EtcdClient) async {
        while true {
            sent += 1
            let (key, number) = (sent % Self.keys, sent)
            guard (try? await client.put("/l/\(key)", Self.value(number))) != nil else { return }
            acknowledged[key] = number
            acknowledgedCount += 1
        }
    }

    /// All that was acknowledged is there, as it was written, or what was written over it; and every record can be read.
    func check(_ server: TestServer) async throws {
        let client = try server.client()
        for (key, number) in acknowledged {
            guard let value = try await client.get("/l/\(key)").kvs.first?.value,
                let found = value.split(separator: 0x20).first.flatMap({ Int(String(decoding: $0, as: UTF8.self)) })
            else { throw TestFailure("key \(key) has no value") }
            guard found >= number, found <= sent, found % Self.keys == key, value == Self.value(found) else {
                throw TestFailure("key \(key) has value \(found), and \(number) was acknowledged")
            }
        }
        _ = try await client.hashKV()
        await client.close()
    }
}
