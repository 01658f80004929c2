import Client
import Foundation
import Glibc
import NIOCore
import NIOPosix
import Wire

/// A server under test: a process of our own with a fresh data directory and free ports, ended by its process ID.
/// Owner: one task.
final class ServerProcess {
    private static let readyTimeout = Duration.seconds(120)
    private static let stopTimeout = Duration.seconds(30)

    /// The executable.
    let path: String
    /// Where it keeps its log and, unless `dataDirectory` says otherwise, its data.
    let directory: String
    /// Its place among the members of a cluster; it founds one alone unless changed.
    var place: ClusterPlace
    /// Where it keeps its data.
    var dataDirectory: String
    private let clientPort: Int
    private let peerPort: Int
    private var process: Process?

    /// A server that is not started yet. `directory` is made, after removing what was there.
    init(path: String, directory: String, name: String = "bench") throws(CommandError) {
        self.path = path
        self.directory = directory
        dataDirectory = directory + "/data"
        do {
            try? FileManager.default.removeItem(atPath: directory)
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch { throw .failure("cannot make \(directory): \(error.localizedDescription)") }
        guard let first = Self.freePort(), let second = Self.freePort(), first != second else {
            throw .failure("no free port")
        }
        (clientPort, peerPort) = (first, second)
        place = ClusterPlace(name: name, initialCluster: "\(name)=http://127.0.0.1:\(second)")
    }

    /// The address for clients.
    var endpoint: String { "127.0.0.1:\(clientPort)" }

    /// The address for other members.
    var peerURL: String { "http://127.0.0.1:\(peerPort)" }

    /// The process; 0 when it does not run.
    var pid: Int32 { process?.processIdentifier ?? 0 }

    var isRunning: Bool { process?.isRunning ?? false }

    /// The size of all files in the data directory, bytes.
    var dataBytes: Int {
        let names = FileManager.default.enumerator(atPath: dataDirectory)?.compactMap { $0 as? String } ?? []
        return names.reduce(0) { sum, name in
            var information = stat()
            guard lstat("\(dataDirectory)/\(name)", &information) == 0 else { return sum }
            return information.st_mode & S_IFMT == S_IFREG ? sum + Int(information.st_blocks) * 512 : sum
        }
    }

    /// Starts the process on its data directory and returns, with the time it took, when it answers a linearizable
    /// read. Throws when it ends or does not answer within two minutes.
    func start() async throws(CommandError) -> Duration {
        let clock = ContinuousClock()
        let begin = clock.now
        try launch()
        try await waitUntilAnswering()
        return clock.now - begin
    }

    /// Starts the process on its data directory.
    func launch() throws(CommandError) {
        let client = "http://127.0.0.1:\(clientPort)"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = [
            "--name", place.name, "--data-dir", dataDirectory, "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL,
            "--initial-cluster", place.initialCluster, "--initial-cluster-state", place.isJoining ? "existing" : "new",
            "--quota-backend-bytes", "8589934592",
        ]
        let log = directory + "/log"
        if !FileManager.default.fileExists(atPath: log) {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
        }
        guard let output = FileHandle(forWritingAtPath: log) else { throw .failure("cannot write \(log)") }
        output.seekToEndOfFile()
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        do { try process.run() } catch { throw .failure("cannot start \(path): \(error.localizedDescription)") }
        self.process = process
    }

    /// Waits for the answer to a linearizable read. Throws when the process ends or does not answer within two minutes.
    func waitUntilAnswering() async throws(CommandError) {
        let log = directory + "/log"
        let clock = ContinuousClock()
        let begin = clock.now
        while clock.now - begin < Self.readyTimeout {
            guard let process, process.isRunning else { throw .failure("\(path) ended at once; its log is \(log)") }
            if await answers() { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
        throw .failure("\(path) does not answer after two minutes; its log is \(log)")
    }

    /// `kill -9`, and waits until the process is gone.
    func killHard() {
        guard let process else { return }
        self.process = nil
        kill(process.processIdentifier, SIGKILL)
        Self.reap(process)
    }

    /// Waits for the end of a process that was killed. Not by `waitUntilExit`, which can wait for ever for one that ended
    /// before.
    private static func reap(_ process: Process) {
        for _ in 0..<5000 where process.isRunning { usleep(1000) }
    }

    private func answers() async -> Bool {
        guard let endpoint = Endpoint(endpoint) else { return false }
        var configuration = EtcdClient.Configuration(endpoints: [endpoint])
        configuration.requestTimeout = .milliseconds(500)
        let client = EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
        var request = Etcdserverpb_RangeRequest()
        request.key = Data("ready".utf8)
        let answer = try? await client.range(request)
        await client.close()
        return answer != nil
    }

    /// Asks the process to end, and after half a minute makes it.
    func stop() async {
        guard let process else { return }
        self.process = nil
        let pid = process.processIdentifier
        kill(pid, SIGTERM)
        let clock = ContinuousClock()
        let begin = clock.now
        while process.isRunning, clock.now - begin < Self.stopTimeout {
            try? await Task.sleep(for: .milliseconds(20))
        }
        if process.isRunning { kill(pid, SIGKILL) }
        Self.reap(process)
    }

    /// Removes the data and the log.
    func clean() { try? FileManager.default.removeItem(atPath: directory) }

    /// A TCP port that nobody listens on now, below those the kernel gives to outgoing connections: a process that is
    /// started again finds it free.
    private static func freePort() -> Int? {
        for _ in 0..<1000 {
            let port = Int.random(in: 20_000..<32_000)
            if canBind(port) { return port }
        }
        return nil
    }

    private static func canBind(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let count = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, count) == 0 }
        }
    }
}

/// Where a member stands in its cluster: what `--name`, `--initial-cluster` and `--initial-cluster-state` say.
struct ClusterPlace {
    var name: String
    var initialCluster: String
    /// It joins a cluster that runs.
    var isJoining = false
}
