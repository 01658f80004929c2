import Client
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport
import Wire

/// One member of a `TestCluster`: a process that can be killed, stopped, started again and wiped.
final class TestMember: Sendable {
    let name: String
    let server: TestServer
    /// Where the others find it: the address of its links when there are some, else where it listens.
    let peerURL: String
    /// Where its data lies, if that can stall and be filled.
    let disk: TestDisk?
    /// Slows its syncs and writes down, if it is started so.
    let slowDisk: SlowDisk?
    /// What the process is started with, but for the data directory.
    let arguments: [String]
    /// For calls to this member alone; every call ends within half a minute.
    let client: EtcdClient
    /// For looking at a member that may not answer.
    private let probe: EtcdClient

    init(
        name: String, server: TestServer, peerURL: String, arguments: [String], disk: TestDisk?, slowDisk: SlowDisk?
    ) throws {
        self.name = name
        self.server = server
        self.peerURL = peerURL
        self.arguments = arguments
        self.disk = disk
        self.slowDisk = slowDisk
        client = try server.client(timeoutSeconds: 30)
        probe = try server.client(timeoutSeconds: 1)
    }

    var dataDirectory: String { (disk?.directory ?? server.folder.root) + "/data" }
    var isRunning: Bool { server.isRunning }

    /// What the member says of itself, or nil when it does not answer within a second.
    func status() async -> Etcdserverpb_StatusResponse? { try? await probe.status() }

    /// The identity; the member must run.
    func id() async throws -> UInt64 { try await client.status().header.memberID }

    /// The identity as etcdctl writes it.
    func hexID() async throws -> String { String(try await id(), radix: 16) }

    /// Waits until the member answers about itself, leader or not.
    func waitUntilAnswering(within limit: Duration = .seconds(60)) async throws {
        try await eventually("\(name) answers", within: limit) {
            guard isRunning else { throw TestFailure("\(name) ended while starting\n\(server.logTail)") }
            return await status() != nil
        }
    }

    /// Removes what the member has on disk; it must not run.
    func wipe() throws { try FileManager.default.removeItem(atPath: dataDirectory) }

    /// The value of a key as this member has it, read serializable; nil when there is none.
    func localValue(_ key: String) async throws -> String? {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(key.utf8)
        request.serializable = true
        return try await client.range(request).kvs.first.map { String(decoding: $0.value, as: UTF8.self) }
    }

    /// Runs etcdctl 3.4 against this member alone.
    func etcdctl(_ line: String, input: String = "") async throws -> Shell.Result {
        try await server.etcdctl(line.split(separator: " ").map(String.init), input: input)
    }

    /// The same, and throws when it fails.
    @discardableResult
    func etcdctlOutput(_ line: String) async throws -> String {
        let result = try await etcdctl(line)
        guard result.exitStatus == 0 else { throw TestFailure("etcdctl \(line): \(result.errors)") }
        return result.output
    }

    /// The text of the error that etcdctl ends with; empty when it does not fail.
    func etcdctlError(_ line: String) async throws -> String {
        let result = try await etcdctl(line)
        guard result.exitStatus != 0 else { return "" }
        return result.errors.split(separator: "\n").last { $0.hasPrefix("Error: ") }.map { String($0.dropFirst(7)) }
            ?? result.errors
    }

    func close() async {
        await client.close()
        await probe.close()
    }
}
