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

/// What a workload does where its flags leave it open: so much that it takes seconds, not minutes, on a small machine.
struct BenchDefaults {
    var connections = 10
    var clients = 100
    /// Calls to measure; nil: for `seconds`.
    var total: Int?
    var seconds: Int64 = 10
    var rate = 0.0
    var keys = 100_000
}

/// The flags that all workloads share.
struct BenchOptions: ParsableArguments {
    @Option(name: .customLong("conns"), help: "Connections; 10 unless given.")
    private var givenConnections: Int?

    @Option(
        name: .customLong("clients"), help: "Calls in flight on each connection; 100 unless given, for list 1.")
    private var givenClients: Int?

    @Option(help: "Calls to measure; without --duration 100,000, but for list, txn-mixed and watch 10 seconds.")
    var total: Int?

    @Option(help: "How long to measure.")
    var duration: GoDuration?

    @Option(help: "How long to run before measuring begins.")
    var warmUp = GoDuration.seconds(1)

    @Option(
        name: .customLong("rate"),
        help: "Calls per second in all; 0, unless given, for as many as can be, but for watch 500.")
    private var givenRate: Double?

    @Option(help: "The size of keys, bytes.")
    var keySize = 8

    @Option(help: "The size of values, bytes.")
    var valSize = 256

    @Option(
        name: .customLong("key-space-size"), help: "How many different keys there are; 100,000, for list 10,000.")
    private var givenKeys: Int?

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

    var conns: Int {
        get { givenConnections ?? BenchDefaults().connections }
        set { givenConnections = newValue }
    }
    var clients: Int {
        get { givenClients ?? BenchDefaults().clients }
        set { givenClients = newValue }
    }
    var rate: Double {
        get { givenRate ?? BenchDefaults().rate }
        set { givenRate = newValue }
    }
    var keySpaceSize: Int {
        get { givenKeys ?? BenchDefaults().keys }
        set { givenKeys = newValue }
    }

    /// These options with a workload's own defaults where nothing is given.
    func filled(_ defaults: BenchDefaults) -> BenchOptions {
        var options = self
        options.conns = givenConnections ?? defaults.connections
        options.clients = givenClients ?? defaults.clients
        options.rate = givenRate ?? defaults.rate
        options.keySpaceSize = givenKeys ?? defaults.keys
        if total == nil, duration == nil {
            options.total = defaults.total
            if defaults.total == nil { options.duration = .seconds(defaults.seconds) }
        }
        return options
    }

    func validate() throws {
        guard conns > 0, clients > 0, loops > 0 else {
            throw ValidationError("--conns, --clients and --loops must be positive")
        }
        guard consistency == "l" || consistency == "s" else {
            throw ValidationError("unknown consistency flag \"\(consistency)\"")
        }
        guard rate >= 0, valSize >= 0, total ?? 1 > 0 else {
            throw ValidationError("--total must be positive, --rate and --val-size not negative")
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
        target.progress = json ? .onTerminal() : .onStandardError()
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
        commandName: "list", abstract: "Reads a whole prefix of --key-space-size keys, which it puts first",
        discussion: "Unless told otherwise, 10 clients list 10,000 keys of 256 bytes for 10 seconds.")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Flag(help: "The keys are there already.")
    var noFill = false

    func run() async throws {
        // A call reads all keys: as many calls as of other kinds would take many minutes.
        let options = options.filled(BenchDefaults(clients: 1, keys: 10_000))
        let report = try await SimpleWorkloads.list(try options.target(global), options, fills: !noFill)
        try finish(report, json: options.json)
    }
}

struct BenchTxnMixedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn-mixed", abstract: "Ranges and puts in transactions",
        discussion: "Unless told otherwise, for 10 seconds. A range goes from a key on, and returns up to --limit rows."
    )

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Option(help: "Reads for each write.")
    var rwRatio = 1.0

    @Option(help: "The most rows a read returns.")
    var limit = 1000

    func run() async throws {
        let options = options.filled(BenchDefaults())
        try options.checkKeys()
        let report = try await SimpleWorkloads.txnMixed(
            try options.target(global), options, readsPerWrite: rwRatio, limit: limit)
        try finish(report, json: options.json)
    }
}

struct BenchWatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Puts under one prefix that many watchers watch; checks what they get",
        discussion: "Unless told otherwise, 500 puts per second for 10 seconds, each an event for all 1,000 watchers.")

    @OptionGroup var options: BenchOptions
    @OptionGroup var global: GlobalOptions

    @Option(help: "Watchers in all.")
    var watchers = 1000

    @Option(help: "Streams in all that the watchers are spread over.")
    var streams = 100

    @Flag(help: "Also the record before each event.")
    var prevKv = false

    func run() async throws {
        // Every put is an event for each watcher: without a rate there would be a hundred million of them.
        let options = options.filled(BenchDefaults(rate: 500))
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
