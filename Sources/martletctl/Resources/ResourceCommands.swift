import ArgumentParser
import Client
import ResourceStore

/// Commands on resource objects, as they lie under `/registry`.
///
/// etcdctl's own `get KEY` keeps its name and meaning, so objects are read by `resource get KIND`, or by `get KIND` with a
/// flag that only objects have (`-n`, `-A`, `-o`, `-l`, `--watch`, `--resource`); `apply`, `diff`, `delete`, `describe` and
/// `du` have no namesake in etcdctl and stand at the top, too. `top --keys` shows resources, `top` members. `-w` before
/// an output format is etcdctl's `--write-out`, else `--watch` (`ObjectForm`).
struct ResourceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resource",
        abstract: "Reads and writes resource objects under /registry",
        subcommands: [
            ResourceGetCommand.self, ApplyCommand.self, DiffCommand.self, ResourceDeleteCommand.self,
            DescribeCommand.self, DuCommand.self, ResourceTopCommand.self,
        ],
        aliases: ["res"])
}

/// The flags of all commands on objects.
struct ResourceOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The objects' namespace; \"default\" where one is needed.")
    var namespace: String?

    @Option(help: "The resource, for kinds that are not known: PLURAL[.GROUP][:cluster].")
    var resource: String?

    @Option(help: "What the keys of all objects begin with.")
    var storagePrefix = "/registry"

    init() {}
}

/// Manifests to read.
struct ManifestOptions: ParsableArguments {
    @Option(name: [.customShort("f"), .long], help: "A file, a folder, or - for standard input; may be repeated.")
    var filename: [String] = []

    init() {}
}

extension GlobalOptions {
    /// Runs `body` with the store at the endpoints. Errors of the store become the command's, in one line.
    func store<Result: Sendable>(
        _ options: ResourceOptions, _ body: (ObjectStore, EtcdClient) async throws -> Result
    ) async throws -> Result {
        try await session { client in
            let store = ObjectStore(client: client, prefix: options.storagePrefix)
            do { return try await body(store, client) } catch let error as ObjectStoreError {
                throw CommandError.failure(error.description)
            }
        }
    }
}

extension Output {
    /// Writes a text to stdout.
    static func write(text: String) { write(Array(text.utf8)) }
}
