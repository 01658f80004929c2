import Foundation
import TestSupport
import Testing

extension ClusterTests {
    @Suite("disks") struct Disks {
        /// Only root may freeze a file system; `make test` and CI run as root.
        @Test(
            "a leader whose disk stalls lets another one lead, and comes back", .alone,
            .enabled(if: TestDisk.isAvailable, "freezing a file system needs root"))
        func stalledLeader() async throws {
            try await withCluster(3, hasDisks: true) { cluster in
                try await inSomeRounds {
                    let (leader, followers) = try await cluster.roles()
                    let writing = GapWriter(cluster, through: followers)
                    try await writing.waitUntilWriting()
                    try await leader.disk?.freeze()
                    // Nothing of this waits until the disk is thawed.
                    _ = try await cluster.leader(among: followers)
                    try await writing.waitUntilWriting()
                    try await Task.sleep(for: .seconds(2))
                    let health = try? await HTTPProbe.get(
                        port: leader.server.clientPort, "/version", timeoutSeconds: 30)
                    let gap = await writing.stop()
                    try await leader.disk?.thaw()
                    #expect(health?.status == 200, "the member waits for its disk with all it does")
                    try await cluster.waitUntilEqual()
                    return gap < TestCluster.electionTimeout * 4
                        ? nil : "nobody could write for \(gap) while the disk of \(leader.name) stalled"
                }
            }
        }

        @Test(
            "a member whose disk is full stays, and catches up when there is room", .besideOthers,
            .enabled(if: TestDisk.isAvailable, "filling a file system needs root"))
        func fullDisk() async throws {
            try await withCluster(3, hasDisks: true) { cluster in
                let (leader, followers) = try await cluster.roles()
                let full = followers[0]
                try await full.disk?.fill()
                let value = Data(repeating: 0x66, count: 1 << 20)
                for number in 0..<100 {
                    // The others' disks share the machine's: a member that is behind with its store takes less.
                    try await eventually("a write is taken") {
                        (try? await leader.client.put("f/\(number % 10)", value)) != nil
                    }
                }
                guard full.isRunning else { throw TestFailure("\(full.name) has ended on a full disk") }
                // The others do not wait for it.
                try await eventually("the disk is full") {
                    full.server.logText.contains("disk of the log is full")
                }
                try await full.disk?.relieve()
                try await cluster.waitUntilEqual()
                // It takes writes again once its store has caught up with its log.
                try await eventually("the member takes writes") {
                    (try? await full.client.put("f/again", "1")) != nil
                }
            }
        }
    }
}
