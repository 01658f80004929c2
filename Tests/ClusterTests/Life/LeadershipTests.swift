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
                try await inSomeRounds { try await moveLeader(cluster) }
            }
        }

        /// What went wrong: the lead may move by itself meanwhile.
        private func moveLeader(_ cluster: TestCluster) async throws -> String? {
            let (leader, followers) = try await cluster.roles()
            let target = try await followers[0].id()
            let atFollower = await failure { _ = try await followers[1].client.moveLeader(to: target) }
            guard atFollower == ClientError(.failedPrecondition, "etcdserver: not leader") else {
                return "asked of a follower: \(String(describing: atFollower))"
            }
            let toNobody = await failure { _ = try await leader.client.moveLeader(to: 1234) }
            guard toNobody == ClientError(.failedPrecondition, "etcdserver: bad leader transferee") else {
                return "moved to nobody: \(String(describing: toNobody))"
            }
            let moved = try await leader.etcdctl("move-leader \(try await followers[0].hexID())")
            guard moved.output.contains("Leadership transferred") else { return "etcdctl: \(moved.errors)" }
            guard try await cluster.leader() === followers[0] else { return "another one leads" }
            try await surely { try await leader.client.put("after", "1") }
            let again = await failure { _ = try await followers[0].client.moveLeader(to: target) }
            return again.map { "moved to where it is: \($0)" }
        }

        @Test("SIGTERM on the leader hands leadership over before it stops answering", .alone)
        func handOver() async throws {
            // Long elections, so that only a hand-over explains a short gap.
            try await withCluster(3, ["--election-timeout", "5000"]) { cluster in
                try await inSomeRounds {
                    let (leader, followers) = try await cluster.roles()
                    let writing = GapWriter(cluster, through: followers)
                    try await writing.waitUntilWriting()
                    let status = await leader.server.terminate()
                    #expect(status == 0 || status == 128 + SIGTERM)
                    // Who leads next knew that before the last one was gone.
                    var hasSuccessor = false
                    for follower in followers where !hasSuccessor {
                        let told = await follower.status()
                        hasSuccessor = told.map { $0.leader == $0.header.memberID } ?? false
                    }
                    try await writing.waitUntilWriting()
                    let gap = await writing.stop()
                    try await leader.server.start()
                    try await cluster.waitUntilEqual()
                    guard hasSuccessor else { return "nobody led when \(leader.name) had ended" }
                    return gap < .seconds(2) ? nil : "nobody could write for \(gap)"
                }
            }
        }

        @Test("after kill -9 of the leader another one leads within two election timeouts", .alone)
        func killedLeader() async throws {
            try await withCluster(3) { cluster in
                try await inSomeRounds(2) {
                    let (leader, followers) = try await cluster.roles()
                    let writing = GapWriter(cluster, through: followers)
                    try await writing.waitUntilWriting()
                    await leader.server.killHard()
                    try await writing.waitUntilWriting()
                    // Whoever leads now goes on doing so.
                    try await Task.sleep(for: .seconds(2))
                    let gap = await writing.stop()
                    try await leader.server.start()
                    try await cluster.waitUntilEqual()
                    return gap < TestCluster.electionTimeout * 4
                        ? nil : "nobody could write for \(gap) after \(leader.name) was killed"
                }
            }
        }
    }
}
