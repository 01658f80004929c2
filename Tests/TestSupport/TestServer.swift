package import Client
package import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// One server process, Martlet or etcd, on a data directory and ports of its own. It can be killed and started again.
package final class TestServer: Sendable {
    package enum Kind: String, Sendable, CaseIterable {
        case martlet
        case etcd
    }

    package let kind: Kind
    package let folder: TemporaryFolder
    package let clientPort: Int
    package let peerPort: Int
    private let scheme: String
    private let arguments: [String]
    private let environment: [String: String]
    private let child = NIOLockedValueBox<ChildProcess?>(nil)

    /// Prepares a server that is a cluster of its own; `start` runs it. `dataFolder`: where the data directory lies, if not
    /// in the server's folder. `openFilesMax`: the hard limit of descriptors it gets.
    package convenience init(
        _ kind: Kind, _ extra: [String] = [], scheme: String = "http", dataFolder: String? = nil,
        openFilesMax: Int? = nil
    ) throws {
        let folder = try TemporaryFolder(kind.rawValue)
        let (clientPort, peerPort) = (try Ports.free(), try Ports.free())
        let peer = "http://127.0.0.1:\(peerPort)"
        let client = "\(scheme)://127.0.0.1:\(clientPort)"
        try self.init(
            kind, folder: folder, clientPort: clientPort, peerPort: peerPort, scheme: scheme,
            arguments: [
                "--name", "default", "--data-dir", (dataFolder ?? folder.root) + "/data",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=\(peer)",
            ] + extra, openFilesMax: openFilesMax)
    }

    /// Prepares a server with these arguments, which name its ports and a data directory, and these variables beside the
    /// test's own.
    package init(
        _ kind: Kind, folder: TemporaryFolder, clientPort: Int, peerPort: Int, scheme: String = "http",
        arguments: [String], environment: [String: String] = [:], openFilesMax: Int? = nil
    ) throws {
        self.kind = kind
        self.folder = folder
        self.clientPort = clientPort
        self.peerPort = peerPort
        self.scheme = scheme
        self.environment = environment
        let limit = openFilesMax.map { ["/bin/sh", "-c", "ulimit -n \($0); exec \"$0\" \"$@\""] } ?? []
        self.arguments = limit + [kind == .martlet ? try Binaries.martlet() : try Binaries.etcd()] + arguments
    }

    /// A server that runs and answers.
    package static func started(_ kind: Kind = .martlet, _ extra: [String] = []) async throws -> TestServer {
        let server = try TestServer(kind, extra)
        try await server.start()
        return server
    }

    package var endpoint: String { "\(scheme)://127.0.0.1:\(clientPort)" }
    package var logPath: String { folder.path("log") }
    package var pid: pid_t { child.withLockedValue { $0?.pid ?? 0 } }
    package var isRunning: Bool { child.withLockedValue { $0.map { $0.exitStatus == nil } ?? false } }

    /// Starts the process without waiting for it, with `more` arguments at the end.
    /// `errors`: where its standard error goes, if not to the log.
    package func launch(_ more: [String] = [], errors: String? = nil) throws {
        let process = try ChildProcess(
            arguments + more,
            environment: environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { own, _ in own },
            output: logPath, errors: errors ?? logPath)
        child.withLockedValue { $0 = process }
    }

    /// Starts the process and waits until it serves.
    package func start(within limit: Duration = .seconds(60)) async throws {
        try launch()
        try await waitUntilServing(within: limit)
    }

    /// Waits until a linearizable read is answered, over plain text; `launch` must have been called.
    package func waitUntilServing(within limit: Duration = .seconds(60)) async throws {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            guard isRunning else { throw TestFailure("\(kind) ended while starting\n\(logTail)") }
            if scheme != "http" {
                if logText.contains("ready to serve client requests") { return }
            } else if let answer = try? await HTTPProbe.get(port: clientPort, "/health", timeoutSeconds: 5),
                answer.status == 200
            {
                return
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw TestFailure("\(kind) did not serve within \(limit)\n\(logTail)")
    }

    /// `kill -9`, and waits for the process to be gone: one that syncs to a slow disk takes its time.
    package func killHard() async {
        guard let process = child.withLockedValue({ $0 }) else { return }
        process.signal(SIGKILL)
        _ = await process.wait(atMost: .seconds(60))
    }

    /// SIGTERM; the exit status, or nil when the process did not end within `limit`.
    @discardableResult
    package func terminate(within limit: Duration = .seconds(60)) async -> Int32? {
        guard let process = child.withLockedValue({ $0 }) else { return nil }
        process.signal(SIGTERM)
        return await process.wait(atMost: limit)
    }

    package func signal(_ number: Int32) { child.withLockedValue { $0?.signal(number) } }

    /// The exit status once the process has ended by itself; nil when it still runs after `limit`.
    package func waitForEnd(within limit: Duration) async -> Int32? {
        await child.withLockedValue { $0 }?.wait(atMost: limit)
    }

    package var logText: String { Shell.read(logPath) }
    package var logTail: String { "log of \(kind), \(logPath):\n" + String(logText.suffix(3000)) }

    /// Ends the process and removes its files.
    package func discard() async {
        await killHard()
        folder.remove()
    }

    /// A number of kilobytes out of `/proc/PID/status`, in bytes: `VmRSS`, `RssAnon`.
    package func memory(_ name: String) -> Int {
        for line in Shell.read("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix(name + ":") {
            return (line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0) * 1024
        }
        return 0
    }

    /// How many file descriptors the process holds.
    package var descriptorCount: Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
    }

    // MARK: Clients

    package func client(timeoutSeconds: Int64 = 60) throws -> EtcdClient {
        guard let endpoint = Endpoint(endpoint) else { throw TestFailure("no endpoint: \(endpoint)") }
        var configuration = EtcdClient.Configuration(endpoints: [endpoint])
        configuration.requestTimeout = .seconds(timeoutSeconds)
        return EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
    }

    /// Runs etcdctl 3.4 against this server. It is given more time than the five seconds of its own, which a busy machine
    /// may take; `arguments` may say otherwise.
    package func etcdctl(
        _ arguments: [String], input: String = "", program: String? = nil, atMost limit: Duration = .seconds(90)
    ) async throws -> Shell.Result {
        try await Shell.run(
            [
                try program ?? Binaries.etcdctl(), "--endpoints", "127.0.0.1:\(clientPort)", "--command-timeout=60s",
                "--dial-timeout=60s",
            ] + arguments, environment: ["ETCDCTL_API": "3"], input: input, atMost: limit)
    }
}

/// Runs `body` with a started server. The server is ended in any case; its files stay, and are named, when `body` fails.
package func withServer<T: Sendable>(
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
package func withBothServers<T: Sendable>(
    _ extra: [String] = [], isolation: isolated (any Actor)? = #isolation,
    _ body: (_ martlet: TestServer, _ etcd: TestServer) async throws -> T
) async throws -> T {
    try await withServer(.etcd, extra) { etcd in
        try await withServer(.martlet, extra) { martlet in try await body(martlet, etcd) }
    }
}
