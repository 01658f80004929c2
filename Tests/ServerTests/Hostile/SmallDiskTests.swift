import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    /// A whole life on a disk that is no larger than a usual log.
    @Suite("small disk") struct SmallDiskLife {
        private static let keys = 100

        @Test(
            "a disk of 128 MiB is filled with overwrites, emptied by a compaction, and takes writes again, more than once",
            .enabled("a file system cannot be mounted here") { try await SmallDisk.isPermitted() })
        func overwrites() async throws {
            try await SmallDisk.withServer(megabytes: 128) { server, _ in
                var client = try server.client()
                // What every key holds, by the answers.
                var held: [Int: Data] = [:]
                for round in 0..<2 {
                    // The room that a compaction makes comes in parts.
                    var bytes = 0
                    try await eventually("30 MB are taken in round \(round)") {
                        bytes += try await Self.fill(client, round, &held)
                        return bytes > 30_000_000
                    }
                    #expect(server.isRunning)
                    try await Self.check(client, held)
                    let revision = try await client.get("key/0").header.revision
                    try await client.compact(revision)
                }
                try await eventually("writes are taken again") {
                    await failure { try await client.put("key/again", "x") } == nil
                }
                await client.close()
                await server.killHard()
                try await server.start()
                client = try server.client()
                try await Self.check(client, held)
                try await eventually("writes are taken after a restart") {
                    await failure { try await client.put("key/last", "x") } == nil
                }
                await client.close()
            }
        }

        /// Overwrites the keys until the disk is full; returns how many bytes of values were taken.
        private static func fill(_ client: EtcdClient, _ round: Int, _ held: inout [Int: Data]) async throws -> Int {
            var taken = 0
            for number in 0..<2000 {
                let key = number % keys
                let value = Data(repeating: UInt8(truncatingIfNeeded: number + round), count: 200_000)
                let refusal = await failure { try await client.put("key/\(key)", value) }
                if let refusal {
                    #expect(refusal.code == .resourceExhausted, "\(refusal)")
                    return taken
                }
                held[key] = value
                taken += value.count
            }
            throw TestFailure("a disk of 128 MiB took \(taken) bytes")
        }

        private static func check(_ client: EtcdClient, _ held: [Int: Data]) async throws {
            for (key, value) in held {
                #expect(try await client.get("key/\(key)").kvs.first?.value == value, "key \(key) has changed")
            }
        }
    }
}
