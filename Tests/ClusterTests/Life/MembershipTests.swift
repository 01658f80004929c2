import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ClusterTests {
    /// Changes of the membership, with the texts that etcdctl 3.4 shows.
    @Suite("membership", .besideOthers) struct Membership {
        private static let notReady = "etcdserver: can only promote a learner member which is in sync with leader"
        private static let learnerText = "etcdserver: rpc not supported for learner"

        @Test("a learner joins, is promoted, is removed, ends, and stays out")
        func lifeOfALearner() async throws {
            try await withCluster(3) { cluster in
                try await surely {
                    try await cluster[0].client.fill("k/", count: 300, value: Data(repeating: 7, count: 200))
                }
                let newcomer = try await cluster.newcomer()
                let add = "member add \(newcomer.name) --peer-urls=\(newcomer.peerURL)"
                try await cluster.add(newcomer, through: cluster[1], isLearner: true)
                let id = try await cluster.listed(newcomer).id
                let hex = String(id, radix: 16)
                // Refused, each for its reason. Within the same second the new identity would be the same too.
                try await Task.sleep(for: .seconds(1))
                let twice = try await cluster[2].etcdctlError(add + " --learner")
                #expect(twice == "etcdserver: Peer URLs already exists")
                #expect(
                    try await cluster[0].etcdctlError("member add other --peer-urls=http://127.0.0.1:1 --learner")
                        == "etcdserver: too many learner members in cluster")
                #expect(try await cluster[0].etcdctlError("member promote \(hex)") == Self.notReady)
                #expect(
                    try await cluster[0].etcdctlError("member promote \(cluster[1].hexID())")
                        == "etcdserver: can only promote a learner member")
                for line in ["member promote 1234", "member remove 1234", "member update 1234 --peer-urls=http://a:1"] {
                    #expect(try await cluster[2].etcdctlError(line) == "etcdserver: member not found", "\(line)")
                }
                var bad = Etcdserverpb_MemberAddRequest()
                bad.peerUrls = ["nonsense"]
                bad.isLearner = true
                let request = bad
                let refusal = await failure { _ = try await cluster[0].client.memberAdd(request) }
                #expect(refusal == ClientError(.invalidArgument, "etcdserver: given member URLs are invalid"))

                try newcomer.server.launch()
                try await newcomer.waitUntilAnswering()
                try await checkLearner(newcomer, in: cluster)
                try await eventually("the learner is promoted") {
                    // Also by an attempt that was not answered.
                    ["", "etcdserver: can only promote a learner member"].contains(
                        try await cluster[1].etcdctlError("member promote \(hex)"))
                }
                try await eventually("the newcomer knows") { (await newcomer.status())?.isLearner == false }
                #expect(try await cluster.listed(newcomer).isLearner == false)
                #expect(try await cluster.listed(newcomer).name == newcomer.name)
                try await surely { try await newcomer.client.put("from the newcomer", "1") }
                try await cluster.waitUntilEqual()
                try await checkRemoval(of: newcomer, hex, in: cluster)
            }
        }

        /// A long way to its snapshot: this one is never reached.
        @Test("a member that waits for its snapshot lives, is not ready, and says why")
        func waitingForASnapshot() async throws {
            try await withCluster(3) { cluster in
                let newcomer = try await cluster.newcomer()
                try await cluster.add(newcomer, through: cluster[0])
                try newcomer.server.launch(["--listen-peer-urls", "http://127.0.0.1:\(try Ports.free())"])
                try await eventually("it waits") {
                    newcomer.server.logText.contains("ready to be let into the cluster")
                }
                let port = newcomer.server.clientPort
                #expect(try await HTTPProbe.get(port: port, "/livez").status == 200)
                #expect(try await HTTPProbe.get(port: port, "/version").status == 200)
                #expect(try await HTTPProbe.get(port: port, "/metrics").status == 200)
                for path in ["/health", "/health?serializable=true", "/readyz", "/readyz?exclude=linearizable_read"] {
                    let answer = try await HTTPProbe.get(port: port, path)
                    #expect(answer.status == 503 && answer.body.contains("waits for a snapshot"), "\(answer)")
                }
                let refused = ClientError(.unavailable, "etcdserver: no leader")
                #expect(await failure { try await newcomer.client.put("a", "b") } == refused)
                await cluster.forget(newcomer)
            }
        }

        private func checkLearner(_ learner: TestMember, in cluster: TestCluster) async throws {
            let status = try await learner.client.status()
            #expect(status.isLearner && status.raftIndex >= status.raftAppliedIndex)
            // It may not have heard of the leader yet.
            try await eventually("the learner has nothing to say against itself") {
                (await learner.status())?.errors == []
            }
            for member in cluster.members where member !== learner {
                #expect(try await member.client.status().isLearner == false)
            }
            let refusals: [(String, () async throws -> Void)] = [
                ("put", { try await learner.client.put("a", "b") }),
                ("linearizable range", { _ = try await learner.client.get("a") }),
                ("member list", { _ = try await learner.client.memberList() }),
                ("lease grant", { _ = try await learner.client.leaseGrant(Etcdserverpb_LeaseGrantRequest()) }),
            ]
            for (what, call) in refusals {
                let error = await failure(of: call)
                #expect(
                    error == ClientError(.failedPrecondition, Self.learnerText), "\(what): \(String(describing: error))"
                )
            }
            try await eventually("the learner has the data") {
                try await learner.localValue("k/1000299") != nil
            }
            let leader = try await cluster.leader()
            let error = await failure { _ = try await leader.client.moveLeader(to: try await learner.id()) }
            #expect(error == ClientError(.failedPrecondition, "etcdserver: bad leader transferee"))
        }

        private func checkRemoval(of member: TestMember, _ hex: String, in cluster: TestCluster) async throws {
            try await cluster.remove(hex, through: cluster[0])
            #expect(
                await member.server.waitForEnd(within: .seconds(60)) != nil, "a member that was removed runs on")
            #expect(try await cluster[0].etcdctlError("member remove \(hex)") == "etcdserver: member not found")
            #expect(member.server.logText.contains("removed"))
            try member.server.launch()
            #expect(
                await member.server.waitForEnd(within: .seconds(60)) != nil, "a member that was removed comes back")
            await cluster.forget(member)
            try await surely { try await cluster[0].client.put("without it", "1") }
            try await cluster.waitUntilEqual()
        }

        @Test("strict reconfiguration checks refuse what could cost the quorum")
        func strictChecks() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                let dead = try await followers[1].hexID()
                let alive = try await followers[0].hexID()
                // Everybody has been connected for long enough, so that only the dead one is missing.
                try await Task.sleep(for: .seconds(6))
                await followers[1].server.killHard()
                // Who asks before the loss is noticed is let have his way.
                try await eventually("the loss is noticed") {
                    let page = try await HTTPProbe.get(
                        port: leader.server.clientPort, "/metrics", timeoutSeconds: 30
                    ).body
                    return page.split(separator: "\n").contains {
                        $0.hasPrefix("etcd_network_active_peers{") && $0.contains(dead) && $0.hasSuffix(" 0")
                    }
                }
                let refused = "etcdserver: unhealthy cluster"
                let add = "member add x --peer-urls=http://127.0.0.1:1"
                #expect(try await followers[0].etcdctlError(add) == refused)
                #expect(try await followers[0].etcdctlError("member remove \(alive)") == refused)
                try await cluster.remove(dead, through: followers[0])
                await cluster.forget(followers[1])
                #expect(try await cluster[0].client.memberList().members.count == 2)
                try await surely { try await cluster[0].client.put("two left", "1") }
            }
        }

        @Test("a removal that leaves too few started members is refused")
        func notEnoughStarted() async throws {
            try await withCluster(2) { cluster in
                let add = "member add x --peer-urls=http://127.0.0.1:1"
                try await eventually("both count as healthy") {
                    ["", "etcdserver: Peer URLs already exists"].contains(try await cluster[0].etcdctlError(add))
                }
                let text = "etcdserver: re-configuration failed due to not enough started members"
                #expect(try await cluster[0].etcdctlError("member remove \(cluster[1].hexID())") == text)
                let absent = try await cluster[0].client.memberList().members.first { $0.name.isEmpty }
                #expect(
                    try await cluster[0].etcdctlError("member remove \(String(absent?.id ?? 0, radix: 16))") == "")
            }
        }

        @Test("a member whose disk was wiped is refused, and replaced as a new one")
        func wipedMember() async throws {
            try await withCluster(3) { cluster in
                let (_, followers) = try await cluster.roles()
                let victim = followers[0]
                let id = try await victim.hexID()
                try await surely {
                    try await followers[1].client.fill("w/", count: 200, value: Data(repeating: 3, count: 500))
                }
                await victim.server.killHard()
                try victim.wipe()
                try victim.server.launch()
                let status = await victim.server.waitForEnd(within: .seconds(60))
                #expect(
                    status != nil && status != 0, "a member without its data came back: \(String(describing: status))")
                #expect(victim.server.logText.contains("has already been bootstrapped"))
                try await cluster.remove(id, through: followers[1])
                await cluster.forget(victim)
                let newcomer = try await cluster.newcomer()
                try await cluster.add(newcomer, through: followers[1])
                try await newcomer.server.start()
                try await surely { try await newcomer.client.put("w/last", "1") }
                #expect(try await newcomer.client.list("w/", countOnly: true).count == 201)
                try await cluster.waitUntilEqual()
            }
        }

        @Test("who changes the membership finds the change made at the same member, whether that leads or not")
        func ownChanges() async throws {
            try await withCluster(3) { cluster in
                for round in 1...12 {
                    let client = cluster[round % 3].client
                    var request = Etcdserverpb_MemberAddRequest()
                    request.peerUrls = ["http://127.0.0.1:\(round)"]
                    request.isLearner = true
                    let add = request
                    var id: UInt64 = 0
                    // Members count as healthy after five seconds. What was not answered may have been carried out.
                    try await eventually("the learner is added") {
                        let error = await failure { id = try await client.memberAdd(add).member.id }
                        guard error?.message == "etcdserver: Peer URLs already exists" else { return error == nil }
                        let all = try await client.memberList().members
                        id = all.first { $0.peerUrls == add.peerUrls }?.id ?? 0
                        return id != 0
                    }
                    let added = try await client.memberList(isLinearizable: false).members
                    #expect(added.contains { $0.id == id }, "round \(round)")
                    try await eventually("the learner is removed") {
                        let error = await failure { _ = try await client.memberRemove(id: id) }
                        return error == nil || error?.message == "etcdserver: member not found"
                    }
                    let left = try await client.memberList(isLinearizable: false).members
                    #expect(!left.contains { $0.id == id }, "round \(round)")
                }
            }
        }

        @Test("a member moves to another address")
        func update() async throws {
            try await withCluster(3, hasLinks: true) { cluster in
                guard let links = cluster.links else { return }
                let (leader, followers) = try await cluster.roles()
                let member = followers[0]
                let port = try await links.open(to: member.name, port: member.server.peerPort)
                let url = "http://127.0.0.1:\(port)"
                let line = "member update \(try await member.hexID()) --peer-urls=\(url)"
                try await eventually("the address is taken") {
                    ["", "etcdserver: Peer URLs already exists"].contains(try await leader.etcdctlError(line))
                }
                for one in cluster.members {
                    try await eventually("\(one.name) lists the new address") {
                        try await one.client.memberList().members.contains { $0.peerUrls == [url] }
                    }
                }
                await member.server.killHard()
                try await surely { try await leader.client.put("while away", "1") }
                try await member.server.start()
                try await cluster.waitUntilEqual()
            }
        }
    }
}

extension TestCluster {
    /// Adds a member as etcdctl does it. Members count as healthy after five seconds; an attempt that was not answered may
    /// have been carried out.
    func add(_ newcomer: TestMember, through member: TestMember, isLearner: Bool = false) async throws {
        let line = "member add \(newcomer.name) --peer-urls=\(newcomer.peerURL)" + (isLearner ? " --learner" : "")
        try await eventually("\(newcomer.name) is added") {
            ["", "etcdserver: Peer URLs already exists"].contains(try await member.etcdctlError(line))
        }
    }

    /// The same for its removal, by its identity as etcdctl writes it.
    func remove(_ hex: String, through member: TestMember) async throws {
        try await eventually("\(hex) is removed") {
            ["", "etcdserver: member not found"].contains(try await member.etcdctlError("member remove \(hex)"))
        }
    }

    /// What the members say of one of them.
    func listed(_ member: TestMember) async throws -> Etcdserverpb_Member {
        let list = try await self[0].client.memberList().members
        guard let found = list.first(where: { $0.peerUrls == [member.peerURL] }) else {
            throw TestFailure("\(member.name) is not in the list: \(list)")
        }
        return found
    }
}
