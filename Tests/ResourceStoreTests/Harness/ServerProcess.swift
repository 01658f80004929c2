import Foundation
import ResourceStore
import Synchronization

/// A server in a process of its own. It ends with the test program, in whatever way that ends.
final class ServerProcess: @unchecked Sendable {
    enum Kind: String { case martlet, etcd }

    let port: Int
    let endpoint: String
    private let kind: Kind
    private let folder: TemporaryFolder
    private let arguments: [String]
    // Touched by one test at a time, from one task.
    private var process: Child?

    /// Prepares and starts a server with its data in `folder`.
    init(_ kind: Kind, folder: TemporaryFolder, scheme: String = "http", _ extra: [String] = []) throws {
        self.kind = kind
        self.folder = folder
        let ports = try Self.freePorts(2)
        port = ports[0]
        endpoint = "\(scheme)://127.0.0.1:\(port)"
        let peer = "http://127.0.0.1:\(ports[1])"
        arguments =
            [
                try kind == .martlet ? Binaries.program("martlet") : Binaries.reference("etcd"), "--data-dir",
                folder.path(kind.rawValue), "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
                "default=\(peer)",
            ] + extra
        try start()
    }

    deinit { kill() }

    /// Starts the process; it must have ended before.
    func start() throws {
        process = try Child.guarded(arguments, log: folder.path("log"))
    }

    /// `kill -9`, and waits until the process is gone, and with it its hold of the port and of its data.
    func kill() {
        process?.end()
        process = nil
    }

    /// Waits until the store answers.
    func waitUntilServing(_ store: ObjectStore) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < deadline {
            if (try? await store.currentResourceVersion()) != nil { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("\(kind) does not answer; its log:\n\(logTail)")
    }

    var logTail: String {
        String(decoding: FileManager.default.contents(atPath: folder.path("log")) ?? Data(), as: UTF8.self).suffix(2000)
            .description
    }

    /// Different ports that nobody listens on, below those that the kernel gives to outgoing connections: one of these could
    /// take the port before the server has it, or while it is started again.
    static func freePorts(_ count: Int) throws -> [Int] {
        var ports: [Int] = []
        for _ in 0..<1000 where ports.count < count {
            let port = UInt16.random(in: 12_000..<20_000)
            if given.withLock({ $0.insert(port).inserted }), canBind(port) { ports.append(Int(port)) }
        }
        guard ports.count == count else { throw TestFailure("no free ports between 12000 and 20000") }
        return ports
    }

    private static let given = Mutex<Set<UInt16>>([])

    private static func canBind(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// Where the programs are that tests start. A missing one is a failure.
enum Binaries {
    /// A program of ours: in the folder that `MARTLET_BIN` names, else beside the test bundle.
    static func program(_ name: String) throws -> String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        let beside = URL(fileURLWithPath: bundle).deletingLastPathComponent().path
        return try executable((environment("MARTLET_BIN") ?? beside) + "/" + name)
    }

    /// A program of the reference server.
    static func reference(_ name: String) throws -> String {
        guard let folder = environment("MARTLET_REFERENCE") else { throw TestFailure("MARTLET_REFERENCE is not set") }
        return try executable(folder + "/" + name)
    }

    private static func executable(_ path: String) throws -> String {
        let absolute = URL(fileURLWithPath: path).path
        guard FileManager.default.isExecutableFile(atPath: absolute) else {
            throw TestFailure("there is no program at \(absolute)")
        }
        return absolute
    }
}
