import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// Clients that take connections and streams, and do little with them.
    @Suite("connections") struct Connections {
        /// With the descriptors gone, the log could not begin its next segment, and the process would end.
        @Test("idle connections never take the descriptors that the log needs")
        func idle() async throws {
            let begin = ContinuousClock.now
            let server = try TestServer(.martlet, openFilesMax: 256)
            try await server.start()
            let client = try server.client(timeoutSeconds: 60)
            try await client.put("a", "b")
            let port = server.clientPort
            let sockets = try await onThread { try (0..<400).map { _ in try RawSocket(port: port) } }
            try await eventually("the refusal is told") {
                server.logText.contains("connections of clients are not taken")
            }
            // One that is refused holds a descriptor until it is closed.
            try await eventually("enough descriptors are free") { server.descriptorCount < 200 }
            // More than one segment.
            let value = Data(repeating: 1, count: 1 << 20)
            for _ in 0..<70 { try await client.put("large", value) }
            #expect(server.isRunning)
            let told = server.logText.components(separatedBy: "connections of clients are not taken").count - 1
            // Once in ten seconds.
            #expect(told <= 2 + Int((ContinuousClock.now - begin).components.seconds) / 10)
            withExtendedLifetime(sockets) {}
            await client.close()
            await server.discard()
        }

        @Test("thousands of short watches on one connection leave it alive")
        func shortWatches() async throws {
            try await withServer { server in
                let client = try server.client(timeoutSeconds: 60)
                let kept = try await client.watch(EtcdClient.watchRequest("kept", from: 0, id: 1))
                var answers = kept.makeAsyncIterator()
                #expect(try await answers.next()?.created == true)
                for _ in 0..<30 {
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        for number in 0..<100 {
                            tasks.addTask {
                                let watch = try await client.watch(EtcdClient.watchRequest("short", from: 0, id: 1))
                                // Half of them do not even wait for the first answer.
                                var answers = watch.makeAsyncIterator()
                                if number % 2 == 0 { _ = try await answers.next() }
                                watch.cancel()
                            }
                        }
                        try await tasks.waitForAll()
                    }
                }
                try await client.put("kept", "alive")
                #expect(try await answers.next()?.events.first?.kv.value == Data("alive".utf8))
                kept.cancel()
                await client.close()
            }
        }
    }
}
