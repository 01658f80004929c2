import Foundation

/// Where the programs are that the tests start. A missing one is a failure, never a reason to skip.
package enum Binaries {
    package static func martlet() throws -> String {
        if let folder = environment("MARTLET_BIN") { return try executable(folder + "/martlet", "MARTLET_BIN") }
        let beside = URL(fileURLWithPath: testBundlePath()).deletingLastPathComponent().path
        return try executable(beside + "/martlet", "MARTLET_BIN (unset; `make test` sets it)")
    }

    package static func etcd() throws -> String { try reference("etcd") }

    /// The `etcdctl` of the distribution, 3.4, and where that is missing the reference's own.
    package static func etcdctl() throws -> String {
        let installed = "/usr/bin/etcdctl"
        return FileManager.default.isExecutableFile(atPath: installed) ? installed : try reference("etcdctl")
    }

    /// The `etcdctl` that belongs to the reference server.
    package static func referenceEtcdctl() throws -> String { try reference("etcdctl") }

    package static func environment(_ name: String) -> String? {
        ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func reference(_ name: String) throws -> String {
        guard let folder = environment("MARTLET_REFERENCE") else {
            throw TestFailure("MARTLET_REFERENCE is not set: run the tests with `make test`, which sets it")
        }
        return try executable(folder + "/" + name, "MARTLET_REFERENCE")
    }

    private static func executable(_ path: String, _ source: String) throws -> String {
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestFailure("no program at \(path), named by \(source)")
        }
        return URL(fileURLWithPath: path).path
    }

    /// The test bundle is the program that runs, or an argument of the tool that runs it.
    private static func testBundlePath() -> String {
        CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    }
}
