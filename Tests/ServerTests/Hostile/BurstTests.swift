import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    @Suite("bursts") struct Bursts {
        @Test("more large values at once than the store holds in memory are all taken")
        func largeValues() async throws {
            let server = try await TestServer.started()
            let client = try server.client(timeoutSeconds: 60)
            let value = Data(repeating: 0x61, count: 1_400_000)
            let count = 160
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<count { group.addTask { try await client.put("burst/\(number)", value) } }
                try await group.waitForAll()
            }
            #expect(try await client.list("burst/", countOnly: true).count == Int64(count))
            await client.close()
            await server.discard()
        }
    }
}
