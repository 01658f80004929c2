import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ClusterTests {
    @Suite("leases", .besideOthers) struct Leases {
        @Test("a change of leader does not shorten a lease, and it expires once")
        func leaderChange() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                let client = cluster.client(followers)
                var grant = Etcdserverpb_LeaseGrantRequest()
                grant.ttl = 4
                let asked = ContinuousClock.now
                let lease = try await surely { try await client.leaseGrant(grant).id }
                let granted = ContinuousClock.now
                try await surely { try await client.put("leased", Data("v".utf8), lease: lease) }
                let watch = try await client.watch(EtcdClient.watchRequest("leased", from: 1))
                try await Task.sleep(for: .seconds(2))
                await leader.server.killHard()
                let successor = try await cluster.leader(among: followers)
                var ask = Etcdserverpb_LeaseTimeToLiveRequest()
                ask.id = lease
                let left = try await successor.client.leaseTimeToLive(ask)
                // Whole seconds are told, and none of a lease that is over.
                let sum = (ContinuousClock.now - asked) + .seconds(max(0, left.ttl) + 1)
                #expect(sum >= .seconds(4), "\(left.ttl) of \(left.grantedTtl) seconds are left")
                #expect(left.grantedTtl == 4 || left.ttl == -1)
                try await leader.server.start()
                var deletions: [Int64] = []
                var iterator = watch.makeAsyncIterator()
                while deletions.isEmpty, let response = try await iterator.nextMessage() {
                    deletions += response.events.filter { $0.type == .delete }.map(\.kv.modRevision)
                }
                let lived = ContinuousClock.now - granted
                #expect(lived >= .seconds(4), "a lease of 4 seconds lived for \(lived)")
                #expect(lived < .seconds(60), "a lease of 4 seconds lived for \(lived)")
                #expect(deletions.count == 1)
                let (marker, attempts) = try await counted { try await client.put("marker", "1") }
                #expect(marker == deletions[0] + 1 || attempts > 1, "something else was written when the lease expired")
                try await eventually("no lease is left") { try await client.leaseLeases().leases.isEmpty }
                watch.cancel()
                await client.close()
                try await cluster.waitUntilEqual()
            }
        }

        /// The leader hangs with its connections open, until the answer is there: another one leads, and is asked.
        @Test("a lease is kept alive through a follower whose leader hangs")
        func keepAliveWhileTheLeaderHangs() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                var grant = Etcdserverpb_LeaseGrantRequest()
                grant.ttl = 30
                let lease = try await surely { try await followers[0].client.leaseGrant(grant).id }
                let stream = try await followers[0].client.leaseKeepAliveStream()
                var iterator = stream.makeAsyncIterator()
                var renewal = Etcdserverpb_LeaseKeepAliveRequest()
                renewal.id = lease
                try await stream.send(renewal)
                #expect(try await iterator.nextMessage()?.ttl == 30)
                leader.server.signal(SIGSTOP)
                defer { leader.server.signal(SIGCONT) }
                try await stream.send(renewal)
                #expect(try await iterator.nextMessage()?.ttl == 30)
                stream.cancel()
            }
        }

        @Test("a lease is kept alive through a follower, and told of there")
        func keepAliveAtFollower() async throws {
            try await withCluster(3) { cluster in
                let (_, followers) = try await cluster.roles()
                var lease: Int64 = 0
                try await inSomeRounds {
                    lease = try await surely { try await followers[0].client.leaseGrant(Self.shortGrant).id }
                    return try await keepAlive(lease, followers)
                }
                var ask = Etcdserverpb_LeaseTimeToLiveRequest()
                ask.id = lease
                try await eventually("it expires without renewals") {
                    try await followers[1].client.get("alive").count == 0
                }
                try await eventually("nobody knows of it") {
                    try await followers[1].client.leaseTimeToLive(ask).ttl == -1
                }
            }
        }

        private static var shortGrant: Etcdserverpb_LeaseGrantRequest {
            var grant = Etcdserverpb_LeaseGrantRequest()
            grant.ttl = 2
            return grant
        }

        /// Keeps the lease of two seconds for five. Nothing is wrong with a lease that ends when it was not renewed in time,
        /// because the machine has stopped somebody: that is what is returned.
        private func keepAlive(_ lease: Int64, _ followers: [TestMember]) async throws -> String? {
            var renewed = ContinuousClock.now
            try await surely { try await followers[0].client.put("alive", Data("v".utf8), lease: lease) }
            let stream = try await followers[1].client.leaseKeepAliveStream()
            defer { stream.cancel() }
            var iterator = stream.makeAsyncIterator()
            var renewal = Etcdserverpb_LeaseKeepAliveRequest()
            renewal.id = lease
            func isLate() -> Bool { ContinuousClock.now - renewed >= .seconds(2) }
            for _ in 0..<5 {
                let begin = ContinuousClock.now
                try await stream.send(renewal)
                let ttl = try await iterator.nextMessage()?.ttl
                if isLate() { return "renewed too late" }
                #expect(ttl == 2)
                renewed = begin
                try await Task.sleep(for: .seconds(1))
            }
            let count = try await followers[0].client.get("alive").count
            var ask = Etcdserverpb_LeaseTimeToLiveRequest()
            ask.id = lease
            ask.keys = true
            let told = try await followers[0].client.leaseTimeToLive(ask)
            if isLate() { return "asked too late" }
            #expect(count == 1 && told.grantedTtl == 2 && told.keys == [Data("alive".utf8)])
            return nil
        }

        @Test(
            "a lease that another member has granted is known to a leader whose disk is slow",
            .enabled("needs a C compiler") { await SlowDisk.isAvailable })
        func renewalBeforeItsLeaderHasApplied() async throws {
            try await withCluster(3, hasSlowDisks: true) { cluster in
                let (leader, followers) = try await cluster.roles()
                try leader.slowDisk?.set(sync: TestCluster.electionTimeout / 2)
                for _ in 0..<4 {
                    var grant = Etcdserverpb_LeaseGrantRequest()
                    grant.ttl = 60
                    var renewal = Etcdserverpb_LeaseKeepAliveRequest()
                    renewal.id = try await surely { try await followers[0].client.leaseGrant(grant).id }
                    let stream = try await followers[0].client.leaseKeepAliveStream()
                    try await stream.send(renewal)
                    var iterator = stream.makeAsyncIterator()
                    #expect(try await iterator.nextMessage()?.ttl == 60)
                    stream.cancel()
                }
                try leader.slowDisk?.reset()
                try await cluster.waitUntilEqual()
            }
        }

        @Test("a leader that was stopped, and does not know of the next one, promises nothing")
        func renewalAtOldLeader() async throws {
            try await withCluster(3, hasLinks: true) { cluster in
                let (leader, followers) = try await cluster.roles()
                var grant = Etcdserverpb_LeaseGrantRequest()
                grant.ttl = 6
                let lease = try await surely { try await leader.client.leaseGrant(grant).id }
                try await surely { try await leader.client.put("promised", Data("v".utf8), lease: lease) }
                let stream = try await leader.client.leaseKeepAliveStream()
                cluster.links?.set(.silent, between: leader.name, and: cluster.members.map(\.name))
                leader.server.signal(SIGSTOP)
                let successor = try await cluster.leader(among: followers)
                // The lease has run for some time at the next leader, and not run out at the last one.
                try await Task.sleep(for: .seconds(2))
                leader.server.signal(SIGCONT)
                let renewed = ContinuousClock.now
                var renewal = Etcdserverpb_LeaseKeepAliveRequest()
                renewal.id = lease
                try await stream.send(renewal)
                let limit = Task {
                    try? await Task.sleep(for: TestCluster.electionTimeout)
                    stream.cancel()
                }
                var iterator = stream.makeAsyncIterator()
                let promise = (try? await iterator.nextMessage())?.ttl ?? 0
                limit.cancel()
                while ContinuousClock.now < renewed + .seconds(promise) {
                    let isThere = try await successor.client.get("promised").count == 1
                    // What was asked before the time was over and found too late is no evidence.
                    guard isThere || ContinuousClock.now >= renewed + .seconds(promise) else {
                        throw TestFailure("\(leader.name) promised \(promise) s, and the lease has ended before")
                    }
                    try await Task.sleep(for: .milliseconds(50))
                }
                cluster.links?.openAll()
                try await eventually("it ends", within: .seconds(60)) {
                    try await successor.client.get("promised").count == 0
                }
                try await cluster.waitUntilEqual()
            }
        }
    }
}
