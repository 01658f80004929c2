import ArgumentParser
import Client
import NIOCore
import Primitives

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measures a server, or compares two",
        subcommands: [
            BenchPutCommand.self, BenchRangeCommand.self, BenchListCommand.self, BenchTxnMixedCommand.self,
            BenchWatchCommand.self, BenchKubeCommand.self, BenchCompareCommand.self,
            BenchCompareClusterCommand.self,
        ])
}

/// The flags that all workloads share.
struct BenchOptions: ParsableArguments {
    @Option(help: "Connections.")
    var conns = 10

    @Option(help: "Calls in flight on each connection.")
    var clients = 100

    @Option(help: "Calls to measure; 100,000 unless --duration is given.")
    var total: Int?

    @Option(help: "How long to measure.")
    var duration: GoDuration?

    @Option(help: "How long to run before measuring begins.")
    var warmUp = GoDuration.seconds(1)

    @Option(help: "Calls per second in all; 0 for as many as can be.")
    var rate = 0.0

    @Option(help: "The size of keys, bytes.")
    var keySize = 8

    @Option(help: "The size of values, bytes.")
    var valSize = 256

    @Option(help: "How many different keys there are.")
    var keySpaceSize = 100_000

    @Flag(help: "Keys one after the other instead of at random.")
    var sequentialKeys = false

    @Option(help: "Linearizable (l) or serializable (s) reads.")
    var consistency = "l"

    @Option(help: "Event loops of the load generator.")
    var loops = 1

    @Option(help: "The seed of everything that is drawn at random.")
    var seed: UInt64 = 1

    @Option(help: "Processes of the server, separated by commas: report their processor time and memory.")
    var serverPid = ""

    @Flag(help: "Print one JSON object instead of text.")
    var json = false

    func validate() throws {
        guard conns > 0, clients > 0, loops > 0 else {
            throw ValidationError("--conns, --clients and --loops must be positive")
        }
        guard consistency == "l" || consistency == "s" else {
            throw ValidationError("unknown consistency flag \"\(consistency)\"")
        }
        guard rate >= 0, valSize >= 0, total ?? 1 > 0 else {
            throw ValidationError("--rate, --val-size and --total must not be negative")
        }
    }

    /// The target that these and the global options name.
    func target(_ global: GlobalOptions) throws(CommandError) -> BenchTarget {
        let configuration = try global.clientConfiguration()
        var target = BenchTarget(endpoints: configuration.endpoints, tls: configuration.tls)
        target.connections = conns
        target.loops = loops
        for text in serverPid.split(separator: ",") {
            guard let pid = Int32(text), ProcessUsage(pid: pid) != nil else {
                throw .badArguments("--server-pid: there is no process \(text) that can be looked at")
            }
            target.serverPIDs.append(pid)
        }
        if !json { target.progress = .onTerminal() }
        return target
    }

    /// The measured part.
    func plan() -> LoadPlan {
        LoadPlan(
            clientsPerConnection: clients, total: total ?? (duration == nil ? 100_000 : nil),
            duration: duration.map { .nanoseconds($0.nanoseconds) }, rate: rate)
    }

    /// What a loop of a workload draws keys from; loops of one run draw different ones.
    func keys(loop: Int, of loops: Int, isSequential: Bool? = nil) -> KeySpace? {
        KeySpace(
            count: keySpaceSize, keyBytes: keySize, isSequential: isSequential ?? sequentialKeys,
            seed: seed &+ UInt64(loop) &* 0x9e37, first: keySpaceSize / loops * loop)
    }

    /// Fails when `--key-size` is too small for `--key-space-size`.
    func checkKeys() throws(CommandError) {
        if keys(loop: 0, of: 1) == nil {
            throw .badArguments("--key-size \(keySize) is too small for \(keySpaceSize) different keys")
        }
    }

    /// The options as they go into the report.
    var parameters: [(name: String, value: String)] {
        var parameters = [("conns", "\(conns)"), ("clients", "\(clients)"), ("loops", "\(loops)")]
        if rate > 0 { parameters.append(("rate", BenchReport.decimal(rate, 0))) }
        return parameters
    }

    /// The parameters of workloads with keys and values of one size.
    var keyParameters: [(name: String, value: String)] {
        parameters + [
            ("key-size", "\(keySize)"), ("val-size", "\(valSize)"), ("key-space-size", "\(keySpaceSize)"),
            ("keys", sequentialKeys ? "sequential" : "random"),
        ]
    }
}

/// Prints a report, and fails when it has failures.
func finish(_ report: BenchReport, json: Bool) throws(CommandError) {
    Output.write(Array((json ? report.json() + "\n" : report.text()).utf8))
    if !report.failures.isEmpty { throw .failure(report.failures[0]) }
    if report.result.calls == 0, report.result.errors > 0 {
        throw .failure("no call succeeded: \(report.result.errorTexts.joined(separator: "; "))")
    }
}

struct BenchPutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "put", abstract: "Puts values of one size")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try options.checkKeys()
        let report = try await SimpleWorkloads.put(try options.target(global), options)
        try finish(report, json: options.json)
    }
}

struct BenchRangeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "range", abstract: "Reads single keys, which it puts first")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Flag(help: "The keys are there already.")
    var noFill = false

    func run() async throws {
        try options.checkKeys()
        let report = try await SimpleWorkloads.range(try options.target(global), options, fills: !noFill)
        try finish(report, json: options.json)
    }
}

struct BenchListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Reads a whole prefix of --key-space-size keys, which it puts first")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Flag(help: "The keys are there already.")
    var noFill = false

    func run() async throws {
        let report = try await SimpleWorkloads.list(try options.target(global), options, fills: !noFill)
        try finish(report, json: options.json)
    }
}

struct BenchTxnMixedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn-mixed", abstract: "Ranges and puts in transactions")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Option(help: "Reads for each write.")
    var rwRatio = 1.0

    @Option(help: "The most rows a read returns.")
    var limit = 1000

    func run() async throws {
        try options.checkKeys()
        let report = try await SimpleWorkloads.txnMixed(
            try options.target(global), options, readsPerWrite: rwRatio, limit: limit)
        try finish(report, json: options.json)
    }
}

struct BenchWatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Puts under one prefix that many watchers watch; checks what they get")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Option(help: "Watchers in all.")
    var watchers = 1000

    @Option(help: "Streams in all that the watchers are spread over.")
    var streams = 100

    @Flag(help: "Also the record before each event.")
    var prevKv = false

    func run() async throws {
        let workload = WatchWorkload(
            watchers: watchers, streams: streams, withPrevious: prevKv, valueBytes: max(16, options.valSize))
        let report = try await workload.run(try options.target(global), options)
        try finish(report, json: options.json)
    }
}

struct BenchKubeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kube", abstract: "What a Kubernetes API server asks, with watches; checks every answer")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Option(help: "Objects to make before measuring.")
    var objects = 4000

    @Flag(help: "Delete what lies under /registry, whoever has written it.")
    var overwrite = false

    @OptionGroup var samples: SampleOptions

    func run() async throws {
        let workload = KubeWorkload(objects: objects, samples: try samples.load(), overwrites: overwrite)
        let report = try await workload.run(try options.target(global), options)
        try finish(report, json: options.json)
    }
}
