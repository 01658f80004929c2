import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ClusterTests {
    @Suite("leadership") struct Leadership {
        @Test("MoveLeader moves it, and refuses as etcd does", .besideOthers)
        func moveLeader() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                let target = try await followers[0].id()
                let atFollower = await failure { _ = try await followers[1].client.moveLeader(to: target) }
                #expect(atFollower == ClientError(.failedPrecondition, "etcdserver: not leader"))
                let toNobody = await failure { _ = try await leader.client.moveLeader(to: 1234) }
                #expect(toNobody == ClientError(.failedPrecondition, "etcdserver: bad leader transferee"))
                let hex = try await followers[0].hexID()
                let moved = try await leader.etcdctlOutput("move-leader \(hex)")
                #expect(moved.contains("Leadership transferred"))
                #expect(try await cluster.leader() === followers[0])
                try await leader.client.put("after", "1")
                let again = await failure { _ = try await followers[0].client.moveLeader(to: target) }
                #expect(again == nil)
            }
        }

        @Test("SIGTERM on the leader hands leadership over before it stops answering", .alone)
        func handOver() async throws {
            // Long elections, so that only a hand-over explains a short gap.
            try await withCluster(3, ["--election-timeout", "5000"]) { cluster in
                let (leader, followers) = try await cluster.roles()
                let writing = GapWriter(cluster, through: followers)
                try await Task.sleep(for: .milliseconds(500))
                let status = await leader.server.terminate()
                #expect(status == 0 || status == 128 + SIGTERM)
                try await Task.sleep(for: .seconds(1))
                let gap = await writing.stop()
                #expect(gap < .seconds(2), "nobody could write for \(gap)")
                try await leader.server.start()
                try await cluster.waitUntilEqual()
            }
        }

        @Test("after kill -9 of the leader another one leads within two election timeouts", .alone)
        func killedLeader() async throws {
            try await withCluster(3) { cluster in
                for _ in 0..<2 {
                    let (leader, followers) = try await cluster.roles()
                    let writing = GapWriter(cluster, through: followers)
                    try await Task.sleep(for: .milliseconds(300))
                    await leader.server.killHard()
                    try await Task.sleep(for: .seconds(3))
                    let gap = await writing.stop()
                    guard gap < TestCluster.electionTimeout * 4 else {
                        throw TestFailure("nobody could write for \(gap) after \(leader.name) was killed")
                    }
                    try await leader.server.start()
                    try await cluster.waitUntilEqual()
                }
            }
        }
    }
}
