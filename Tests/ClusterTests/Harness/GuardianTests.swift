import Foundation
import TestSupport
import Testing

extension ClusterTests {
    @Suite("what tests leave behind", .besideOthers) struct GuardianTests {
        /// The guardian of these tests works when they end; another one is ended here.
        @Test("processes end with the program that started them, stopped ones too, and those that it let go stay")
        func processes() async throws {
            let folder = try TemporaryFolder("guardian")
            let children = try (0..<3).map { _ in
                try ChildProcess(["sleep", "600"], output: folder.path("out"), errors: folder.path("out"))
            }
            var guardian: Guardian? = Guardian()
            for child in children { guardian?.watch(child.pid) }
            guardian?.forget(children[1].pid)
            children[2].signal(SIGSTOP)
            guardian = nil
            #expect(await children[0].wait(atMost: .seconds(30)) == 128 + SIGKILL)
            #expect(await children[2].wait(atMost: .seconds(30)) == 128 + SIGKILL)
            #expect(children[1].exitStatus == nil)
            children[1].signal(SIGKILL)
            #expect(await children[1].wait(atMost: .seconds(30)) == 128 + SIGKILL)
            folder.remove()
        }

        @Test(
            "file systems are unmounted when the program ends, frozen ones too",
            .enabled(if: TestDisk.isAvailable, "mounting needs root"))
        func mounts() async throws {
            let folder = try TemporaryFolder("guardian")
            let disk = try await TestDisk(in: folder)
            var guardian: Guardian? = Guardian()
            guardian?.watch(mount: disk.directory)
            try await disk.freeze()
            guardian = nil
            try await eventually("the disk is unmounted") {
                !Shell.read("/proc/mounts").contains(disk.directory)
            }
            Guardian.shared.forget(mount: disk.directory)
            folder.remove()
        }
    }
}
