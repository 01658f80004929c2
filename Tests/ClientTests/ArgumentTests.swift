import ArgumentParser
import Client
import Foundation
import Primitives
import Testing
import Wire

@testable import martletctl

struct ArgumentTests {
    private func arrange(_ text: String, _ environment: [String: String] = [:]) -> [String] {
        GlobalOptions.arrange(text.split(separator: " ").map(String.init), environment: { environment[$0] })
    }

    @Test func globalFlagsMayStandAnywhere() {
        #expect(arrange("--endpoints a:1 get -w json foo") == ["get", "foo", "--endpoints=a:1", "--write-out=json"])
        #expect(arrange("get foo --hex -wfields") == ["get", "foo", "--hex", "--write-out=fields"])
        #expect(arrange("watch foo --hex -- sh --hex") == ["watch", "foo", "--hex", "--", "sh", "--hex"])
    }

    @Test func switchesWithValues() {
        #expect(arrange("get --prefix=true --keys-only=false foo") == ["get", "--prefix", "foo"])
        #expect(arrange("get --insecure-transport=false foo") == ["get", "foo", "--no-insecure-transport"])
        #expect(arrange("get --hex=false foo") == ["get", "foo"])
    }

    @Test func environment() {
        let environment = ["ETCDCTL_ENDPOINTS": "b:2", "ETCDCTL_HEX": "true", "ETCDCTL_DIAL_TIMEOUT": "3s"]
        #expect(arrange("get foo", environment) == ["get", "foo", "--endpoints=b:2", "--dial-timeout=3s", "--hex"])
        #expect(
            arrange("--endpoints=a:1 get --hex=false foo", environment)
                == ["get", "foo", "--endpoints=a:1", "--dial-timeout=3s"])
    }

    /// Every byte sequence comes through an argument unchanged, also one that looks like the encoding itself.
    @Test(arguments: 0..<50 as Range<UInt64>)
    func rawTextKeepsAllBytes(seed: UInt64) {
        var generator = PRNG(seed: seed)
        var bytes = (0..<generator.next(in: 0..<40)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        bytes += Array("é\u{10ff41}".utf8)
        #expect(RawText.bytes(RawText.string(bytes)) == bytes)
    }

    @Test func getRequests() throws {
        let all = try GetArguments.parse(["", "--prefix"]).request()
        #expect(all.key == Data([0]) && all.rangeEnd == Data([0]))
        let from = try GetArguments.parse(["k", "--from-key"]).request()
        #expect(from.key == Data("k".utf8) && from.rangeEnd == Data([0]))
        let sorted = try GetArguments.parse(["k", "--sort-by", "modify", "--order", "descend"]).request()
        #expect(sorted.sortTarget == .mod && sorted.sortOrder == .descend)
        #expect(try GetArguments.parse(["k", "--order", "ASCEND"]).request().sortOrder == .none)
    }

    @Test(
        arguments: [
            ([], 128, "get command needs one argument as key and an optional argument as range_end"),
            (
                ["a", "b", "--prefix"], 128,
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
            ),
            (
                ["a", "--prefix", "--from-key"], 128,
                "`--prefix` and `--from-key` cannot be set at the same time, choose one"
            ),
            (
                ["a", "--keys-only", "--count-only"], 128,
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one"
            ),
            (["a", "--order", "BAD"], 4, "bad sort order BAD"),
            (["a", "--sort-by", "BAD"], 4, "bad sort target BAD"),
            (["a", "--consistency", "x"], 4, "unknown consistency flag \"x\""),
        ] as [([String], Int32, String)])
    func getRefuses(words: [String], code: Int32, message: String) throws {
        let arguments = try GetArguments.parse(words)
        let error = #expect(throws: CommandError.self) { try arguments.request() }
        #expect(error?.code.rawValue == code && error?.message == message)
    }

    @Test func putRefusesALeaseThatIsNoNumber() throws {
        let text = #"bad lease ID (strconv.ParseInt: parsing "zz": invalid syntax), expecting ID in Hex"#
        let arguments = try PutArguments.parse(["foo", "x", "--lease", "zz"])
        #expect(throws: CommandError(.badArguments, text)) { try arguments.request(standardInput: { nil }) }
    }
}

struct EndpointTests {
    @Test(
        arguments: [
            ("127.0.0.1:2379", "127.0.0.1", 2379, .configured), ("http://a:1", "a", 1, .plaintext),
            ("https://a.b.c", "a.b.c", 2379, .tls), ("[::1]:99", "::1", 99, .configured),
            ("https://[fe80::1]/x", "fe80::1", 2379, .tls),
        ] as [(String, String, Int, Endpoint.Security)])
    func hosts(text: String, host: String, port: Int, security: Endpoint.Security) throws {
        let endpoint = try #require(Endpoint(text))
        #expect(endpoint.address == .host(host, port: port))
        #expect(endpoint.security == security && endpoint.description == text)
    }

    @Test func sockets() {
        #expect(Endpoint("unix:///run/m.sock")?.address == .unixSocket(path: "/run/m.sock"))
        #expect(Endpoint("unixs://m")?.security == .tls)
    }

    @Test(arguments: ["", ":", "a:", "a:x", "a:70000", "a:b:c", "[::1", "[::1]x", "http://"])
    func malformed(text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test func prefixEnds() {
        #expect(KeyRange.prefixEnd([0x61]) == [0x62])
        #expect(KeyRange.prefixEnd([0x61, 0xff]) == [0x62])
        #expect(KeyRange.prefixEnd([0xff, 0xff]) == [0])
        #expect(KeyRange.prefixEnd([]) == [0])
    }
}
