import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Wire

extension ClusterTests {
    /// Disks that do what they are asked for, but late. See `SlowDisk` for how, and where it is not possible.
    @Suite(
        "slow disks",
        .enabled("needs a C compiler for the library that delays syncs: none of cc, clang, gcc works here") {
            await SlowDisk.isAvailable
        })
    struct SlowDisks {
        private func durations(of count: Int, through member: TestMember) async throws -> [Duration] {
            var result: [Duration] = []
            for number in 0..<count {
                let begin = ContinuousClock.now
                try await surely { try await member.client.put("slow/\(number)", "1") }
                result.append(ContinuousClock.now - begin)
            }
            return result.sorted()
        }

        @Test("a leader with a slow disk leads on, and each write takes as long as the disk does", .besideOthers)
        func slowLeader() async throws {
            try await withCluster(3, hasSlowDisks: true) { cluster in
                for milliseconds in [10, 300] {
                    try await inSomeRounds { try await leadOn(.milliseconds(milliseconds), cluster) }
                }
                try await cluster.waitUntilEqual()
            }
        }

        /// What went wrong while the leader's syncs took so long; nil: nothing.
        private func leadOn(_ sync: Duration, _ cluster: TestCluster) async throws -> String? {
            let (leader, followers) = try await cluster.roles()
            let term = try await leader.client.status().raftTerm
            try leader.slowDisk?.set(sync: sync)
            let durations = try await durations(of: 6, through: leader)
            // They share what the disk does: many at a time take no longer than a few syncs.
            let begin = ContinuousClock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<100 {
                    group.addTask {
                        _ = try await surely { try await leader.client.put("together/\(number)", "1") }
                    }
                }
                try await group.waitForAll()
            }
            let together = ContinuousClock.now - begin
            let status = try await leader.client.status()
            try leader.slowDisk?.reset()
            try await surely { try await followers[0].client.put("after", "1") }
            guard status.leader == status.header.memberID, status.raftTerm == term else { return "leadership moved" }
            #expect(durations[0] >= sync, "a write was answered before the leader's disk had it: \(durations)")
            return together < max(durations[3], .milliseconds(100)) * 20
                ? nil : "\(together) for all, one by one \(durations)"
        }

        @Test("a follower with a slow disk slows nobody down, and catches up", .besideOthers)
        func slowFollower() async throws {
            try await withCluster(3, hasSlowDisks: true) { cluster in
                let delay = Duration.seconds(2)
                try await inSomeRounds {
                    let (leader, followers) = try await cluster.roles()
                    try followers[0].slowDisk?.set(sync: delay, write: .milliseconds(20))
                    let durations = try await durations(of: 30, through: leader)
                    try followers[0].slowDisk?.reset()
                    try await cluster.waitUntilEqual()
                    return durations[15] < delay / 2 ? nil : "writes wait for the slow follower: \(durations)"
                }
            }
        }

        /// Each sync takes several election timeouts, so that the leader is of no use to anybody.
        @Test("a leader whose syncs take longer than an election timeout lets another one lead", .alone)
        func hangingLeader() async throws {
            try await withCluster(3, hasSlowDisks: true) { cluster in
                try await inSomeRounds {
                    let (leader, followers) = try await cluster.roles()
                    let writing = GapWriter(cluster, through: followers)
                    try await writing.waitUntilWriting()
                    try leader.slowDisk?.set(sync: TestCluster.electionTimeout * 8)
                    let successor = try await cluster.leader(among: followers)
                    // It is not given back while the disk is like that.
                    try await Task.sleep(for: TestCluster.electionTimeout * 6)
                    let isGivenBack = try await cluster.leader() === leader
                    let gap = await writing.stop()
                    try leader.slowDisk?.reset()
                    try await surely { try await successor.client.put("after", "1") }
                    try await cluster.waitUntilEqual()
                    if isGivenBack { return "\(leader.name) leads again, with a disk that hangs" }
                    return gap < TestCluster.electionTimeout * 5
                        ? nil : "nobody could write for \(gap) while the disk of \(leader.name) hung"
                }
            }
        }

        @Test("all disks are slow, and a member that is killed in a sync has what it acknowledged", .besideOthers)
        func killedInASync() async throws {
            try await withCluster(3, hasSlowDisks: true) { cluster in
                let client = cluster.client()
                for member in cluster.members { try member.slowDisk?.set(sync: .milliseconds(100)) }
                let answered = NIOLockedValueBox(0)
                let acknowledged = try await withThrowingTaskGroup(of: Int?.self) { group in
                    for number in 0..<40 {
                        group.addTask {
                            try await Task.sleep(for: .milliseconds(number * 25))
                            guard (try? await client.put("sync/\(number)", "1")) != nil else { return nil }
                            answered.withLockedValue { $0 += 1 }
                            return number
                        }
                    }
                    // With some acknowledged, and others in their sync.
                    try await eventually("some are acknowledged") { answered.withLockedValue { $0 } >= 10 }
                    for member in cluster.members { member.server.signal(SIGKILL) }
                    for member in cluster.members { await member.server.killHard() }
                    for member in cluster.members { try member.slowDisk?.reset() }
                    try cluster.launchAll()
                    var acknowledged: [Int] = []
                    for try await case let number? in group { acknowledged.append(number) }
                    return acknowledged
                }
                try await cluster.waitUntilServing()
                let found = Set(try await client.list("sync/").kvs.map { String(decoding: $0.key, as: UTF8.self) })
                let lost = acknowledged.filter { !found.contains("sync/\($0)") }
                #expect(lost.isEmpty, "acknowledged writes are lost")
                #expect(!acknowledged.isEmpty)
                await client.close()
                try await cluster.waitUntilEqual()
            }
        }
    }
}
