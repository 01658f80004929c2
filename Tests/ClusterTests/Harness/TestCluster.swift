import Client
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport
import Wire

/// A cluster of processes on loopback. Members can be added and removed while it runs; each keeps its folder and its log
/// until the cluster is discarded.
final class TestCluster: Sendable {
    /// As short as the members still elect reliably on a busy machine.
    static let heartbeatMilliseconds = 50
    static let electionMilliseconds = 500
    static var electionTimeout: Duration { .milliseconds(electionMilliseconds) }

    /// Links between the members that can be cut; nil when they talk to each other directly.
    let links: Links?
    private let token = "token-\(UUID().uuidString.prefix(8))"
    private let extra: [String]
    private let hasDisks: Bool
    private let hasSlowDisks: Bool
    private let scheme: String
    private let state = NIOLockedValueBox(State())

    private struct State {
        var members: [TestMember] = []
        /// Every member that ever was, for the logs.
        var all: [TestMember] = []
        var nextName = 1
    }

    /// Prepares founders; `launchAll` runs them.
    ///
    /// - Parameters:
    ///   - extra: arguments for every member.
    ///   - peerScheme: `https` wants the certificates among `extra`.
    ///   - hasLinks: the links between the members can be cut.
    ///   - hasDisks: the members' disks can be made to stall and be filled; needs root.
    ///   - hasSlowDisks: the members' disks can be slowed down; needs a C compiler.
    init(
        _ size: Int, _ extra: [String] = [], peerScheme: String = "http", hasLinks: Bool = false,
        hasDisks: Bool = false, hasSlowDisks: Bool = false
    ) async throws {
        self.hasDisks = hasDisks
        self.hasSlowDisks = hasSlowDisks
        self.extra = extra
        scheme = peerScheme
        links = hasLinks ? Links() : nil
        var places: [Place] = []
        for _ in 0..<size { places.append(try await place()) }
        let cluster = places.map { "\($0.name)=\($0.peerURL)" }.joined(separator: ",")
        for place in places { try admit(try await member(place, cluster: cluster, clusterState: "new")) }
    }

    /// A cluster that runs and serves.
    static func started(
        _ size: Int, _ extra: [String] = [], peerScheme: String = "http", hasLinks: Bool = false,
        hasDisks: Bool = false, hasSlowDisks: Bool = false
    ) async throws -> TestCluster {
        let cluster = try await TestCluster(
            size, extra, peerScheme: peerScheme, hasLinks: hasLinks, hasDisks: hasDisks, hasSlowDisks: hasSlowDisks)
        do {
            try cluster.launchAll()
            try await cluster.waitUntilServing()
        } catch {
            let tails = cluster.logTails
            await cluster.discard()
            throw TestFailure("\(error)\n\(tails)")
        }
        return cluster
    }

    var members: [TestMember] { state.withLockedValue { $0.members } }
    subscript(place: Int) -> TestMember { members[place] }

    func launchAll() throws { for member in members where !member.isRunning { try member.server.launch() } }

    func waitUntilServing(within limit: Duration = .seconds(60)) async throws {
        for member in members { try await member.server.waitUntilServing(within: limit) }
    }

    // MARK: Members

    /// Name and ports of a member that is still to be made.
    private struct Place {
        var name: String
        var listenPort: Int
        var peerURL: String
    }

    private func place() async throws -> Place {
        let name = state.withLockedValue { state in
            defer { state.nextName += 1 }
            return "m\(state.nextName)"
        }
        let listenPort = try Ports.free()
        let advertised = try await links?.open(to: name, port: listenPort) ?? listenPort
        return Place(name: name, listenPort: listenPort, peerURL: "\(scheme)://127.0.0.1:\(advertised)")
    }

    private func member(
        _ place: Place, cluster: String, clusterState: String
    ) async throws -> TestMember {
        let folder = try TemporaryFolder("cluster-\(place.name)")
        let disk = hasDisks ? try await TestDisk(in: folder) : nil
        let slowDisk = hasSlowDisks ? try SlowDisk(in: folder) : nil
        let clientPort = try Ports.free()
        let client = "http://127.0.0.1:\(clientPort)"
        let arguments =
            [
                "--name", place.name, "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", "\(scheme)://127.0.0.1:\(place.listenPort)",
                "--initial-advertise-peer-urls", place.peerURL, "--initial-cluster", cluster,
                "--initial-cluster-state", clusterState, "--initial-cluster-token", token,
                "--heartbeat-interval", "\(Self.heartbeatMilliseconds)",
                "--election-timeout", "\(Self.electionMilliseconds)",
            ] + extra
        let server = try TestServer(
            .martlet, folder: folder, clientPort: clientPort, peerPort: place.listenPort,
            arguments: ["--data-dir", (disk?.directory ?? folder.root) + "/data"] + arguments,
            environment: try await slowDisk?.environment() ?? [:])
        return try TestMember(
            name: place.name, server: server, peerURL: place.peerURL, arguments: arguments, disk: disk,
            slowDisk: slowDisk)
    }

    private func admit(_ member: TestMember) throws {
        state.withLockedValue {
            $0.members.append(member)
            $0.all.append(member)
        }
        links?.adopt(member.name) { member.server.pid }
    }

    /// Prepares a member that joins: it has to be added to the cluster, under its peer URL, before it is launched.
    func newcomer() async throws -> TestMember {
        let place = try await place()
        let cluster = (members.map { "\($0.name)=\($0.peerURL)" } + ["\(place.name)=\(place.peerURL)"])
            .joined(separator: ",")
        let member = try await member(place, cluster: cluster, clusterState: "existing")
        try admit(member)
        return member
    }

    /// Forgets a member that was removed from the cluster and ends its process.
    func forget(_ member: TestMember) async {
        state.withLockedValue { state in state.members.removeAll { $0 === member } }
        await member.server.killHard()
        await member.disk?.unmount()
    }

    // MARK: Looking

    /// The member that says it leads, waited for.
    func leader(among candidates: [TestMember]? = nil, within limit: Duration = .seconds(60)) async throws -> TestMember
    {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            for member in candidates ?? members where member.isRunning {
                if let status = await member.status(), status.leader == status.header.memberID { return member }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("no member leads within \(limit)")
    }

    /// The leader, and the others.
    func roles() async throws -> (leader: TestMember, followers: [TestMember]) {
        let leader = try await leader()
        return (leader, members.filter { $0 !== leader })
    }

    /// A client of several members, all unless given.
    func client(_ chosen: [TestMember]? = nil, timeoutSeconds: Int64 = 30) -> EtcdClient {
        let endpoints = (chosen ?? members).compactMap { Endpoint($0.server.endpoint) }
        var configuration = EtcdClient.Configuration(endpoints: endpoints)
        configuration.requestTimeout = .seconds(timeoutSeconds)
        configuration.dialTimeout = .seconds(1)
        return EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
    }

    /// Waits until every member has the same history, and throws where they differ.
    func waitUntilEqual(within limit: Duration = .seconds(60)) async throws {
        let leader = try await leader()
        let revision = try await leader.client.get("any").header.revision
        for member in members where member !== leader {
            try await eventually("\(member.name) has revision \(revision)", within: limit) {
                (await member.status())?.header.revision ?? 0 >= revision
            }
            // A compaction changes the hash, and the members carry it out one after the other.
            try await eventually("\(member.name) has compacted as far as \(leader.name)", within: limit) {
                guard let one = try? await leader.client.hashKV(revision: revision),
                    let other = try? await member.client.hashKV(revision: revision),
                    one.compactRevision == other.compactRevision
                else { return false }
                guard one.hash == other.hash else {
                    throw TestFailure(
                        "at revision \(revision) \(member.name) has hash \(other.hash), \(leader.name) \(one.hash)")
                }
                return true
            }
        }
    }

    var logTails: String {
        state.withLockedValue { $0.all }.map { "\($0.name): \($0.server.logTail)" }.joined(separator: "\n")
    }

    /// Ends all processes and removes their files.
    func discard() async {
        await stop()
        for member in state.withLockedValue({ $0.all }) { member.server.folder.remove() }
    }

    /// Ends all processes; the files stay.
    func stop() async {
        for member in state.withLockedValue({ $0.all }) {
            await member.close()
            try? await member.disk?.thaw()
            await member.server.killHard()
            await member.disk?.unmount()
        }
        await links?.close()
    }
}

/// Runs `body` with a cluster that serves. All processes are ended in any case; their files stay, and are named, when `body`
/// fails.
func withCluster<T: Sendable>(
    _ size: Int, _ extra: [String] = [], peerScheme: String = "http", hasLinks: Bool = false, hasDisks: Bool = false,
    hasSlowDisks: Bool = false, isolation: isolated (any Actor)? = #isolation,
    _ body: (TestCluster) async throws -> T
) async throws -> T {
    let cluster = try await TestCluster.started(
        size, extra, peerScheme: peerScheme, hasLinks: hasLinks, hasDisks: hasDisks, hasSlowDisks: hasSlowDisks)
    do {
        let result = try await body(cluster)
        await cluster.discard()
        return result
    } catch {
        let tails = cluster.logTails
        await cluster.stop()
        throw TestFailure("\(error)\n\(tails)")
    }
}
