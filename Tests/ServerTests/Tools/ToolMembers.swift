import Foundation
import TestSupport

/// The client tool, which lies beside the server.
enum Tool {
    static func run(_ arguments: [String], atMost limit: Duration = .seconds(60)) async throws -> Shell.Result {
        try await Shell.run(
            [try Binaries.martlet() + "ctl"] + arguments, environment: ["SWIFT_BACKTRACE": "enable=no"], atMost: limit)
    }

    /// As `run`; throws unless the tool succeeds. Its output.
    @discardableResult
    static func succeed(_ arguments: [String]) async throws -> String {
        let result = try await run(arguments)
        guard result.exitStatus == 0 else {
            throw TestFailure("martletctl \(arguments.joined(separator: " ")): \(result.errors)")
        }
        return result.output
    }
}

/// Members that are given names, ports and data directories before any of them exists: what a restore needs to know.
final class PlannedMembers: Sendable {
    let kind: TestServer.Kind
    let folder: TemporaryFolder
    let servers: [TestServer]
    /// For `--initial-cluster`.
    let cluster: String

    init(_ kind: TestServer.Kind = .martlet, count: Int) throws {
        self.kind = kind
        folder = try TemporaryFolder("planned")
        let ports = try (0..<count).map { _ in (client: try Ports.free(), peer: try Ports.free()) }
        let cluster = ports.enumerated().map { "m\($0 + 1)=http://127.0.0.1:\($1.peer)" }.joined(separator: ",")
        self.cluster = cluster
        servers = try ports.enumerated().map { [folder] number, ports in
            let client = "http://127.0.0.1:\(ports.client)"
            let peer = "http://127.0.0.1:\(ports.peer)"
            return try TestServer(
                kind, folder: try TemporaryFolder("planned-member"), clientPort: ports.client, peerPort: ports.peer,
                arguments: [
                    "--name", "m\(number + 1)", "--data-dir", folder.path("m\(number + 1)"),
                    "--listen-client-urls", client, "--advertise-client-urls", client,
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
                ])
        }
    }

    var endpoints: String { servers.map { "127.0.0.1:\($0.clientPort)" }.joined(separator: ",") }

    func dataDirectory(_ place: Int) -> String { folder.path("m\(place + 1)") }

    /// The flags that restore one of them.
    func restoreFlags(_ place: Int) -> [String] {
        [
            "--data-dir", dataDirectory(place), "--name", "m\(place + 1)", "--initial-cluster", cluster,
            "--initial-advertise-peer-urls", "http://127.0.0.1:\(servers[place].peerPort)",
        ]
    }

    func start() async throws {
        for server in servers { try server.launch() }
        for server in servers { try await server.waitUntilServing() }
    }

    func discard() async {
        for server in servers { await server.discard() }
        folder.remove()
    }
}

/// Runs `body` with planned members, which are ended in any case.
func withPlanned<T: Sendable>(
    _ kind: TestServer.Kind = .martlet, count: Int, isolation: isolated (any Actor)? = #isolation,
    _ body: (PlannedMembers) async throws -> T
) async throws -> T {
    let members = try PlannedMembers(kind, count: count)
    do {
        let result = try await body(members)
        await members.discard()
        return result
    } catch {
        let tails = members.servers.map(\.logTail).joined(separator: "\n")
        await members.discard()
        throw TestFailure("\(error)\n\(tails)")
    }
}
