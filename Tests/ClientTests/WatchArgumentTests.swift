import ArgumentParser
import Foundation
import Testing
import Wire

@testable import martletctl

struct WatchArgumentTests {
    private let noEnvironment: (String) -> String? = { _ in nil }

    @Test func keyEndAndCommand() throws {
        let parsed = try WatchArguments.parse(["a", "--rev", "7", "c", "--", "sh", "-c", "echo --prefix"])
        #expect(parsed.command == ["sh", "-c", "echo --prefix"])
        let request = try parsed.request(environment: noEnvironment)
        #expect(request.key == Data("a".utf8) && request.rangeEnd == Data("c".utf8) && request.startRevision == 7)
    }

    @Test func keyFromTheEnvironment() throws {
        let parsed = try WatchArguments.parse(["--prev-kv", "--", "echo"])
        let environment = ["ETCDCTL_WATCH_KEY": "k", "ETCDCTL_WATCH_RANGE_END": "m"]
        let request = try parsed.request(environment: { environment[$0] })
        #expect(request.key == Data("k".utf8) && request.rangeEnd == Data("m".utf8) && request.prevKv)
        #expect(throws: CommandError.badArguments("bad number of arguments")) {
            try parsed.request(environment: noEnvironment)
        }
    }

    @Test func prefix() throws {
        let all = try WatchArguments.parse(["", "--prefix"]).request(environment: noEnvironment)
        #expect(all.key == Data([0]) && all.rangeEnd == Data([0]))
        let both = try WatchArguments.parse(["a", "b", "--prefix"])
        #expect(throws: CommandError.badArguments("`range_end` and `--prefix` are mutually exclusive")) {
            try both.request(environment: noEnvironment)
        }
    }

    /// Every command's declaration is accepted by the parser, which checks it only when it is used.
    @Test func everyCommandCanBeParsed() throws {
        func visit(_ command: any ParsableCommand.Type, _ path: [String]) throws {
            let subcommands = command.configuration.subcommands
            if subcommands.isEmpty {
                let compares = path.last?.hasPrefix("compare") == true
                let required = compares ? ["--martlet", "m", "--etcd", "e"] : []
                #expect(throws: Never.self) { try Martletctl.parseAsRoot(path + required) }
            }
            for subcommand in subcommands {
                let name = try #require(subcommand.configuration.commandName)
                try visit(subcommand, path + [name])
            }
        }
        try visit(Martletctl.self, [])
    }
}
