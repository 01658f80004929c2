import Foundation
import TestSupport

/// A small file system in a file, for one member's data. It can be made to stall: while it is frozen every write to it
/// waits, and nothing else on the machine does. It can be filled. Needs root.
struct TestDisk: Sendable {
    /// A test that dies leaves no disk frozen for longer.
    private static let stallSecondsMax = 120

    static var isAvailable: Bool { geteuid() == 0 }

    let directory: String
    private let image: String

    /// Makes it inside a folder, and mounts it.
    init(in folder: TemporaryFolder) async throws {
        image = folder.path("image")
        directory = folder.path("disk")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        Guardian.shared.watch(mount: directory)
        try await Self.run(
            "truncate -s 512M \"$0\" && mkfs.ext4 -q -F \"$0\" && mount -o loop \"$0\" \"$1\"", image, directory)
    }

    /// Writes wait from now on until `thaw`.
    func freeze() async throws {
        let seconds = Self.stallSecondsMax
        try await Self.run(
            "fsfreeze -f \"$0\" && { (sleep \(seconds); fsfreeze -u \"$0\") < /dev/null > /dev/null 2>&1 & }", directory
        )
    }

    /// Does nothing when it is not frozen.
    func thaw() async throws { try await Self.run("fsfreeze -u \"$0\" 2> /dev/null || true", directory) }

    /// Leaves no room on it.
    func fill() async throws {
        try await Self.run("dd if=/dev/zero of=\"$0/ballast\" bs=1M 2> /dev/null || true; sync -f \"$0\"", directory)
    }

    /// Makes room again.
    func relieve() async throws { try await Self.run("rm -f \"$0/ballast\"", directory) }

    /// Its processes must have ended. What cannot be unmounted now is when the test program ends.
    func unmount() async {
        guard (try? await Self.run("fsfreeze -u \"$0\" 2> /dev/null; umount \"$0\"", directory)) != nil else { return }
        Guardian.shared.forget(mount: directory)
    }

    private static func run(_ script: String, _ arguments: String...) async throws {
        let path = "PATH=/usr/sbin:/sbin:$PATH; "
        let result = try await Shell.run(["/bin/sh", "-c", path + script] + arguments)
        guard result.exitStatus == 0 else { throw TestFailure("\(script): \(result.errors)") }
    }
}
