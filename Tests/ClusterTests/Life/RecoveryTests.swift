import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ClusterTests {
    @Suite("recovery", .besideOthers) struct Recovery {
        @Test("--force-new-cluster makes one member the whole cluster, and others can join it")
        func forceNewCluster() async throws {
            try await withCluster(3) { cluster in
                try await surely {
                    try await cluster[0].client.fill("f/", count: 300, value: Data(repeating: 5, count: 300))
                }
                try await cluster.waitUntilEqual()
                let survivor = cluster[1]
                for member in cluster.members { await member.server.killHard() }
                for member in cluster.members where member !== survivor { await cluster.forget(member) }
                try survivor.server.launch(["--force-new-cluster"])
                try await survivor.server.waitUntilServing()
                #expect(try await survivor.client.memberList().members.map(\.name) == [survivor.name])
                #expect(try await survivor.client.list("f/", countOnly: true).count == 300)
                try await surely { try await survivor.client.put("f/alone", "1") }
                // The next start is an ordinary one.
                await survivor.server.killHard()
                try await survivor.server.start()
                let newcomer = try await cluster.newcomer()
                try await cluster.add(newcomer, through: survivor)
                try await newcomer.server.start()
                try await surely { try await newcomer.client.put("f/together", "1") }
                #expect(try await newcomer.client.list("f/", countOnly: true).count == 302)
                try await cluster.waitUntilEqual()
            }
        }

        @Test("a member that was away while the log was cut catches up by a snapshot")
        func snapshotCatchUp() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                let away = followers[0]
                try await surely { try await leader.client.put("before", "1") }
                await away.server.killHard()
                // More than the 256 MiB of log that are kept, and the segments that are not full.
                let client = cluster.client([leader], timeoutSeconds: 30)
                let value = Data(repeating: 0x5a, count: 1 << 20)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for writer in 0..<4 {
                        group.addTask {
                            for number in 0..<120 {
                                // A disk that is busy with so much may move leadership.
                                try await eventually("a write is taken") {
                                    (try? await client.put("big/\(writer)/\(number % 4)", value)) != nil
                                }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                try await client.compact(try await client.get("before").header.revision)
                let first = try await surely { try await client.put("after", "1") }
                await client.close()
                try away.server.launch()
                try await away.waitUntilAnswering()
                // Reads that wait for the entries which only the snapshot brings: they hold the restart with it up, while
                // the leader offers another snapshot.
                let patient = cluster.client([away], timeoutSeconds: 60)
                let reads = Task {
                    await withTaskGroup { group in
                        for _ in 0..<4 { group.addTask { _ = try? await patient.get("after") } }
                    }
                }
                try await eventually("the member has caught up") {
                    guard away.isRunning else { throw TestFailure("the member ended") }
                    return (try? await away.localValue("after")) == "1"
                }
                await reads.value
                await patient.close()
                try await away.server.waitUntilServing()
                #expect(away.server.logText.contains("installing a snapshot"), "the log was not cut")
                let (next, attempts) = try await counted { try await away.client.put("from it", "1") }
                #expect(next == first + 1 || attempts > 1)
                #expect(try await away.client.list("big/", countOnly: true).count == 16)
                try await cluster.waitUntilEqual()
                // The leader knows by now where the member is: what follows comes by the log.
                let offers = away.server.logText.components(separatedBy: "receiving a snapshot").count
                for number in 0..<3 {
                    try await surely { try await leader.client.put("one more", "\(number)") }
                    try await cluster.waitUntilEqual()
                }
                #expect(away.server.logText.components(separatedBy: "receiving a snapshot").count == offers)
                // It restarts from what it installed.
                await away.server.killHard()
                try await away.server.start()
                try await cluster.waitUntilEqual()
            }
        }

        /// Two histories of one cluster, grown apart from the same founding, and one member with the wrong one: nothing in
        /// its log or on its disk is damaged.
        @Test("a member with another state raises CORRUPT, refuses service, and is replaced")
        func otherHistory() async throws {
            let cluster = try await TestCluster(3)
            do {
                try await checkOtherHistory(cluster)
            } catch {
                let tails = cluster.logTails
                await cluster.stop()
                throw TestFailure("\(error)\n\(tails)")
            }
            await cluster.discard()
        }

        private func checkOtherHistory(_ cluster: TestCluster) async throws {
            let stray = cluster[2]
            let kept = stray.server.folder.path("other-history")
            let term = try await history("a", cluster)
            try FileManager.default.moveItem(atPath: stray.dataDirectory, toPath: kept)
            // The last entries of both histories have to be of one term, as if they were the same.
            var tries = 0
            repeat {
                tries += 1
                guard tries <= 10 else { throw TestFailure("no second history with term \(term)") }
                for member in cluster.members where FileManager.default.fileExists(atPath: member.dataDirectory) {
                    try member.wipe()
                }
            } while try await history("b", cluster) != term
            try stray.wipe()
            try FileManager.default.moveItem(atPath: kept, toPath: stray.dataDirectory)
            try cluster.launchAll()
            try await cluster.waitUntilServing()
            #expect(try await stray.localValue("h/0") == "a")
            #expect(try await cluster[0].localValue("h/0") == "b")

            let id = try await stray.id()
            let client = cluster.client(Array(cluster.members.prefix(2)))
            var query = Etcdserverpb_AlarmRequest()
            query.action = .get
            let get = query
            // Members compare at every 256th entry.
            try await eventually("the alarm is raised") {
                // While the leader hands over a write may fail.
                for number in 0..<50 { _ = try? await client.put("more", "\(number)") }
                return (try? await client.alarm(get))?.alarms.contains { $0.alarm == .corrupt } ?? false
            }
            #expect(try await client.alarm(get).alarms.map(\.memberID) == [id])
            let refused = ClientError(.dataLoss, "etcdserver: corrupt cluster")
            try await eventually("the member refuses writes") {
                await failure { try await stray.client.put("k", "v") } == refused
            }
            #expect(await failure { _ = try await stray.client.get("k") } == refused)
            // It still tells of the alarm, and of why.
            #expect(try await stray.client.alarm(get).alarms.map(\.memberID) == [id])
            try await eventually("it says why") {
                stray.server.logText.contains("the state of this member differs from the others'")
            }
            // The others serve, whoever led.
            try await eventually("another one leads") { try await cluster.leader().name != stray.name }
            for other in cluster.members.prefix(2) {
                try await eventually("\(other.name) serves") { (try? await other.client.put("k", "v")) != nil }
                #expect(try await other.client.alarm(get).alarms.map(\.memberID) == [id])
            }

            try await cluster.remove(String(id, radix: 16), through: cluster[0])
            await cluster.forget(stray)
            // The alarm has gone with it.
            #expect(try await client.alarm(get).alarms.isEmpty)
            try await surely { try await client.put("without it", "1") }
            await client.close()
            let newcomer = try await cluster.newcomer()
            try await cluster.add(newcomer, through: cluster[0])
            try await newcomer.server.start()
            try await surely { try await newcomer.client.put("together", "1") }
            try await cluster.waitUntilEqual()
        }

        /// Founds the cluster, writes until every log ends at the same index, and ends all members. Returns the term.
        private func history(_ value: String, _ cluster: TestCluster) async throws -> UInt64 {
            for _ in 0..<5 {
                if let term = try await attempt(value, cluster) { return term }
                for member in cluster.members where FileManager.default.fileExists(atPath: member.dataDirectory) {
                    try member.wipe()
                }
            }
            throw TestFailure("no history with logs of one length")
        }

        /// Nil when a change of leader made the logs longer than wanted.
        private func attempt(_ value: String, _ cluster: TestCluster) async throws -> UInt64? {
            let end: UInt64 = 60
            try cluster.launchAll()
            try await cluster.waitUntilServing()
            let leader = try await cluster.leader()
            // All members have told their names by then: nobody else writes.
            try await eventually("every member is known by name") {
                try await leader.client.memberList().members.allSatisfy { !$0.clientUrls.isEmpty }
            }
            var number = 0
            while try await leader.client.status().raftIndex < end {
                try await surely { try await leader.client.put("h/\(number)", value) }
                number += 1
            }
            var isEven = true
            for member in cluster.members where isEven {
                try await eventually("\(member.name) is at \(end)") {
                    guard let status = await member.status() else { return false }
                    isEven = status.raftIndex <= end
                    return status.raftAppliedIndex == end || !isEven
                }
            }
            let term = isEven ? try await leader.client.status().raftTerm : nil
            for member in cluster.members { member.server.signal(SIGKILL) }
            for member in cluster.members { await member.server.killHard() }
            return term
        }
    }
}
