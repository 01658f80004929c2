import Foundation
import Testing
import Wire

@testable import martletctl

struct TxnGrammarTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(arguments: ["ver", "version", "c", "create", "m", "mod"])
    func numericCompares(target: String) throws {
        let compare = try TxnGrammar.compare(bytes(#"\#(target)("k1") > "17""#))
        #expect(compare.key == Data("k1".utf8))
        #expect(compare.result == .greater)
        switch target {
        case "ver", "version": #expect(compare.target == .version && compare.version == 17)
        case "c", "create": #expect(compare.target == .create && compare.createRevision == 17)
        default: #expect(compare.target == .mod && compare.modRevision == 17)
        }
    }

    @Test func otherCompares() throws {
        let value = try TxnGrammar.compare(bytes(#"val("k\x31") != "a \"b\"" and more"#))
        #expect(value.target == .value && value.result == .notEqual)
        #expect(value.key == Data("k1".utf8) && value.value == Data(#"a "b""#.utf8))
        let lease = try TxnGrammar.compare(bytes(#"lease("k") = "2040a203d7568a4e""#))
        #expect(lease.target == .lease && lease.lease == 0x2040_a203_d756_8a4e)
        #expect(try TxnGrammar.compare(bytes(#"m("k") < "1""#)).result == .less)
    }

    /// The texts are etcdctl's, but for the last ones, at which it crashes.
    @Test(arguments: [
        ("bogus", "malformed comparison: bogus"),
        (#"mod("k1") > 0"#, #"malformed comparison: mod("k1") > 0; got mod("k1") > """#),
        (#"mod(k1) > "0""#, #"malformed comparison: mod(k1) > "0"; got mod("")  """#),
        (#"c("k1")="0""#, #"malformed comparison: c("k1")="0"; got c("k1")  """#),
        (#"c ( "k1" ) = "0""#, #"malformed comparison: c ( "k1" ) = "0"; got c ("k1")  """#),
        (#"mod("k1") > "x""#, #"invalid txn compare request: mod("k1") > "x""#),
        (#"foo("k1") > "0""#, #"malformed comparison: foo("k1") > "0" (unknown target foo)"#),
        (#"mod("k1") ~ "0""#, #"malformed comparison: mod("k1") ~ "0" (unknown operator ~)"#),
        (#"lease("k1") = "zz""#, #"invalid txn compare request: lease("k1") = "zz""#),
    ])
    func malformedCompares(line: String, message: String) {
        #expect(throws: CommandError(.invalidInput, message)) { try TxnGrammar.compare(bytes(line)) }
    }

    /// No cut or garbled line may crash or be taken for something else than it says.
    @Test func everyPrefixOfACompareIsRefused() {
        let line = bytes(#"value("key") != "va\tlue""#)
        for count in 0..<line.count {
            #expect(throws: CommandError.self) { try TxnGrammar.compare(Array(line.prefix(count))) }
        }
    }

    @Test func requests() throws {
        let get = try TxnGrammar.operation(bytes("get --prefix k --keys-only --limit=7"))
        #expect(get.requestRange.key == Data("k".utf8) && get.requestRange.rangeEnd == Data("l".utf8))
        #expect(get.requestRange.keysOnly && get.requestRange.limit == 7)
        let put = try TxnGrammar.operation(bytes(#"put   k3 "a\n\xff b"  "#))
        #expect(put.requestPut.key == Data("k3".utf8))
        #expect(put.requestPut.value == Data([0x61, 0x0a, 0xff, 0x20, 0x62]))
        let delete = try TxnGrammar.operation(bytes("del --prev-kv=true k2 k9"))
        #expect(delete.requestDeleteRange.rangeEnd == Data("k9".utf8) && delete.requestDeleteRange.prevKv)
        let quoted = try TxnGrammar.operation(bytes("put a 'single q'"))
        #expect(quoted.requestPut.value == Data("single q".utf8))
    }

    @Test(arguments: ["bogus a", "get --bad a", "txn a", #"get "a"#, #"put 'a b"#, #"put a "\q""#])
    func malformedRequests(line: String) {
        #expect(throws: CommandError(.invalidInput, "invalid txn request: \(line)")) {
            try TxnGrammar.operation(bytes(line))
        }
    }

    @Test func putWithoutValueIsRefused() {
        let text = "put command needs 1 argument and input from stdin or 2 arguments"
        #expect(throws: CommandError.badArguments(text)) {
            try TxnGrammar.operation(bytes("put a"))
        }
    }

    private func read(_ text: String) throws -> Etcdserverpb_TxnRequest {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        lines.removeLast()
        return try readTxn(prompts: false, nextLine: { lines.popFirst().map { Array($0.utf8) } })
    }

    @Test func blocks() throws {
        let request = try read("mod(\"a\") > \"0\"\n\nput a b\nget a\n \t\ndel a\n\nignored\n")
        #expect(request.compare.count == 1 && request.success.count == 2 && request.failure.count == 1)
        #expect(try read("\nget k1\n\n\n").compare.isEmpty)
    }

    /// A transaction is not sent unless its end has been read.
    @Test(arguments: ["", "mod(\"a\") > \"0\"\n", "\nput a 1\n", "\n\n", "\n\nput a 1\n", "\n\nput a 1"])
    func unfinishedInput(text: String) {
        #expect(throws: CommandError.invalidInput("EOF")) { try read(text) }
    }
}
