import Client
import Foundation
import Primitives
import SwiftProtobuf
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    /// Clients that misbehave cost little, and nobody else anything.
    @Suite("hostile clients") struct HostileClients {
        @Test("connections that say nothing, half a preface, or nonsense")
        func halfOpen() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("a", "b")
                let descriptors = server.descriptorCount
                let preface = RawCall.preface
                let openings: [[UInt8]] = [
                    [], Array(preface.prefix(10)), preface, preface + [0, 0, 4],
                    Array("GET /health HTTP/1.1\r\nHost".utf8), Array("GET ".utf8),
                    preface + RawCall.frame(type: 4, flags: 0, stream: 0, []),
                    // A frame that announces 16 MiB, a stream of its own number, headers that never end.
                    preface + [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
                    preface + RawCall.frame(type: 1, flags: 0, stream: 1, [0x83]),
                    preface + RawCall.frame(type: 1, flags: 4, stream: 2, [0xff, 0xff, 0xff]),
                    preface + RawCall.frame(type: 0, flags: 0, stream: 7, [1, 2, 3]),
                    [UInt8](repeating: 0x41, count: 70_000),
                ]
                var sockets = try await onThread {
                    try (0..<300).map { number in
                        let socket = try RawSocket(port: server.clientPort)
                        // The server may have closed before all of it is sent.
                        try? socket.send(openings[number % openings.count])
                        return socket
                    }
                }
                #expect(sockets.count == 300)
                for number in 0..<200 { try await client.put("a", "\(number)") }
                sockets = []
                try await eventually("the connections are gone") { server.descriptorCount <= descriptors + 2 }
                #expect(try await client.get("a").kvs[0].value == Data("199".utf8))
                await client.close()
            }
        }

        @Test("malformed requests are refused, the connection lives")
        func malformed() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("a", "b")
                for (path, message) in [
                    ("/etcdserverpb.KV/Range", Data([0x0a, 0xff, 0xff])), ("/etcdserverpb.KV/Put", Data([0xff])),
                    ("/etcdserverpb.KV/Txn", Data([0x12, 0x05, 1])), ("/etcdserverpb.KV/Nothing", Data()),
                    ("/etcdserverpb.Lease/LeaseGrant", Data([0x08])), ("/nonsense", Data()),
                    ("/etcdserverpb.KV/Compact", Data([0x0a])), ("/etcdserverpb.KV/DeleteRange", Data([0x0a, 0x7f])),
                    ("/etcdserverpb.Maintenance/HashKV", Data([0x0a])),
                ] {
                    _ = try await onThread {
                        let call = try RawCall(port: server.clientPort, path: path, message: message)
                        try call.halfClose()
                        return try call.drain()
                    }
                }
                #expect(try await client.get("a").header.revision == 2)
                await client.close()
            }
        }

        @Test("watchers that do not read: bounded memory, nobody else waits")
        func slowReaders() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("/big/0", Data(count: 1000))
                var create = Etcdserverpb_WatchRequest()
                create.createRequest = EtcdClient.watchRequest("/big/", from: 0, id: 1)
                let message = try create.serializedData()
                // Their windows are wide open; it is their sockets that nobody reads.
                let calls = try await onThread {
                    try (0..<40).map { _ in
                        try RawCall(
                            port: server.clientPort, path: "/etcdserverpb.Watch/Watch", message: message,
                            receiveBufferBytes: 4096)
                    }
                }
                let quick = try await WatchRecorder(client)
                try await quick.create(EtcdClient.watchRequest("/big/", from: 0, id: 1))
                try await eventually("all watch") {
                    let page = try await HTTPProbe.get(port: server.clientPort, "/metrics").body
                    return page.contains("\netcd_debugging_mvcc_watcher_total 41\n")
                }
                let before = server.memory("RssAnon")
                // 300 MB pass by; the live data stays at 1 MB.
                let value = Data(repeating: 7, count: 100_000)
                for number in 0..<3000 {
                    try await client.put("/big/\(number % 10)", value)
                    if number % 500 == 499 { try await client.compact(Int64(number)) }
                }
                let growth = server.memory("RssAnon") - before
                #expect(growth < 256 << 20, "anonymous memory grew by \(growth >> 20) MiB")
                try await eventually("the quick watcher has everything") { quick.count == 3001 }
                withExtendedLifetime(calls) {}
                await client.close()
            }
        }

        /// etcd holds each answer whole, several times over; ours must not.
        @Test("20 parallel lists of 100 MB grow the memory by at most 64 MiB")
        func parallelLists() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.fill("/list/", count: 25_000, value: Data(repeating: 5, count: 4096))
                var list = Etcdserverpb_RangeRequest()
                list.key = Data("/list/".utf8)
                list.rangeEnd = EtcdClient.prefixEnd("/list/")
                let message = try list.serializedData()
                // The store writes behind: what it holds back until then is not the lists'.
                try await eventually("the writes are persisted") {
                    try await Self.isSettled(server)
                }
                let before = server.memory("RssAnon")
                let peak = Task {
                    var peak = 0
                    while !Task.isCancelled {
                        peak = max(peak, server.memory("RssAnon"))
                        try? await Task.sleep(for: .milliseconds(20))
                    }
                    return peak
                }
                let port = server.clientPort
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<20 {
                        group.addTask {
                            try await onThread {
                                let call = try RawCall(port: port, path: "/etcdserverpb.KV/Range", message: message)
                                try call.halfClose()
                                return try call.drain()
                            }
                        }
                    }
                    for try await bytes in group { #expect(bytes > 25_000 * 4096) }
                }
                peak.cancel()
                let growth = await peak.value - before
                #expect(growth <= 64 << 20, "anonymous memory grew by \(growth >> 20) MiB")
                await client.close()
            }
        }

        /// Whether the process's memory has stopped changing.
        private static func isSettled(_ server: TestServer) async throws -> Bool {
            let first = server.memory("RssAnon")
            try await Task.sleep(for: .seconds(2))
            return abs(server.memory("RssAnon") - first) < 1 << 20
        }

        @Test("SIGTERM lets what runs finish, and ends in time with watches open")
        func drain() async throws {
            let server = try await TestServer.started(.martlet)
            let journal = Journal()
            let client = try server.client()
            let recorder = try await WatchRecorder(client)
            try await recorder.create(EtcdClient.watchRequest("k", from: 1, id: 1))
            let writing = Task { try await Writers(journal: journal, server: server).run(seed: 1) }
            try await eventually("the writers are at work") { journal.acknowledgedCount > 20 }
            let status = await server.terminate()
            #expect(status == 0 || status == 128 + SIGTERM, "\(server.logTail)")
            writing.cancel()
            try await writing.value
            try await eventually("the watch has ended") { recorder.hasEnded }
            try await server.start()
            var checker = HistoryChecker(journal: journal)
            var random = PRNG(seed: 1)
            try await checker.check(server, full: true, random: &random)
            await client.close()
            await server.discard()
        }
    }
}
