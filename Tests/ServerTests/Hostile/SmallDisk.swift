import TestSupport

/// A small file system in memory: a disk that is soon full.
struct SmallDisk {
    let folder: TemporaryFolder

    /// Only root may mount, and not in every container. `make test` and CI run as root.
    static func isPermitted() async throws -> Bool {
        guard let disk = try? await SmallDisk(megabytes: 1) else { return false }
        try await disk.remove()
        return true
    }

    init(megabytes: Int) async throws {
        folder = try TemporaryFolder("small")
        let mounted = try await Shell.run([
            "mount", "-t", "tmpfs", "-o", "size=\(megabytes)m", "martlet-test", folder.root,
        ])
        guard mounted.exitStatus == 0 else {
            folder.remove()
            throw TestFailure("cannot mount: \(mounted.errors)")
        }
        Guardian.shared.watch(mount: folder.root)
    }

    /// Runs `body` with a server whose data lie on such a disk. Both are gone afterwards.
    static func withServer(megabytes: Int, _ body: (TestServer, SmallDisk) async throws -> Void) async throws {
        let disk = try await SmallDisk(megabytes: megabytes)
        let server = try TestServer(.martlet, dataFolder: disk.folder.root)
        var problem: (any Error)?
        do {
            try await server.start()
            try await body(server, disk)
        } catch { problem = error }
        let tail = server.logTail
        await server.discard()
        try await disk.remove()
        if let problem { throw TestFailure("\(problem)\n\(tail)") }
    }

    private func remove() async throws {
        try await eventually("the small disk is unmounted") {
            try await Shell.run(["umount", folder.root]).exitStatus == 0
        }
        Guardian.shared.forget(mount: folder.root)
        folder.remove()
    }
}
