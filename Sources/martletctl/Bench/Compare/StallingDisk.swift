import Foundation
import Glibc

/// A file system of its own for a member's data, in a file, which can be made to stall: while it is frozen every write
/// and every sync of it waits, and nothing else on the machine does. Needs root. Owner: one task.
final class StallingDisk {
    private static let bytes: off_t = 2 << 30

    /// Where it is mounted.
    let directory: String
    private let image: String
    private var isFrozen = false

    /// Why this machine cannot do it; nil when it can.
    static var obstacle: String? {
        guard geteuid() == 0 else { return "a disk that stalls needs root (a loop mount and fsfreeze)" }
        for tool in ["mkfs.ext4", "mount", "umount", "fsfreeze"]
        where (try? run("sh", ["-c", "command -v \(tool)"])) == nil {
            return "a disk that stalls needs \(tool)"
        }
        return nil
    }

    /// Makes the file `image` with an empty file system in it and mounts it on `directory`.
    init(image: String, directory: String) throws(CommandError) {
        self.image = image
        self.directory = directory
        let descriptor = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0, ftruncate(descriptor, Self.bytes) == 0 else { throw .failure("cannot make \(image)") }
        close(descriptor)
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch { throw .failure("cannot make \(directory): \(error.localizedDescription)") }
        try Self.run("mkfs.ext4", ["-q", "-F", image])
        try Self.run("mount", ["-o", "loop", image, directory])
    }

    func freeze() throws(CommandError) {
        try Self.run("fsfreeze", ["-f", directory])
        isFrozen = true
    }

    func thaw() throws(CommandError) {
        if !isFrozen { return }
        isFrozen = false
        try Self.run("fsfreeze", ["-u", directory])
    }

    /// Thaws and unmounts it; its processes must have ended.
    func remove() {
        try? thaw()
        _ = try? Self.run("umount", [directory])
        unlink(image)
    }

    private static func run(_ tool: String, _ arguments: [String]) throws(CommandError) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [tool] + arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.environment = ProcessInfo.processInfo.environment.merging(
            ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]) { _, new in new }
        do { try process.run() } catch { throw .failure("cannot run \(tool): \(error.localizedDescription)") }
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw .failure("\(tool) \(arguments.joined(separator: " ")) failed")
        }
    }
}
