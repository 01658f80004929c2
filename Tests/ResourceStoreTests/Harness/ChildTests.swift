import Foundation
import Testing

extension ResourceStoreTests {
    /// The harness itself: nothing that a test starts outlives it.
    @Suite("child processes") struct Children {
        private func started(_ folder: TemporaryFolder) async throws -> (child: Child, inner: pid_t) {
            let child = try Child.guarded(
                ["sh", "-c", "sleep 1000 & echo $! > \"$0\"; wait", folder.path("pid")], log: folder.path("log"))
            for _ in 0..<3000 {
                let text = (try? String(contentsOfFile: folder.path("pid"), encoding: .utf8)) ?? ""
                if text.hasSuffix("\n"), let pid = pid_t(text.dropLast()) { return (child, pid) }
                try await Task.sleep(for: .milliseconds(10))
            }
            throw TestFailure("the command does not start")
        }

        private func isGone(_ pid: pid_t) async throws -> Bool {
            for _ in 0..<3000 {
                // A zombie that nobody has reaped yet is gone, too.
                let status = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
                if kill(pid, 0) != 0 || status.contains(") Z ") { return true }
                try await Task.sleep(for: .milliseconds(10))
            }
            return false
        }

        @Test("a child that is let go of takes along what it has started")
        func letGo() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            var inner: pid_t = 0
            do {
                let started = try await started(folder)
                inner = started.inner
                #expect(kill(inner, 0) == 0)
            }
            #expect(try await isGone(inner))
        }

        @Test("a command ends when the test program is gone")
        func orphaned() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let child = try Child.guarded(["sleep", "1000"], log: folder.path("log"))
            child.closeInput()
            #expect(child.wait() == 0, "the guard has killed it and ended")
        }
    }
}
