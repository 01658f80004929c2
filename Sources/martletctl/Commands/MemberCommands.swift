import ArgumentParser
import Client
import Wire

struct MemberCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "member", abstract: "Membership related commands",
        subcommands: [
            MemberListCommand.self, MemberAddCommand.self, MemberRemoveCommand.self, MemberUpdateCommand.self,
            MemberPromoteCommand.self,
        ])
}

struct MemberListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists all members in the cluster")

    @Argument(help: .hidden)
    var words: [String] = []

    @Option(help: "Linearizable (l) or serializable (s).")
    var consistency = "l"

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard consistency == "l" || consistency == "s" else {
            throw CommandError.badFeature("unknown consistency flag \"\(consistency)\"")
        }
        let printer = try global.printer()
        let isLinearizable = consistency == "l"
        let response = try await global.session { client in
            try await client.memberList(isLinearizable: isLinearizable)
        }
        Output.write(try printer.memberList(response))
    }
}

struct MemberAddCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Adds a member into the cluster")

    @Argument(help: "The member's name.")
    var words: [String] = []

    @Option(help: "The member's peer URLs, separated by commas.")
    var peerUrls = ""

    @Flag(help: "The member gets the log but does not vote.")
    var learner = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard let name = words.first else { throw CommandError.badArguments("member name not provided") }
        guard words.count == 1 else { throw CommandError.badArguments("too many arguments") }
        guard !peerUrls.isEmpty else { throw CommandError.badArguments("member peer urls not provided") }
        let printer = try global.printer()
        var request = Etcdserverpb_MemberAddRequest()
        request.peerUrls = try PeerURLText.list(peerUrls)
        request.isLearner = learner
        let response = try await global.session { client in try await client.memberAdd(request) }
        Output.write(try printer.memberAdd(response, name: name, advertised: peerUrls))
    }
}

/// The member that one word names, in hexadecimal.
private func memberID(_ words: [String]) throws(CommandError) -> UInt64 {
    guard words.count == 1 else { throw .badArguments("member ID is not provided") }
    guard let id = UInt64(words[0], radix: 16) else {
        let reason = "strconv.ParseUint: parsing \(GoText.quoted(words[0])): invalid syntax"
        throw .badArguments("bad member ID arg (\(reason)), expecting ID in Hex")
    }
    return id
}

struct MemberRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Removes a member from the cluster")

    @Argument(help: "The member, in hexadecimal.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let id = try memberID(words)
        let printer = try global.printer()
        let response = try await global.session { client in try await client.memberRemove(id: id) }
        Output.write(
            try printer.memberChange(response, response.header, response.members, member: id, change: "removed from"))
    }
}

struct MemberUpdateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Updates a member in the cluster")

    @Argument(help: "The member, in hexadecimal.")
    var words: [String] = []

    @Option(help: "The member's new peer URLs, separated by commas.")
    var peerUrls = ""

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let id = try memberID(words)
        guard !peerUrls.isEmpty else { throw CommandError.badArguments("member peer urls not provided") }
        let printer = try global.printer()
        let urls = try PeerURLText.list(peerUrls)
        let response = try await global.session { client in
            try await client.memberUpdate(id: id, peerURLs: urls)
        }
        Output.write(
            try printer.memberChange(response, response.header, response.members, member: id, change: "updated in"))
    }
}

struct MemberPromoteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Promotes a non-voting member in the cluster")

    @Argument(help: "The member, in hexadecimal.")
    var words: [String] = []

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let id = try memberID(words)
        let printer = try global.printer()
        let response = try await global.session { client in try await client.memberPromote(id: id) }
        Output.write(
            try printer.memberChange(response, response.header, response.members, member: id, change: "promoted in"))
    }
}
