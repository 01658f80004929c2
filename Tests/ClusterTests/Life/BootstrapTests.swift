import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ClusterTests {
    @Suite("bootstrap", .besideOthers) struct Bootstrap {
        @Test("every member answers reads and writes, and all list the same members")
        func threeMembers() async throws {
            try await withCluster(3) { cluster in
                var revision: Int64 = 1
                for (number, member) in cluster.members.enumerated() {
                    let before = revision
                    let attempts: Int
                    (revision, attempts) = try await counted {
                        try await member.client.put("k\(number)", "v\(number)")
                    }
                    #expect(revision == before + 1 || attempts > 1 && revision > before)
                    for other in cluster.members {
                        let found = try await other.client.get("k\(number)")
                        #expect(found.kvs.first?.value == Data("v\(number)".utf8), "\(other.name) after \(member.name)")
                        #expect(found.header.revision == revision || attempts > 1)
                    }
                }
                let lists = try await cluster.members.asyncMap { try await $0.client.memberList().members }
                #expect(lists.allSatisfy { $0 == lists[0] })
                #expect(lists[0].map(\.name).sorted() == ["m1", "m2", "m3"])
                #expect(
                    Set(lists[0].flatMap(\.clientUrls)) == Set(cluster.members.map { $0.server.endpoint }))
                var statuses: [Etcdserverpb_StatusResponse] = []
                try await eventually("all name the same leader") {
                    statuses = try await cluster.members.asyncMap { try await $0.client.status() }
                    return Set(statuses.map(\.leader)).count == 1 && statuses[0].leader != 0
                }
                #expect(Set(statuses.map(\.header.clusterID)).count == 1)
                #expect(Set(statuses.map(\.header.memberID)) == Set(lists[0].map(\.id)))
                try await cluster.waitUntilEqual()
                let health = try await cluster[1].etcdctlOutput("endpoint health --cluster")
                #expect(health.split(separator: "\n").count { $0.contains("is healthy") } == 3 || health.isEmpty)
            }
        }

        @Test("members and cluster have the identities that etcd gives them")
        func identities() async throws {
            let cluster = try await TestCluster.started(3)
            let first = cluster[0]
            let header = try await first.client.status().header
            let arguments = first.arguments
            await cluster.stop()
            let folder = try TemporaryFolder("etcd-identity")
            let etcd = try TestServer(
                .etcd, folder: folder, clientPort: first.server.clientPort, peerPort: first.server.peerPort,
                arguments: ["--data-dir", folder.path("data")] + arguments)
            try etcd.launch()
            let wanted = [
                "\"local-member-id\":\"\(String(header.memberID, radix: 16))\"",
                "\"cluster-id\":\"\(String(header.clusterID, radix: 16))\"",
            ]
            try await eventually("etcd names \(wanted)\n\(etcd.logTail)") {
                let log = etcd.logText
                return wanted.allSatisfy { log.contains($0) }
            }
            await etcd.discard()
            await cluster.discard()
        }

        @Test("five members serve without two, and not without three")
        func fiveMembers() async throws {
            try await withCluster(5) { cluster in
                let (leader, followers) = try await cluster.roles()
                try await surely { try await leader.client.put("before", "1") }
                await followers[0].server.killHard()
                await leader.server.killHard()
                let left = Array(followers.dropFirst())
                let client = cluster.client(left)
                _ = try await cluster.leader(among: left)
                try await surely { try await client.put("without two", "2") }
                #expect(try await client.get("before").count == 1)
                await left[0].server.killHard()
                let lonely = cluster.client([left[1]], timeoutSeconds: 3)
                let error = await failure { try await lonely.put("without three", "3") }
                #expect(error != nil)
                try cluster.launchAll()
                try await cluster.waitUntilServing()
                #expect(try await client.get("without two").count == 1)
                try await surely { try await client.put("again", "4") }
                try await cluster.waitUntilEqual()
                await client.close()
                await lonely.close()
            }
        }

        @Test("all members restart at once and go on where they were")
        func restartOfAll() async throws {
            try await withCluster(3) { cluster in
                let client = cluster.client()
                let revision = try await surely {
                    try await client.fill("all/", count: 500, value: Data(repeating: 1, count: 300))
                }
                for member in cluster.members { member.server.signal(SIGKILL) }
                for member in cluster.members { await member.server.killHard() }
                try cluster.launchAll()
                try await cluster.waitUntilServing()
                let found = try await client.list("all/", countOnly: true)
                #expect(found.count == 500)
                #expect(found.header.revision == revision)
                try await surely { try await client.put("all/more", "1") }
                try await cluster.waitUntilEqual()
                await client.close()
            }
        }
    }
}

extension Array where Element: Sendable {
    /// `map` for one element after the other.
    func asyncMap<T: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ transform: (Element) async throws -> T
    ) async rethrows -> [T] {
        var result: [T] = []
        for element in self { result.append(try await transform(element)) }
        return result
    }
}
