import Foundation

/// Runs a command to its end.
enum Shell {
    struct Result: Sendable {
        var exitStatus: Int32
        var output: String
        var errors: String
    }

    /// Runs a command with `input` as its standard input; throws when it does not end in time.
    static func run(
        _ arguments: [String], environment: [String: String] = [:], input: String = "",
        atMost limit: Duration = .seconds(30)
    ) async throws -> Result {
        let folder = try TemporaryFolder("command")
        defer { folder.remove() }
        try input.write(toFile: folder.path("in"), atomically: false, encoding: .utf8)
        let child = try ChildProcess(
            arguments, environment: environment, input: folder.path("in"), output: folder.path("out"),
            errors: folder.path("err"))
        guard let status = await child.wait(atMost: limit) else {
            child.signal(SIGKILL)
            _ = await child.wait(atMost: .seconds(5))
            throw TestFailure("\(arguments.joined(separator: " ")) did not end within \(limit)")
        }
        return Result(
            exitStatus: status, output: read(folder.path("out")), errors: read(folder.path("err")))
    }

    /// A file as text, bytes that are not UTF-8 replaced.
    static func read(_ path: String) -> String {
        String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    }
}

/// A folder of its own for one test.
struct TemporaryFolder: Sendable {
    let root: String

    init(_ name: String) throws {
        root = NSTemporaryDirectory() + "/martlet-\(name)-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    }

    func path(_ name: String) -> String { root + "/" + name }
    func remove() { try? FileManager.default.removeItem(atPath: root) }
}
