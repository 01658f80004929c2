import ArgumentParser
import Client
import Foundation
import Glibc
import Wire

struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Manages etcd node snapshots",
        subcommands: [
            SnapshotSaveCommand.self, SnapshotStatusCommand.self, SnapshotRestoreCommand.self,
        ])
}

struct SnapshotSaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Stores an etcd node backend snapshot to a given file")

    @Argument(help: "The file to write; it is replaced only by a complete snapshot.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else { throw CommandError.badArguments("snapshot save expects one argument") }
        let path = words[0]
        // Whatever goes wrong from here on is an interruption to etcdctl.
        do { try await save(to: path) } catch let error as CommandError {
            throw error.code == .failure ? CommandError(.interrupted, error.message) : error
        }
        Output.write(Array("Snapshot saved at \(path)\n".utf8))
    }

    private func save(to path: String) async throws {
        guard global.endpointList.count == 1 else {
            throw CommandError.failure(
                "snapshot must be requested to one selected node, not multiple "
                    + "[\(global.endpointList.joined(separator: " "))]")
        }
        try await global.session { client in
            let stream = try await client.snapshot()
            let file = try SnapshotFile(partOf: path)
            do {
                for try await part in stream { try part.blob.withUnsafeBytes { try file.append($0) } }
                try file.finish()
            } catch {
                file.discard()
                stream.cancel()
                throw error
            }
        }
    }
}

struct SnapshotStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Gets backend snapshot status of a given file")

    @Argument(help: "The snapshot file.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() throws {
        guard words.count == 1 else {
            throw CommandError.badArguments("snapshot status requires exactly one argument")
        }
        let printer = try global.printer()
        Output.write(try printer.snapshotStatus(try SnapshotFileStatus(path: words[0])))
    }
}
