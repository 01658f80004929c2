import ArgumentParser
import Client
import Foundation
package import Wire

/// The arguments and flags of `get`.
package struct GetArguments: ParsableArguments {
    @Argument(help: "The key, and the end of the range (not included).")
    var words: [String] = []

    @Option(help: "Linearizable (l) or serializable (s).")
    var consistency = "l"

    @Option(help: "Order of the results: ASCEND or DESCEND.")
    var order = ""

    @Option(help: "What to sort by: CREATE, KEY, MODIFY, VALUE or VERSION.")
    var sortBy = ""

    @Option(help: "The most results to return; 0 for all.")
    var limit: Int64 = 0

    @Flag(help: "All keys that begin with the key.")
    var prefix = false

    @Flag(help: "All keys from the key on.")
    var fromKey = false

    @Option(help: "The store revision to read at; 0 for the latest.")
    var rev: Int64 = 0

    @Flag(help: "Without values.")
    var keysOnly = false

    @Flag(help: "Only the number of keys; with -w fields.")
    var countOnly = false

    @Option(help: "Leave out keys modified before this revision.")
    var minModRev: Int64 = 0

    @Option(help: "Leave out keys modified after this revision.")
    var maxModRev: Int64 = 0

    @Option(help: "Leave out keys created before this revision.")
    var minCreateRev: Int64 = 0

    @Option(help: "Leave out keys created after this revision.")
    var maxCreateRev: Int64 = 0

    package init() {}

    /// Whether no flag is given.
    var hasOnlyWords: Bool {
        let texts = consistency == "l" && order.isEmpty && sortBy.isEmpty
        let numbers = [limit, rev, minModRev, maxModRev, minCreateRev, maxCreateRev].allSatisfy { $0 == 0 }
        return texts && numbers && !prefix && !fromKey && !keysOnly && !countOnly
    }

    /// The request that these arguments ask for. Throws what etcdctl says about arguments that do not fit.
    package func request() throws(CommandError) -> Etcdserverpb_RangeRequest {
        if prefix && fromKey {
            throw .badArguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")
        }
        if keysOnly && countOnly {
            throw .badArguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
        }
        guard consistency == "l" || consistency == "s" else {
            throw .badFeature("unknown consistency flag \"\(consistency)\"")
        }
        var request = Etcdserverpb_RangeRequest()
        (request.key, request.rangeEnd) = try keyRange(words, command: "get", prefix: prefix, fromKey: fromKey)
        request.serializable = consistency == "s"
        request.limit = limit
        request.revision = max(0, rev)
        request.keysOnly = keysOnly
        request.countOnly = countOnly
        request.minModRevision = minModRev
        request.maxModRevision = maxModRev
        request.minCreateRevision = minCreateRev
        request.maxCreateRevision = maxCreateRev
        switch order.uppercased() {
        case "": break
        case "ASCEND": request.sortOrder = .ascend
        case "DESCEND": request.sortOrder = .descend
        default: throw .badFeature("bad sort order \(order)")
        }
        switch sortBy.uppercased() {
        case "", "KEY": break
        case "CREATE": request.sortTarget = .create
        case "MODIFY": request.sortTarget = .mod
        case "VALUE": request.sortTarget = .value
        case "VERSION": request.sortTarget = .version
        default: throw .badFeature("bad sort target \(sortBy)")
        }
        if request.sortTarget == .key, request.sortOrder == .ascend { request.sortOrder = .none }
        return request
    }
}

/// The arguments and flags of `put`.
package struct PutArguments: ParsableArguments {
    @Argument(help: "The key and the value; the value is read from standard input when it is not given.")
    var words: [String] = []

    @Option(help: "The lease to attach, in hexadecimal.")
    var lease = "0"

    @Flag(help: "Return the record that is replaced.")
    var prevKv = false

    @Flag(help: "Keep the key's value.")
    var ignoreValue = false

    @Flag(help: "Keep the key's lease.")
    var ignoreLease = false

    package init() {}

    /// The request that these arguments ask for; `standardInput` gives the value when the arguments have none.
    package func request(standardInput: () -> [UInt8]?) throws(CommandError) -> Etcdserverpb_PutRequest {
        guard let key = words.first else {
            throw .badArguments("put command needs 1 argument and input from stdin or 2 arguments")
        }
        if ignoreValue, words.count > 1 {
            throw .badArguments("put command needs only 1 argument when 'ignore-value' is set")
        }
        var request = Etcdserverpb_PutRequest()
        request.key = Data(RawText.bytes(key))
        request.lease = try parseLease(lease, what: "lease ID")
        request.prevKv = prevKv
        request.ignoreValue = ignoreValue
        request.ignoreLease = ignoreLease
        if words.count > 1 {
            request.value = Data(RawText.bytes(words[1]))
        } else if !ignoreValue {
            guard let input = standardInput(), !input.isEmpty else {
                throw .badArguments("put command needs 1 argument and input from stdin or 2 arguments")
            }
            request.value = Data(input)
        }
        return request
    }
}

/// The arguments and flags of `del`.
package struct DeleteArguments: ParsableArguments {
    @Argument(help: "The key, and the end of the range (not included).")
    var words: [String] = []

    @Flag(help: "All keys that begin with the key.")
    var prefix = false

    @Flag(help: "All keys from the key on.")
    var fromKey = false

    @Flag(help: "Return the records that are deleted.")
    var prevKv = false

    @Flag(help: "Say that a range is meant; a second argument says it too.")
    var range = false

    package init() {}

    /// The request that these arguments ask for.
    package func request() throws(CommandError) -> Etcdserverpb_DeleteRangeRequest {
        if prefix && fromKey {
            throw .badArguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")
        }
        var request = Etcdserverpb_DeleteRangeRequest()
        (request.key, request.rangeEnd) = try keyRange(words, command: "del", prefix: prefix, fromKey: fromKey)
        request.prevKv = prevKv
        return request
    }
}

/// Key and end of the range that one or two words and two flags name. With `prefix`, an empty key means all keys.
func keyRange(
    _ words: [String], command: String, prefix: Bool, fromKey: Bool
) throws(CommandError) -> (key: Data, end: Data) {
    guard words.count == 1 || words.count == 2 else {
        throw .badArguments(
            "\(command) command needs one argument as key and an optional argument as range_end")
    }
    let key = RawText.bytes(words[0])
    if words.count == 2 {
        if prefix || fromKey {
            throw .badArguments(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
        }
        return (Data(key), Data(RawText.bytes(words[1])))
    }
    if fromKey || (prefix && key.isEmpty) { return (Data(key.isEmpty ? [0] : key), Data([0])) }
    return (Data(key), prefix ? Data(KeyRange.prefixEnd(key)) : Data())
}

/// A lease written in hexadecimal, as etcdctl writes and reads it.
func parseLease(_ text: String, what: String) throws(CommandError) -> Int64 {
    guard let lease = Int64(text, radix: 16) else {
        let reason = "strconv.ParseInt: parsing \(GoText.quoted(text)): invalid syntax"
        throw .badArguments("bad \(what) (\(reason)), expecting ID in Hex")
    }
    return lease
}

struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Gets the key or a range of keys",
        discussion: """
            `get KEY [END]` reads keys, as etcdctl does. With a flag that only objects have (-n, -A, -o, -l, --watch, \
            --resource) it is `resource get KIND [NAME]`: `get deployments -A`, `get pod web -n shop -o yaml`.

            -w followed by an output format is --write-out, as in `get foo -w json`. Without one, at the end of the line or \
            where objects are read, it is --watch: `get pods -w`, `get pods -w -n shop`.
            """)

    @OptionGroup var arguments: GetArguments
    @OptionGroup var objects: ObjectGetOptions
    @OptionGroup var global: GlobalOptions

    @Flag(help: "Only values, with -w simple.")
    var printValueOnly = false

    func run() async throws {
        if objects.isGiven {
            guard arguments.hasOnlyWords, !printValueOnly else {
                throw CommandError.badArguments("flags of keys and of objects do not mix")
            }
            do { return try await objects.run(arguments.words, global) } catch let error as CommandError {
                guard objects.isOnlyWatch, error.message.contains("has no kind") else { throw error }
                throw CommandError(error.code, error.message + "; for a key, -w needs an output format, as in -w json")
            }
        }
        let request = try arguments.request()
        let printer = try global.printer()
        if arguments.countOnly, printer.format != .fields {
            throw CommandError.badArguments("--count-only is only for `--write-out=fields`")
        }
        if printValueOnly, printer.format != .simple {
            throw CommandError.badArguments("print-value-only is only for `--write-out=simple`")
        }
        let response = try await global.session { client in try await client.range(request) }
        Output.write(try printer.range(response, parts: printValueOnly ? .valueOnly : .keyAndValue))
        if response.kvs.isEmpty, arguments.hasOnlyWords, let advice = ObjectWords.advice(arguments.words) {
            Output.error(advice)
        }
    }
}

struct PutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Puts the given key into the store")

    @OptionGroup var arguments: PutArguments
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let request = try arguments.request(standardInput: { StandardInput.readAll() })
        let printer = try global.printer()
        try global.checkSize(request)
        let response = try await global.session { client in try await client.put(request) }
        Output.write(try printer.put(response))
    }
}

struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "del", abstract: "Removes the specified key or range of keys [key, range_end)")

    @OptionGroup var arguments: DeleteArguments
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let request = try arguments.request()
        let printer = try global.printer()
        let response = try await global.session { client in try await client.deleteRange(request) }
        Output.write(try printer.delete(response))
    }
}

struct CompactionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compaction", abstract: "Compacts the event history in etcd")

    @Argument(help: "The revision before which the history is dropped.")
    var words: [String] = []

    @Flag(help: "Wait until the old revisions are deleted.")
    var physical = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.count == 1 else { throw CommandError.badArguments("compaction command needs 1 argument") }
        guard let revision = Int64(words[0]) else {
            throw CommandError.failure("strconv.ParseInt: parsing \(GoText.quoted(words[0])): invalid syntax")
        }
        var request = Etcdserverpb_CompactionRequest()
        request.revision = revision
        request.physical = physical
        _ = try await global.session { client in try await client.compact(request) }
        Output.write(Array("compacted revision \(revision)\n".utf8))
    }
}
