import Client
import TestSupport
import Testing
import Wire

extension ServerTests {
    @Suite("many leases") struct LeaseStorm {
        /// At 16 a tick, as many as may be pending, these would take twenty seconds.
        @Test("hundreds of leases that run out together end together, however long a heartbeat is")
        func expiryIsNotBoundToTicks() async throws {
            let server = try await TestServer.started(
                .martlet, ["--heartbeat-interval", "500", "--election-timeout", "2500"])
            let client = try server.client()
            let count = 640
            let clock = ContinuousClock()
            let begin = clock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<count {
                    group.addTask {
                        var grant = Etcdserverpb_LeaseGrantRequest()
                        grant.ttl = 5
                        _ = try await client.leaseGrant(grant)
                    }
                }
                try await group.waitForAll()
            }
            let granting = clock.now - begin
            var firstEnd: ContinuousClock.Instant?
            try await eventually("all leases have ended") {
                let left = try await client.leaseLeases().leases.count
                if left < count, firstEnd == nil { firstEnd = clock.now }
                return left == 0
            }
            let spread = clock.now - (firstEnd ?? clock.now)
            #expect(
                spread < granting + .seconds(10),
                "granted within \(granting), the last lease ended \(spread) after the first")
            await client.close()
            await server.discard()
        }
    }
}
