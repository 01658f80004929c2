import ArgumentParser
import Client
import Conformance
import Foundation
import TransportSecurity

/// The command line of the conformance suite.
struct MartletConformance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-conformance",
        abstract: "Checks, case by case, whether a server has the semantics of the etcd v3 API.",
        discussion: """
            Runs against any endpoint, with key prefixes of its own. Cases that compact, fill or kill a server run \
            only on servers that --server-command starts, or on the endpoints when they are --exclusive. Exits with 1 \
            when a required case fails, with 2 when it could not run.
            """,
        subcommands: [RunCommand.self, ListCommand.self, MatrixCommand.self], defaultSubcommand: RunCommand.self)

    /// Runs the command of the command line and ends the process with its status.
    static func runToEnd() async -> Never {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            exit(withError: nil)
        } catch {
            exit(withError: error)
        }
    }
}

/// Where the case files are.
struct CasesOption: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of the case files.", valueName: "folder"))
    var cases: String?

    /// The folder given, or the one beside the program or below the working directory.
    func load() throws -> [Case] {
        if let cases { return try Suite.load(folder: cases) }
        var candidates = ["conformance/cases", "cases"]
        var folder = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        for _ in 0..<6 {
            folder.deleteLastPathComponent()
            candidates.append(folder.path + "/conformance/cases")
        }
        for candidate in candidates where FileManager.default.fileExists(atPath: candidate) {
            return try Suite.load(folder: candidate)
        }
        throw SuiteError("the case files are not found: name their folder with --cases")
    }
}

/// Which cases.
struct ChoiceOptions: ParsableArguments {
    @Option(name: .customLong("only"), help: ArgumentHelp("Only this area; may be repeated.", valueName: "area"))
    var areas: [String] = []

    @Option(
        name: .customLong("case"),
        help: ArgumentHelp("Only cases whose identity contains this; may be repeated.", valueName: "text"))
    var filters: [String] = []

    @Option(help: "Cases that hold at this API level (3.4, 3.5, 3.6, 3.7); default: what the server's version claims.")
    var level: String?

    func parsedLevel() throws -> Level? {
        guard let level else { return nil }
        guard let parsed = Level(level) else { throw SuiteError("\(level) is no API level") }
        return parsed
    }

    func checkAreas() throws {
        for area in areas where !Suite.areas.contains(area) {
            throw SuiteError("there is no area \(area); areas: \(Suite.areas.joined(separator: ", "))")
        }
    }
}
