import ArgumentParser
import Client
import Wire

struct LeaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease", abstract: "Lease related commands",
        subcommands: [
            LeaseGrantCommand.self, LeaseRevokeCommand.self, LeaseTimeToLiveCommand.self, LeaseListCommand.self,
            LeaseKeepAliveCommand.self,
        ])
}

struct LeaseGrantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "grant", abstract: "Creates leases")

    @Argument(help: "The time to live, seconds.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else { throw CommandError.badArguments("lease grant command needs TTL argument") }
        guard let seconds = Int64(words[0]) else {
            throw CommandError.badArguments(
                "bad TTL (strconv.ParseInt: parsing \(GoText.quoted(words[0])): invalid syntax)")
        }
        let printer = try global.printer()
        var request = Etcdserverpb_LeaseGrantRequest()
        request.ttl = seconds
        let response = try await global.withClient { client in
            do throws(ClientError) { return try await client.leaseGrant(request) } catch {
                throw CommandError.failure("failed to grant lease (\(error))")
            }
        }
        Output.write(try printer.leaseGrant(response))
    }
}

struct LeaseRevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "revoke", abstract: "Revokes leases")

    @Argument(help: "The lease, in hexadecimal.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else { throw CommandError.badArguments("lease revoke command needs 1 argument") }
        let lease = try parseLease(words[0], what: "lease ID arg")
        let printer = try global.printer()
        var request = Etcdserverpb_LeaseRevokeRequest()
        request.id = lease
        let response = try await global.withClient { client in
            do throws(ClientError) { return try await client.leaseRevoke(request) } catch {
                throw CommandError.failure("failed to revoke lease (\(error))")
            }
        }
        Output.write(try printer.leaseRevoke(response, lease: lease))
    }
}

struct LeaseTimeToLiveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "timetolive", abstract: "Get lease information")

    @Argument(help: "The lease, in hexadecimal.")
    var words: [String] = []

    @Flag(help: "Also the keys that the lease is attached to.")
    var keys = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else {
            throw CommandError.badArguments("lease timetolive command needs lease ID as argument")
        }
        var request = Etcdserverpb_LeaseTimeToLiveRequest()
        request.id = try parseLease(words[0], what: "lease ID arg")
        request.keys = keys
        let printer = try global.printer()
        let response = try await global.session { client in try await client.leaseTimeToLive(request) }
        Output.write(try printer.leaseTimeToLive(response, withKeys: keys))
    }
}

struct LeaseListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List all active leases")

    @Argument(help: .hidden)
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let printer = try global.printer()
        let response = try await global.session { client in try await client.leaseLeases() }
        Output.write(try printer.leaseList(response))
    }
}

struct LeaseKeepAliveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keep-alive", abstract: "Keeps leases alive (renew)")

    @Argument(help: "The lease, in hexadecimal.")
    var words: [String] = []

    @Flag(help: "Renew once and end.")
    var once = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else {
            throw CommandError.badArguments("lease keep-alive command needs lease ID as argument")
        }
        var request = Etcdserverpb_LeaseKeepAliveRequest()
        request.id = try parseLease(words[0], what: "lease ID arg")
        let printer = try global.printer()
        let once = once
        try await global.session { client in
            let stream = try await client.leaseKeepAliveStream()
            try await stream.send(request)
            for try await response in stream {
                if once, response.ttl == 0 {
                    throw CommandError(.badConnection, "etcdserver: requested lease not found")
                }
                if response.ttl == 0 {
                    // Gone: etcdctl says so in the simple form whatever the format, and ends well.
                    Output.write(try Printer(format: .simple).leaseKeepAlive(response))
                    stream.cancel()
                    return
                }
                Output.write(try printer.leaseKeepAlive(response))
                if once {
                    stream.cancel()
                    return
                }
                // A third of the time to live, so that two renewals may be lost.
                try await Task.sleep(for: .milliseconds(max(500, response.ttl * 1000 / 3)))
                try await stream.send(request)
            }
        }
    }
}
