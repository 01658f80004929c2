import ArgumentParser
import Client
import Wire

struct AlarmCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alarm", abstract: "Alarm related commands",
        subcommands: [AlarmListCommand.self, AlarmDisarmCommand.self])
}

struct AlarmListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Lists all alarms")

    @Argument(help: .hidden)
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.isEmpty else { throw CommandError.badArguments("alarm list command accepts no arguments") }
        let printer = try global.printer()
        let response = try await global.session { client in
            try await client.alarm(Etcdserverpb_AlarmRequest())
        }
        Output.write(try printer.alarm(response))
    }
}

struct AlarmDisarmCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "disarm", abstract: "Disarms all alarms")

    @Argument(help: .hidden)
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.isEmpty else { throw CommandError.badArguments("alarm disarm command accepts no arguments") }
        let printer = try global.printer()
        let response = try await global.session { client in
            // The client asks which alarms there are and ends each; the answer has no header, as etcdctl's.
            var disarmed = Etcdserverpb_AlarmResponse()
            for alarm in try await client.alarm(Etcdserverpb_AlarmRequest()).alarms {
                var request = Etcdserverpb_AlarmRequest()
                request.action = .deactivate
                request.memberID = alarm.memberID
                request.alarm = alarm.alarm
                disarmed.alarms += try await client.alarm(request).alarms
            }
            return disarmed
        }
        Output.write(try printer.alarm(response))
    }
}

struct DefragCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "defrag",
        abstract: "Defragments the storage of the etcd members with given endpoints")

    @Argument(help: .hidden)
    var words: [String] = []

    @Flag(help: "All members of the cluster.")
    var cluster = false

    @Option(help: "A data directory that no server uses; refused, as a Martlet's needs no defragmentation.")
    var dataDir = ""

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard dataDir.isEmpty else {
            throw CommandError.failure(
                "--data-dir: a Martlet's data directory needs no defragmentation; for an etcd's, use etcdutl defrag")
        }
        var hasFailed = false
        for endpoint in try await selectedEndpoints(global, isCluster: cluster) {
            do {
                _ = try await global.withClient(endpoints: [endpoint]) { client in try await client.defragment() }
                Output.write(Array("Finished defragmenting etcd member[\(endpoint)]\n".utf8))
            } catch let error as ClientError {
                hasFailed = true
                Output.error("Failed to defragment etcd member[\(endpoint)] (\(error))")
            }
        }
        if hasFailed { throw CommandError.failure("") }
    }
}

struct MoveLeaderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "move-leader", abstract: "Transfers leadership to another etcd cluster member.")

    @Argument(help: "The member to become leader, in hexadecimal.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else { throw CommandError.badArguments("move-leader command needs 1 argument") }
        guard let target = UInt64(words[0], radix: 16) else {
            throw CommandError.badArguments(
                "strconv.ParseUint: parsing \(GoText.quoted(words[0])): invalid syntax")
        }
        let printer = try global.printer()
        // Only the leader takes the request: find its endpoint.
        for endpoint in global.endpointList {
            let moved = try await global.session(endpoints: [endpoint]) { client in
                let status = try await client.status()
                let isLeader = status.leader == status.header.memberID
                return isLeader ? (status.leader, try await client.moveLeader(to: target)) : nil
            }
            if let (leader, response) = moved {
                Output.write(try printer.moveLeader(response, from: leader, to: target))
                return
            }
        }
        let list = "[" + global.endpointList.joined(separator: " ") + "]"
        throw CommandError.badArguments("no leader endpoint given at \(list)")
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the version of martletctl")

    @Argument(help: .hidden)
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() {
        Output.write(Array("martletctl version: \(Versions.product)\nAPI version: \(Versions.api)\n".utf8))
    }
}

/// The versions this tool reports.
enum Versions {
    /// Martlet's own version.
    static let product = "0.1.0"
    /// The level of the etcd API that is spoken.
    static let api = "3.7"
}
