import Foundation
import ResourceStore

/// `martletctl` against a store in this process, with a folder for manifests.
struct Tool: Sendable {
    let store: ObjectStore
    let folder: TemporaryFolder
    private let endpoint: String

    /// Runs `body` with a tool for a fresh store.
    static func with<T: Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ body: (Tool) async throws -> T
    ) async throws -> T {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        var options = EmbeddedOptions()
        options.clientURLs = ["http://127.0.0.1:0"]
        return try await using(ObjectStore.embedded(options)) { store in
            try await body(Tool(store: store, folder: folder, endpoint: store.clientURLs.first ?? ""))
        }
    }

    /// Runs a command; the exit status and both outputs.
    func run(_ arguments: String..., input: String = "") throws -> Command.Result {
        try Command.run(
            [try Binaries.program("martletctl")] + arguments, input: input,
            environment: ["ETCDCTL_ENDPOINTS": endpoint, "SWIFT_BACKTRACE": "enable=no"])
    }

    /// Runs a command that must succeed; its output.
    func output(_ arguments: String..., input: String = "") throws -> String {
        let result = try Command.run(
            [try Binaries.program("martletctl")] + arguments, input: input,
            environment: ["ETCDCTL_ENDPOINTS": endpoint, "SWIFT_BACKTRACE": "enable=no"])
        guard result.status == 0 else {
            throw TestFailure("martletctl \(arguments.joined(separator: " ")): \(result.status) \(result.errors)")
        }
        return result.output
    }

    /// Writes a manifest; its path.
    func file(_ name: String, _ text: String) throws -> String {
        let path = folder.path(name)
        try FileManager.default.createDirectory(
            at: URL(fileURLWithPath: path).deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// An object in the store, by its kind.
    func object(
        _ apiVersion: String, _ kind: String, _ name: String, namespace: String? = "default"
    ) async throws -> Unstructured {
        try await store.objects(Resource(apiVersion: apiVersion, kind: kind)).get(name, namespace: namespace)
    }

    static let deployment = """
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: web
          labels: {app: web}
        spec:
          replicas: 3
          template:
            spec:
              containers:
              - name: web
                image: web:1
                env:
                - {name: A, value: "1"}
                - {name: B, value: "2"}
        """
}
