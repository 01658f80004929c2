import Foundation
import Testing

@testable import ResourceStore

/// Where the objects of a test are kept. The shared suite runs on all of them.
enum Backing: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// In this process, in memory.
    case memory
    /// In this process, on disk.
    case disk
    /// Over TCP, at the second of two endpoints, of which the first is dead.
    case remote
    /// A real etcd.
    case etcd

    /// All that can run: a real etcd only where `MARTLET_REFERENCE` names its folder, as `make test` does.
    static var available: [Backing] {
        allCases.filter { $0 != .etcd || environment("MARTLET_REFERENCE") != nil }
    }

    var testDescription: String { rawValue }
}

func environment(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
}

/// Why a test cannot go on.
struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Runs `body` on a fresh store.
func withStore<T: Sendable>(
    _ backing: Backing, isolation: isolated (any Actor)? = #isolation, _ body: (ObjectStore) async throws -> T
) async throws -> T {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    switch backing {
    case .memory: return try await using(ObjectStore.embedded(), body)
    case .disk:
        return try await using(
            ObjectStore.embedded(EmbeddedOptions(storage: .directory(folder.path("data")))), body)
    case .remote:
        var options = EmbeddedOptions()
        options.clientURLs = ["http://127.0.0.1:0"]
        return try await using(ObjectStore.embedded(options)) { server in
            let remote = try ObjectStore.patient(["http://127.0.0.1:1"] + server.clientURLs)
            return try await using(remote, body)
        }
    case .etcd:
        let server = try ServerProcess(.etcd, folder: folder)
        defer { server.kill() }
        let store = try ObjectStore.patient([server.endpoint])
        try await server.waitUntilServing(store)
        return try await using(store, body)
    }
}

extension ObjectStore {
    /// A store somewhere else, whose calls have time enough on a machine that is busy with others.
    static func patient(_ endpoints: [String], tls: RemoteOptions.TLSOptions? = nil) throws -> ObjectStore {
        var options = RemoteOptions(endpoints: endpoints, tls: tls)
        options.requestTimeout = .seconds(60)
        return try remote(options)
    }
}

/// Runs `body` with a store and closes it in any case.
func using<T: Sendable>(
    _ store: ObjectStore, isolation: isolated (any Actor)? = #isolation, _ body: (ObjectStore) async throws -> T
) async throws -> T {
    do {
        let result = try await body(store)
        await store.close()
        return result
    } catch {
        await store.close()
        throw error
    }
}

/// The error that `body` ends with; nil when it ends well.
func failure(
    isolation: isolated (any Actor)? = #isolation, of body: () async throws -> Void
) async -> ObjectStoreError? {
    do { try await body() } catch { return error as? ObjectStoreError ?? ObjectStoreError(.other, "\(error)") }
    return nil
}

/// A folder of its own for one test.
struct TemporaryFolder: Sendable {
    let root: String

    init() throws {
        root = NSTemporaryDirectory() + "/resource-store-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    }

    func path(_ name: String) -> String { root + "/" + name }
    func remove() { try? FileManager.default.removeItem(atPath: root) }
}
