import ArgumentParser
import Glibc

/// The client tool: etcdctl's commands with etcdctl's flags, output and exit codes, and a benchmark.
///
/// Owner thread: commands run in one task; connections on NIO's loops. Nothing is kept between runs.
struct Martletctl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martletctl",
        abstract: "A command line client for Martlet and etcd.",
        discussion: """
            Keys, leases, members and snapshots are handled by etcdctl's commands, with its flags and output. Objects of \
            Kubernetes, under /registry, are handled as kubectl would: apply, diff, describe, delete, and get with -n, \
            -A, -o, -l or -w, or `resource get KIND` in any case.

            The flags that every command has - `martletctl get --help` lists them - may also stand before the command, \
            and be given in the environment: ETCDCTL_ENDPOINTS for --endpoints, and so on.
            """,
        subcommands: [
            GetCommand.self, PutCommand.self, DeleteCommand.self, TxnCommand.self, WatchCommand.self,
            LeaseCommand.self, CompactionCommand.self, EndpointCommand.self, MemberCommand.self,
            MoveLeaderCommand.self, AlarmCommand.self, DefragCommand.self, SnapshotCommand.self,
            TopCommand.self, VersionCommand.self, BenchCommand.self,
            ResourceCommand.self, ApplyCommand.self, DiffCommand.self, ResourceDeleteCommand.self,
            DescribeCommand.self, DuCommand.self,
        ])

    /// Parses the process's arguments, runs the command, and gives the exit code; prints errors as one line.
    static func runToExitCode() async -> Int32 {
        // A reader that goes away, as in `martletctl get ... | head`, ends a write with an error and not the process
        // with a signal.
        signal(SIGPIPE, SIG_IGN)
        let arguments = GlobalOptions.arrange(RawText.commandLine(), environment: Environment.value)
        do {
            if let problem = CommandTree.problem(arguments) { throw problem }
            var command = try parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return 0
        } catch let error as CommandError {
            ConnectionFailures.explain(error)
            if !error.message.isEmpty { Output.error("Error: \(error.message)") }
            return error.code.rawValue
        } catch {
            let text = fullMessage(for: error)
            if exitCode(for: error).isSuccess {
                Output.write(Array((text + "\n").utf8))
                return 0
            }
            Output.error("Error: \(message(for: error))\nRun '\(CommandTree.path(arguments)) --help' for usage.")
            return CommandError.Code.failure.rawValue
        }
    }
}
