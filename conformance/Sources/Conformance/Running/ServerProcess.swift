import Client
package import Foundation
import NIOCore
import NIOPosix
import Synchronization
import Transport
package import TransportSecurity
import Wire

/// Starts private servers out of a command that the user gave.
///
/// The command is a shell command for a server with etcd's flags: `etcd`, `/usr/bin/martlet --log-level warn`. Data
/// folder, addresses and the flags of a case are added to it. Any task may use it.
package final class ServerLauncher: Sendable {
    package let command: String
    private let folder: String
    private let count = Mutex(0)

    /// Servers keep their files in a new folder under the system's one for temporary files.
    package init(command: String) throws {
        self.command = command
        folder = NSTemporaryDirectory() + "/martlet-conformance-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    /// Starts a server with an empty store and waits until it serves.
    package func start(flags: [String] = [], tls: ServerTLS? = nil) async throws -> ServerProcess {
        let ports = try ServerProcess.freePorts(2)
        let server = try ServerProcess(
            command: command, folder: nextFolder(),
            member: .init(name: "default", clientPort: ports[0], peerPort: ports[1]), flags: flags, tls: tls)
        try await server.start()
        return server
    }

    /// Starts the members of a new cluster and waits until all of them serve.
    package func startCluster(of size: Int, flags: [String] = []) async throws -> [ServerProcess] {
        let ports = try ServerProcess.freePorts(2 * size)
        var members = (0..<size).map { number in
            ServerProcess.Member(
                name: "member\(number + 1)", clientPort: ports[2 * number], peerPort: ports[2 * number + 1])
        }
        let cluster = members.map(\.entry).joined(separator: ",")
        for index in members.indices { members[index].cluster = cluster }
        let servers = try members.map { member in
            try ServerProcess(command: command, folder: nextFolder(), member: member, flags: flags, tls: nil)
        }
        for server in servers { try server.launch() }
        for server in servers { try await server.waitUntilServing() }
        return servers
    }

    private func nextFolder() -> String {
        let number = count.withLock { count in
            count += 1
            return count
        }
        return "\(folder)/\(number)"
    }

    /// A folder for a case's own files.
    package func makeFolder(_ name: String) throws -> String {
        let path = folder + "/" + name
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// Removes every file. Servers must have been ended.
    package func discard() { try? FileManager.default.removeItem(atPath: folder) }
}

/// What a private server with TLS is started with, and how the suite calls it.
package struct ServerTLS: Sendable {
    package var flags: [String]
    package var client: TLSConfiguration

    package init(flags: [String], client: TLSConfiguration) {
        self.flags = flags
        self.client = client
    }
}

/// One server process on a data folder and ports of its own. It can be ended and started again. Any task may use it.
package final class ServerProcess: Sendable {
    /// A member's name, its ports, and the cluster that it founds.
    struct Member {
        let name: String
        let clientPort: Int
        let peerPort: Int
        var cluster: String

        /// Alone.
        init(name: String, clientPort: Int, peerPort: Int) {
            self.name = name
            self.clientPort = clientPort
            self.peerPort = peerPort
            cluster = ""
            cluster = entry
        }

        var peerURL: String { "http://127.0.0.1:\(peerPort)" }
        /// The member in `--initial-cluster`.
        var entry: String { "\(name)=\(peerURL)" }
    }

    package let folder: String
    package let clientPort: Int
    package let peerPort: Int
    package let target: Target
    private let line: String
    private let process = Mutex<pid_t>(0)

    init(command: String, folder: String, member: Member, flags: [String], tls: ServerTLS?) throws {
        self.folder = folder
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        clientPort = member.clientPort
        peerPort = member.peerPort
        let scheme = tls == nil ? "http" : "https"
        let client = "\(scheme)://127.0.0.1:\(clientPort)"
        let peer = member.peerURL
        guard let endpoint = Endpoint(client) else { throw SuiteError("no endpoint: \(client)") }
        target = Target(endpoints: [endpoint], tls: tls?.client)
        let all =
            [
                "--name", member.name, "--data-dir", folder + "/data", "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", member.cluster,
            ] + (tls?.flags ?? []) + flags
        line = "exec \(command) " + all.map { "'\($0)'" }.joined(separator: " ")
    }

    /// One that nobody has ended, because what used it threw, does not go on without it.
    deinit {
        let pid = process.withLock { $0 }
        guard pid > 0 else { return }
        kill(pid, SIGKILL)
        _ = waitpid(pid, nil, 0)
        Self.running.withLock { _ = $0.remove(pid) }
        try? FileManager.default.removeItem(atPath: folder)
    }

    package var pid: pid_t { process.withLock { $0 } }
    package var logTail: String {
        String(((try? String(contentsOfFile: folder + "/log", encoding: .utf8)) ?? "").suffix(2000))
    }

    /// Starts the process and waits until it answers a linearizable read. Throws `SuiteError` with the log's end.
    package func start(within limit: Duration = .seconds(60)) async throws {
        try launch()
        try await waitUntilServing(within: limit)
    }

    /// Waits until the process answers a linearizable read. Throws `SuiteError` with the log's end.
    func waitUntilServing(within limit: Duration = .seconds(60)) async throws {
        let deadline = ContinuousClock.now + limit
        var last = ""
        while ContinuousClock.now < deadline {
            if hasEnded() { throw SuiteError("the server ended while starting: \(line)\n\(logTail)") }
            do throws(RPCStatus) {
                var request = Etcdserverpb_RangeRequest()
                request.key = Data("conformance/none".utf8)
                let _: Etcdserverpb_RangeResponse = try await target.call(Paths.range, request, timeout: .seconds(2))
                return
            } catch { last = "\(error)" }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw SuiteError("the server did not serve within \(limit): \(last)\n\(line)\n\(logTail)")
    }

    /// Starts the process without waiting.
    package func launch() throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, folder + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let words: [String] = ["/bin/sh", "-c", line]
        let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, "/bin/sh", &actions, nil, argv, environ)
        guard result == 0 else { throw SuiteError("cannot start a shell: \(String(cString: strerror(result)))") }
        process.withLock { $0 = pid }
        Self.running.withLock { _ = $0.insert(pid) }
    }

    /// The processes that have been started and not yet reaped.
    private static let running = Mutex<Set<pid_t>>([])

    /// Kills what is still running, for a suite that is interrupted.
    package static func killAll() {
        for pid in running.withLock({ $0 }) { kill(pid, SIGKILL) }
    }

    private func hasEnded() -> Bool {
        process.withLock { pid in
            guard pid > 0 else { return true }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return false }
            Self.running.withLock { [pid] running in _ = running.remove(pid) }
            pid = 0
            return true
        }
    }

    package func signal(_ number: Int32) {
        process.withLock { pid in
            if pid > 0 { kill(pid, number) }
        }
    }

    /// Sends a signal and waits for the process to be gone; kills it when it is not within `limit`.
    package func end(_ number: Int32 = SIGKILL, within limit: Duration = .seconds(60)) async {
        await target.close()
        signal(number)
        let deadline = ContinuousClock.now + limit
        while !hasEnded() {
            if ContinuousClock.now >= deadline { signal(SIGKILL) }
            try? await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Ends the process and removes its files.
    package func discard() async {
        await end()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static let given = Mutex<Set<UInt16>>([])

    /// Different ports that nobody listens on, below those that the kernel gives to outgoing connections: one of these could
    /// take the port before the server has it, or while it is started again.
    static func freePorts(_ count: Int) throws -> [Int] {
        var ports: [Int] = []
        for _ in 0..<1000 where ports.count < count {
            let port = UInt16.random(in: 20_000..<32_000)
            if given.withLock({ $0.insert(port).inserted }), canBind(port) { ports.append(Int(port)) }
        }
        guard ports.count == count else { throw SuiteError("no free ports between 20000 and 32000") }
        return ports
    }

    private static func canBind(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
