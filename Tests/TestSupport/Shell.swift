import Foundation

/// Runs a command to its end.
package enum Shell {
    package struct Result: Sendable {
        package var exitStatus: Int32
        package var output: String
        package var errors: String
    }

    /// Runs a command with `input` as its standard input; throws when it does not end in time.
    package static func run(
        _ arguments: [String], environment: [String: String] = [:], input: String = "",
        atMost limit: Duration = .seconds(60)
    ) async throws -> Result {
        let folder = try TemporaryFolder("command")
        defer { folder.remove() }
        try input.write(toFile: folder.path("in"), atomically: false, encoding: .utf8)
        let child = try ChildProcess(
            arguments, environment: environment, input: folder.path("in"), output: folder.path("out"),
            errors: folder.path("err"))
        guard let status = await child.wait(atMost: limit) else {
            child.signal(SIGKILL)
            _ = await child.wait(atMost: .seconds(60))
            throw TestFailure("\(arguments.joined(separator: " ")) did not end within \(limit)")
        }
        return Result(
            exitStatus: status, output: read(folder.path("out")), errors: read(folder.path("err")))
    }

    /// A file as text, bytes that are not UTF-8 replaced.
    package static func read(_ path: String) -> String {
        String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    }
}

/// A folder of its own for one test.
package struct TemporaryFolder: Sendable {
    package let root: String

    package init(_ name: String) throws {
        root = NSTemporaryDirectory() + "/martlet-\(name)-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    }

    package func path(_ name: String) -> String { root + "/" + name }
    package func remove() { try? FileManager.default.removeItem(atPath: root) }
}
