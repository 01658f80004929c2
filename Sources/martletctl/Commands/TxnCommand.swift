import ArgumentParser
import Client
import Wire

struct TxnCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn", abstract: "Txn processes all the requests in one transaction")

    @Argument(help: .hidden)
    var words: [String] = []

    @Flag(name: .shortAndLong, help: "Say what is expected on each line.")
    var interactive = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard words.isEmpty else { throw CommandError.badArguments("txn command does not accept argument") }
        let printer = try global.printer()
        var lines = StandardInput()
        let request = try readTxn(prompts: interactive, nextLine: { lines.nextLine() })
        try global.checkSize(request)
        let response = try await global.session { client in try await client.txn(request) }
        Output.write(try printer.txn(response))
    }
}

/// Reads the three blocks of a transaction; `nextLine` gives nil at the end of input, where a block must be complete.
func readTxn(
    prompts: Bool, nextLine: () -> [UInt8]?
) throws(CommandError) -> Etcdserverpb_TxnRequest {
    /// The lines up to the next empty one.
    func block(_ prompt: String, _ take: ([UInt8]) throws(CommandError) -> Void) throws(CommandError) {
        if prompts { Output.write(Array((prompt + "\n").utf8)) }
        while true {
            guard let line = nextLine() else { throw .invalidInput("EOF") }
            let trimmed = TxnGrammar.trimmed(line)
            if trimmed.isEmpty { return }
            try take(trimmed)
        }
    }
    var request = Etcdserverpb_TxnRequest()
    try block("compares:") { (line) throws(CommandError) in request.compare.append(try TxnGrammar.compare(line)) }
    try block("success requests (get, put, del):") { (line) throws(CommandError) in
        request.success.append(try TxnGrammar.operation(line))
    }
    try block("failure requests (get, put, del):") { (line) throws(CommandError) in
        request.failure.append(try TxnGrammar.operation(line))
    }
    return request
}
