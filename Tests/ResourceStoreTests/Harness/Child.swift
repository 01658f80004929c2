import Foundation
import Glibc

/// A child process in a group of its own, with a pipe to its standard input, by `posix_spawn`. Used from one task at a
/// time. When it is let go of, it and all that it has started are killed.
final class Child {
    private let pid: pid_t
    private var input: Int32
    private var status: Int32?

    /// Starts `arguments[0]`; output and errors go to the end of files.
    init(_ arguments: [String], environment: [String: String], output: String, errors: String) throws {
        var ends: [Int32] = [0, 0]
        // At once: other tests start processes too, and one that had our end of the pipe would keep it open.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw TestFailure("no pipe: \(String(cString: strerror(errno)))")
        }
        defer { close(ends[0]) }
        input = ends[1]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        // A test's thread may have signals blocked that the child needs.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        let envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, arguments[0], &actions, &attributes, argv, envp)
        guard result == 0 else {
            close(ends[1])
            throw TestFailure("cannot start \(arguments[0]): \(String(cString: strerror(result)))")
        }
        self.pid = pid
    }

    /// Starts a command that must not outlive the test program, in whatever way that ends: a shell beside it kills it when
    /// the pipe from here is closed, and ends when that is gone.
    static func guarded(
        _ command: [String], environment: [String: String] = ProcessInfo.processInfo.environment, log: String
    ) throws -> Child {
        let script = "\"$@\" & p=$!; read -r end; kill -9 $p 2>/dev/null; wait $p; exit 0"
        let variables = environment.filter { !$0.key.hasPrefix("ETCD") }
            .merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        return try Child(["/bin/sh", "-c", script, "sh"] + command, environment: variables, output: log, errors: log)
    }

    deinit { end() }

    /// Kills it and all that it has started, and waits until it is gone: of one that is guarded, the command too.
    func end() {
        closeInput()
        guard status == nil else { return }
        // The guard ends by itself when its command has ended; it is not reaped yet, so that its group's number stays taken.
        for _ in 0..<1000 where isRunning { usleep(10_000) }
        kill(-pid, SIGKILL)
        _ = wait()
    }

    private var isRunning: Bool {
        var info = siginfo_t()
        return waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info._sifields._kill.si_pid == 0
    }

    func closeInput() {
        if input >= 0 { close(input) }
        input = -1
    }

    /// Waits for the end: the exit code, or 128 and the signal's number.
    func wait() -> Int32 {
        if let status { return status }
        var raw: Int32 = 0
        while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
        let ended = raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
        status = ended
        return ended
    }
}

/// Runs a command to its end, two minutes at most.
enum Command {
    struct Result: Sendable {
        var status: Int32
        var output: String
        var errors: String
    }

    static func run(
        _ arguments: [String], input: String = "", environment extra: [String: String] = [:]
    ) throws -> Result {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try input.write(toFile: folder.path("in"), atomically: false, encoding: .utf8)
        let child = try Child(
            ["timeout", "120", "sh", "-c", "exec \"$@\" < \"$0\"", folder.path("in")] + arguments,
            environment: ProcessInfo.processInfo.environment.merging(extra) { $1 }, output: folder.path("out"),
            errors: folder.path("err"))
        child.closeInput()
        let status = child.wait()
        func text(_ name: String) -> String {
            String(decoding: FileManager.default.contents(atPath: folder.path(name)) ?? Data(), as: UTF8.self)
        }
        return Result(status: status, output: text("out"), errors: text("err"))
    }
}
