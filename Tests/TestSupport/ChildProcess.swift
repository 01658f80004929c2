package import Foundation
import NIOConcurrencyHelpers

/// A process started by a test. It is ended by its process identifier, at the latest when the test program ends.
package final class ChildProcess: Sendable {
    package let pid: pid_t
    private let status = NIOLockedValueBox<Int32?>(nil)

    /// Starts `arguments[0]`. Output and errors go to the end of the files given.
    package init(
        _ arguments: [String], environment extra: [String: String] = [:], input: String = "/dev/null",
        output: String, errors: String
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        if errors == output {
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        } else {
            posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        }
        let variables = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("ETCD") }
            .merging(extra) { _, new in new }
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        let envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        // Before the process: one that another thread starts must not inherit the guardian's pipe.
        let guardian = Guardian.shared
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, arguments[0], &actions, nil, argv, envp)
        guard result == 0 else {
            throw TestFailure("cannot start \(arguments[0]): \(String(cString: strerror(result)))")
        }
        self.pid = pid
        guardian.watch(pid)
    }

    deinit {
        if exitStatus == nil {
            kill(pid, SIGKILL)
            var raw: Int32 = 0
            waitpid(pid, &raw, 0)
            Guardian.shared.forget(pid)
        }
    }

    /// The exit code, or 128 and the signal's number; nil while the process runs.
    package var exitStatus: Int32? {
        status.withLockedValue { status in
            if let status { return status }
            var raw: Int32 = 0
            guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
            Guardian.shared.forget(pid)
            status = raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
            return status
        }
    }

    package func signal(_ number: Int32) {
        status.withLockedValue { status in
            if status == nil { kill(pid, number) }
        }
    }

    /// Waits for the end of the process; nil when it still runs after `limit`.
    package func wait(atMost limit: Duration) async -> Int32? {
        let deadline = ContinuousClock.now + limit
        var pause = Duration.microseconds(500)
        while true {
            if let exitStatus { return exitStatus }
            if ContinuousClock.now >= deadline { return nil }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(5))
        }
    }
}
