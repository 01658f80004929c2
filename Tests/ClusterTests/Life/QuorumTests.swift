import Client
import Foundation
import NIOCore
import NIOPosix
import SwiftProtobuf
import TestSupport
import Testing
import Transport
import Wire

extension ClusterTests {
    /// A member that has lost the others.
    @Suite("without quorum", .besideOthers) struct Quorum {
        private static let noLeader = RPCStatus(.unavailable, "etcdserver: no leader")

        @Test("reads that need no quorum are answered, others fail as etcd's do")
        func withoutQuorum() async throws {
            try await withCluster(3) { cluster in
                let (leader, followers) = try await cluster.roles()
                let last = followers[0]
                try await surely { try await leader.client.put("k", "v") }
                try await eventually("it is everywhere") { try await last.localValue("k") == "v" }
                let channel = try await RawChannel(last)
                let watch = channel.watch(requiringLeader: true)
                let patient = channel.watch(requiringLeader: false)
                let (first, second) = (try await watch.next(), try await patient.next())
                #expect(first != nil && second != nil)

                await leader.server.killHard()
                await followers[1].server.killHard()
                let lost = ContinuousClock.now
                try await eventually("the member knows of no leader") { (await last.status())?.leader == 0 }
                let status = try await last.client.status()
                #expect(status.errors == ["etcdserver: no leader"] && status.leader == 0 && !status.isLearner)
                #expect(status.raftIndex >= status.raftAppliedIndex && status.raftAppliedIndex > 0)
                // At once: what waits is answered otherwise.
                #expect(await channel.range("k", requiringLeader: true) == .failure(Self.noLeader))
                #expect(await channel.watch(requiringLeader: true).end == Self.noLeader)
                #expect(try await last.localValue("k") == "v")
                let health = try await HTTPProbe.get(port: last.server.clientPort, "/health", timeoutSeconds: 60)
                #expect(health.status == 503)
                let write = await failure { try await last.client.put("k", "w") }
                #expect(write?.code == .unavailable || write?.code == .deadlineExceeded, "\(String(describing: write))")
                // A client with more patience than a request's time hears etcd's word for it.
                let calm = cluster.client([last], timeoutSeconds: 60)
                #expect(
                    await failure { try await calm.put("k", "w") }
                        == ClientError(.unavailable, "etcdserver: request timed out"))
                await calm.close()

                #expect(await watch.end == Self.noLeader)
                let took = ContinuousClock.now - lost
                // From the loss of the leader, which the member notices an election timeout later at the most.
                #expect(took > TestCluster.electionTimeout * 2, "cancelled after \(took)")
                try cluster.launchAll()
                try await cluster.waitUntilServing()
                try await eventually("it has a leader and nothing to say against itself") {
                    let healed = try await last.client.status()
                    return healed.errors.isEmpty && healed.leader != 0
                }
                // A stream that wants no leader outlives the time without one.
                let revision = try await surely { try await last.client.put("k", "x") }
                var seen: Int64 = 0
                while seen < revision, let message = try await patient.next() {
                    let response = try Etcdserverpb_WatchResponse(serializedBytes: message)
                    seen = max(seen, response.events.map(\.kv.modRevision).max() ?? 0)
                }
                #expect(seen == revision)
                await channel.close()
            }
        }

        @Test("a leader that is cut off answers no linearizable read, and what it took is not lost or kept twice")
        func cutOffLeader() async throws {
            try await withCluster(3, hasLinks: true) { cluster in
                guard let links = cluster.links else { return }
                let (leader, followers) = try await cluster.roles()
                try await surely { try await leader.client.put("k", "before") }
                links.set(.silent, between: leader.name, and: cluster.members.map(\.name))
                let successor = try await cluster.leader(among: followers)
                let revision = try await surely { try await successor.client.put("k", "after") }
                let stale = cluster.client([leader], timeoutSeconds: 2)
                let read = try? await stale.get("k")
                #expect(read == nil, "a leader that was cut off answered \(String(describing: read))")
                #expect(await failure { try await stale.put("in doubt", "1") } != nil)
                #expect(try await leader.localValue("k") == "before")
                links.openAll()
                try await eventually("the old leader follows") { try await leader.localValue("k") == "after" }
                #expect(try await leader.client.get("k").kvs.first?.modRevision == revision)
                try await cluster.waitUntilEqual()
                await stale.close()
            }
        }
    }
}

/// One connection to one member, for calls with metadata.
private struct RawChannel {
    struct Stream {
        let stream: RPCStream

        func next() async throws(RPCStatus) -> [UInt8]? { try await stream.next() }

        /// The status that the stream ends with; whatever comes before is dropped.
        var end: RPCStatus {
            get async {
                do throws(RPCStatus) { while try await stream.next() != nil {} } catch { return error }
                return RPCStatus(.ok, "")
            }
        }
    }

    private let channel: RPCChannel

    init(_ member: TestMember) async throws {
        guard let endpoint = Endpoint(member.server.endpoint) else { throw TestFailure("no endpoint") }
        channel = try await Dialer(endpoint, tls: nil, timeout: .seconds(60))
            .connect(on: MultiThreadedEventLoopGroup.singleton)
    }

    private func metadata(_ requiresLeader: Bool) -> [(name: String, value: String)] {
        requiresLeader ? [("hasleader", "true")] : []
    }

    func range(_ key: String, requiringLeader: Bool) async -> Result<[UInt8], RPCStatus> {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(key.utf8)
        request.serializable = true
        let message = (try? request.serializedBytes() as [UInt8]) ?? []
        do throws(RPCStatus) {
            return .success(
                try await channel.unary(
                    MethodPath.range, message, metadata: metadata(requiringLeader), deadline: .now() + .seconds(60)))
        } catch { return .failure(error) }
    }

    func watch(requiringLeader: Bool) -> Stream {
        let stream = channel.stream(MethodPath.watch, metadata: metadata(requiringLeader))
        var request = Etcdserverpb_WatchRequest()
        request.createRequest = EtcdClient.watchRequest("k", from: 0)
        let message = (try? request.serializedBytes() as [UInt8]) ?? []
        Task { try? await stream.send(message) }
        return Stream(stream: stream)
    }

    func close() async { await channel.close() }
}
