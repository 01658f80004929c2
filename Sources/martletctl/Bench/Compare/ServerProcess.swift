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
    /// Where it keeps its data and its log.
    let directory: String
    private let clientPort: Int
    private let peerPort: Int
    private var process: Process?

    /// A server that is not started yet. `directory` is made, after removing what was there.
    init(path: String, directory: String) throws(CommandError) {
        self.path = path
        self.directory = directory
        do {
            try? FileManager.default.removeItem(atPath: directory)
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch { throw .failure("cannot make \(directory): \(error.localizedDescription)") }
        guard let first = Self.freePort(), let second = Self.freePort(), first != second else {
            throw .failure("no free port")
        }
        (clientPort, peerPort) = (first, second)
    }

    /// The address for clients.
    var endpoint: String { "127.0.0.1:\(clientPort)" }

    /// The process; 0 when it does not run.
    var pid: Int32 { process?.processIdentifier ?? 0 }

    /// The size of all files in the data directory, bytes.
    var dataBytes: Int {
        let names = FileManager.default.enumerator(atPath: directory + "/data")?.compactMap { $0 as? String } ?? []
        return names.reduce(0) { sum, name in
            var information = stat()
            guard lstat("\(directory)/data/\(name)", &information) == 0 else { return sum }
            return information.st_mode & S_IFMT == S_IFREG ? sum + Int(information.st_blocks) * 512 : sum
        }
    }

    /// Starts the process on its data directory and returns, with the time it took, when it answers a linearizable
    /// read. Throws when it ends or does not answer within two minutes.
    func start() async throws(CommandError) -> Duration {
        let clock = ContinuousClock()
        let begin = clock.now
        let (client, peer) = ("http://127.0.0.1:\(clientPort)", "http://127.0.0.1:\(peerPort)")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = [
            "--name", "bench", "--data-dir", directory + "/data", "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", "bench=\(peer)", "--quota-backend-bytes", "8589934592",
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
        while clock.now - begin < Self.readyTimeout {
            guard process.isRunning else { throw .failure("\(path) ended at once; its log is \(log)") }
            if await answers() { return clock.now - begin }
            try? await Task.sleep(for: .milliseconds(10))
        }
        throw .failure("\(path) does not answer after two minutes; its log is \(log)")
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
        process.waitUntilExit()
    }

    /// Removes the data and the log.
    func clean() { try? FileManager.default.removeItem(atPath: directory) }

    /// A TCP port that nobody listens on now.
    private static func freePort() -> Int? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var count = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                bind(descriptor, raw, count) == 0 && getsockname(descriptor, raw, &count) == 0
            }
        }
        return isBound ? Int(UInt16(bigEndian: address.sin_port)) : nil
    }
}
