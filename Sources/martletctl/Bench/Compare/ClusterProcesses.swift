import Client
import Foundation
import NIOCore
import NIOPosix
import Wire

/// A cluster under test: processes of one executable on loopback, each with a folder of its own. Owner: one task.
final class ClusterProcesses {
    let path: String
    let directory: String
    private(set) var members: [ServerProcess] = []
    private var clients: [Int: EtcdClient] = [:]

    /// Founders that are not started yet.
    init(path: String, directory: String, size: Int = 3) throws(CommandError) {
        self.path = path
        self.directory = directory
        for number in 0..<size {
            members.append(
                try ServerProcess(path: path, directory: "\(directory)/\(number)", name: "bench\(number)"))
        }
        let cluster = initialCluster
        for member in members { member.place.initialCluster = cluster }
    }

    private var initialCluster: String {
        members.map { "\($0.place.name)=\($0.peerURL)" }.joined(separator: ",")
    }

    /// The processes that run.
    var pids: [Int32] { members.map(\.pid).filter { $0 != 0 } }

    /// Starts all members and returns when all of them answer.
    func start() async throws(CommandError) {
        for member in members { try member.launch() }
        for member in members { try await member.waitUntilAnswering() }
    }

    /// A member to be started after `memberAdd`: it joins with nothing.
    func newcomer() throws(CommandError) -> ServerProcess {
        let number = members.count
        let member = try ServerProcess(path: path, directory: "\(directory)/\(number)", name: "bench\(number)")
        members.append(member)
        member.place.initialCluster = initialCluster
        member.place.isJoining = true
        return member
    }

    /// The number of the member that leads. Throws when none does within half a minute.
    func leader() async throws(CommandError) -> Int {
        for _ in 0..<600 {
            for (number, member) in members.enumerated() where member.pid != 0 {
                guard let status = try? await client(number).status() else { continue }
                if status.leader != 0, status.leader == status.header.memberID { return number }
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        throw .failure("\(path): no member leads; the logs are in \(directory)")
    }

    /// A client of one member, whose calls may take a second.
    func client(_ number: Int) -> EtcdClient {
        if let client = clients[number] { return client }
        let client = Self.client([members[number].endpoint], patience: .seconds(1))
        clients[number] = client
        return client
    }

    static func client(_ endpoints: [String], patience: TimeAmount) -> EtcdClient {
        var configuration = EtcdClient.Configuration(endpoints: endpoints.compactMap { Endpoint($0) })
        configuration.requestTimeout = patience
        configuration.dialTimeout = min(patience, .seconds(1))
        return EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
    }

    /// Ends all processes.
    func stop() async {
        for client in clients.values { await client.close() }
        clients = [:]
        for member in members { member.killHard() }
    }

    /// Removes everything that was written.
    func clean() { try? FileManager.default.removeItem(atPath: directory) }
}
