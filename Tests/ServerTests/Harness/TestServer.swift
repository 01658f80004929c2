import Client
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// One server process, Martlet or etcd, on a data directory and ports of its own. It can be killed and started again.
final class TestServer: Sendable {
    enum Kind: String, Sendable, CaseIterable {
        case martlet
        case etcd
    }

    let kind: Kind
    let folder: TemporaryFolder
    let clientPort: Int
    let peerPort: Int
    private let scheme: String
    private let arguments: [String]
    private let child = NIOLockedValueBox<ChildProcess?>(nil)

    /// Prepares a server; `start` runs it. `dataFolder`: where the data directory lies, if not in the server's folder.
    init(
        _ kind: Kind, _ extra: [String] = [], scheme: String = "http", dataFolder: String? = nil
    ) throws {
        self.kind = kind
        self.scheme = scheme
        folder = try TemporaryFolder(kind.rawValue)
        clientPort = try Ports.free()
        peerPort = try Ports.free()
        let binary = kind == .martlet ? try Binaries.martlet() : try Binaries.etcd()
        let peer = "http://127.0.0.1:\(peerPort)"
        let client = "\(scheme)://127.0.0.1:\(clientPort)"
        arguments =
            [
                binary, "--name", "default", "--data-dir", (dataFolder ?? folder.root) + "/data",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=\(peer)",
            ] + extra
    }

    /// A server that runs and answers.
    static func started(_ kind: Kind = .martlet, _ extra: [String] = []) async throws -> TestServer {
        let server = try TestServer(kind, extra)
        try await server.start()
        return server
    }

    var endpoint: String { "\(scheme)://127.0.0.1:\(clientPort)" }
    var logPath: String { folder.path("log") }
    var pid: pid_t { child.withLockedValue { $0?.pid ?? 0 } }
    var isRunning: Bool { child.withLockedValue { $0.map { $0.exitStatus == nil } ?? false } }

    /// Starts the process without waiting for it.
    func launch() throws {
        let process = try ChildProcess(
            arguments, environment: ["SWIFT_BACKTRACE": "enable=no"], output: logPath, errors: logPath)
        child.withLockedValue { $0 = process }
    }

    /// Starts the process and waits until it serves.
    func start(within limit: Duration = .seconds(20)) async throws {
        try launch()
        try await waitUntilServing(within: limit)
    }

    /// Waits until a linearizable read is answered, over plain text; `launch` must have been called.
    func waitUntilServing(within limit: Duration = .seconds(20)) async throws {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            guard isRunning else { throw TestFailure("\(kind) ended while starting\n\(logTail)") }
            if scheme != "http" {
                if logText.contains("ready to serve client requests") { return }
            } else if let answer = try? await HTTPProbe.get(port: clientPort, "/health"), answer.status == 200 {
                return
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw TestFailure("\(kind) did not serve within \(limit)\n\(logTail)")
    }

    /// `kill -9`, and waits for the process to be gone.
    func killHard() async {
        guard let process = child.withLockedValue({ $0 }) else { return }
        process.signal(SIGKILL)
        _ = await process.wait(atMost: .seconds(10))
    }

    /// SIGTERM; the exit status, or nil when the process did not end within `limit`.
    @discardableResult
    func terminate(within limit: Duration = .seconds(15)) async -> Int32? {
        guard let process = child.withLockedValue({ $0 }) else { return nil }
        process.signal(SIGTERM)
        return await process.wait(atMost: limit)
    }

    func signal(_ number: Int32) { child.withLockedValue { $0?.signal(number) } }

    /// The exit status once the process has ended by itself; nil when it still runs after `limit`.
    func waitForEnd(within limit: Duration) async -> Int32? {
        await child.withLockedValue { $0 }?.wait(atMost: limit)
    }

    var logText: String { Shell.read(logPath) }
    var logTail: String { "log of \(kind), \(logPath):\n" + String(logText.suffix(3000)) }

    /// Ends the process and removes its files.
    func discard() async {
        await killHard()
        folder.remove()
    }

    /// A number of kilobytes out of `/proc/PID/status`, in bytes: `VmRSS`, `RssAnon`.
    func memory(_ name: String) -> Int {
        for line in Shell.read("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix(name + ":") {
            return (line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0) * 1024
        }
        return 0
    }

    /// How many file descriptors the process holds.
    var descriptorCount: Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
    }

    // MARK: Clients

    func client(timeoutSeconds: Int64 = 10) throws -> EtcdClient {
        guard let endpoint = Endpoint(endpoint) else { throw TestFailure("no endpoint: \(endpoint)") }
        var configuration = EtcdClient.Configuration(endpoints: [endpoint])
        configuration.requestTimeout = .seconds(timeoutSeconds)
        return EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
    }

    /// Runs etcdctl 3.4 against this server.
    func etcdctl(
        _ arguments: [String], input: String = "", program: String? = nil, atMost limit: Duration = .seconds(30)
    ) async throws -> Shell.Result {
        try await Shell.run(
            [try program ?? Binaries.etcdctl(), "--endpoints", "127.0.0.1:\(clientPort)"] + arguments,
            environment: ["ETCDCTL_API": "3"], input: input, atMost: limit)
    }
}

/// Runs `body` with a started server. The server is ended in any case; its files stay, and are named, when `body` fails.
func withServer<T: Sendable>(
    _ kind: TestServer.Kind = .martlet, _ extra: [String] = [],
    isolation: isolated (any Actor)? = #isolation, _ body: (TestServer) async throws -> T
) async throws -> T {
    let server = try await TestServer.started(kind, extra)
    do {
        let result = try await body(server)
        await server.discard()
        return result
    } catch {
        let tail = server.logTail
        await server.killHard()
        throw TestFailure("\(error)\n\(tail)")
    }
}

/// Runs `body` with Martlet and etcd, both fresh.
func withBothServers<T: Sendable>(
    _ extra: [String] = [], isolation: isolated (any Actor)? = #isolation,
    _ body: (_ martlet: TestServer, _ etcd: TestServer) async throws -> T
) async throws -> T {
    try await withServer(.etcd, extra) { etcd in
        try await withServer(.martlet, extra) { martlet in try await body(martlet, etcd) }
    }
}
