import Foundation
import Testing

/// Tests of the conformance suite: that its parts judge rightly, and that it sees every falsification.
///
/// They start real servers: the reference etcd out of `MARTLET_REFERENCE`, Martlet out of `MARTLET_BIN`, as `make test`
/// sets them. Each has servers of its own: expectations of revisions allow no neighbour.
@Suite("Conformance") struct ConformanceTests {
    /// The repository's folder of case files.
    static let casesFolder =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path + "/conformance/cases"

    /// A program that the environment names the folder of. A missing one is a failure, never a reason to skip.
    static func program(_ name: String, in variable: String) throws -> String {
        guard let folder = ProcessInfo.processInfo.environment[variable], !folder.isEmpty else {
            throw TestFailure("\(variable) is not set: run the tests with `make test`, which sets it")
        }
        let path = folder + "/" + name
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestFailure("no program at \(path), named by \(variable)")
        }
        return URL(fileURLWithPath: path).path
    }
}
