import ArgumentParser
import Client
import NIOCore

/// A figure of a comparison: what it is called, in which unit, and which of two values is the better one.
struct CompareMetric: Sendable, Hashable {
    var name: String
    var unit: String
    var isBetterLower: Bool
}

/// What a workload gets: the server, and how much is to be done.
struct CompareContext {
    var server: ServerProcess
    /// Parts of the full sizes and times: 1 for a real measurement, less for a quick look.
    var scale: Double
    var progress: Progress
    /// What the Kubernetes mix stores; nil for synthetic values.
    var samples: SampleObjects?

    func target(connections: Int) -> BenchTarget {
        var target = BenchTarget(endpoints: [Endpoint(server.endpoint)!])
        target.connections = connections
        target.serverPIDs = [server.pid]
        target.progress = progress
        return target
    }

    func scaled(_ count: Int) -> Int { max(1, Int(Double(count) * scale)) }

    /// Options for a workload, with everything else at its default.
    func options(
        connections: Int, clients: Int, seconds: Double, keys: Int = 100_000, valueBytes: Int = 256,
        rate: Double = 0, consistency: String = "l", warmUpSeconds: Double = 1
    ) throws(CommandError) -> BenchOptions {
        guard var options = try? BenchOptions.parse([]) else { throw .failure("bad default options") }
        options.conns = connections
        options.clients = clients
        options.duration = GoDuration(nanoseconds: Int64(max(1, seconds * scale) * 1e9))
        options.warmUp = GoDuration(nanoseconds: Int64(warmUpSeconds * min(1, scale) * 1e9))
        options.keySpaceSize = scaled(keys)
        options.valSize = valueBytes
        options.rate = rate
        options.consistency = consistency
        return options
    }
}

/// The table of workloads.
enum CompareWorkloads {
    static let throughput = CompareMetric(name: "throughput", unit: "calls/s", isBetterLower: false)
    static let p50 = CompareMetric(name: "p50", unit: "ms", isBetterLower: true)
    static let p99 = CompareMetric(name: "p99", unit: "ms", isBetterLower: true)
    static let cpuPerCall = CompareMetric(name: "server CPU per call", unit: "us", isBetterLower: true)
    static let resident = CompareMetric(name: "RSS", unit: "MB", isBetterLower: true)
    static let anonymous = CompareMetric(name: "anonymous memory", unit: "MB", isBetterLower: true)

    static let all: [CompareWorkload<CompareContext>] = [
        simple("put-10x100", "put, 10 connections x 100 in flight, 256 B") { (context) throws(CommandError) in
            try await SimpleWorkloads.put(
                context.target(connections: 10), try context.options(connections: 10, clients: 100, seconds: 10))
        },
        simple("range-l-10x100", "linearizable read of one key, 10 x 100, 256 B") { (context) throws(CommandError) in
            try await range(context, connections: 10, clients: 100, consistency: "l")
        },
        simple("range-s-10x100", "serializable read of one key, 10 x 100, 256 B") { (context) throws(CommandError) in
            try await range(context, connections: 10, clients: 100, consistency: "s")
        },
        simple("put-1x1", "put, one call at a time, 256 B") { (context) throws(CommandError) in
            try await SimpleWorkloads.put(
                context.target(connections: 1), try context.options(connections: 1, clients: 1, seconds: 10))
        },
        simple("range-l-1x1", "linearizable read of one key, one call at a time") { (context) throws(CommandError) in
            try await range(context, connections: 1, clients: 1, consistency: "l")
        },
        simple("kube", "Kubernetes mix, 10 x 10, 60 prefixes, 1-10 KB, a watch on each") {
            (context) throws(CommandError) in
            try await KubeWorkload(objects: context.scaled(4000), samples: context.samples).run(
                context.target(connections: 10), try context.options(connections: 10, clients: 10, seconds: 15))
        },
        CompareWorkload(name: "watch", summary: "1,000 watchers of one prefix, 500 puts/s", run: watch),
        list(clients: 1), list(clients: 20),
        CompareWorkload(name: "memory", summary: "100,000 keys of 1 KB: memory after 5 s of rest", run: memory),
        CompareWorkload(
            name: "list-memory", summary: "20 clients list 100 MB each: growth of memory", run: listMemory),
        CompareWorkload(
            name: "restart", summary: "restart with 1,000,000 keys of 100 B: until the first read", run: restart),
    ]

    /// A workload whose figures are those of one report.
    private static func simple(
        _ name: String, _ summary: String,
        _ run: @escaping @Sendable (CompareContext) async throws(CommandError) -> BenchReport
    ) -> CompareWorkload<CompareContext> {
        CompareWorkload(name: name, summary: summary) { (context) throws(CommandError) in
            figures(try checked(try await run(context)))
        }
    }

    /// The report, unless something in it is wrong: a figure of wrong answers is no figure.
    private static func checked(_ report: BenchReport) throws(CommandError) -> BenchReport {
        if let failure = report.failures.first { throw .failure("\(report.workload): \(failure)") }
        return report
    }

    private static func figures(_ report: BenchReport) -> [(CompareMetric, Double)] {
        let latency = report.overall
        var figures = [
            (throughput, report.throughput), (p50, Double(latency.percentile(0.5)) / 1e6),
            (p99, Double(latency.percentile(0.99)) / 1e6),
        ]
        if let cpu = report.cpuMicrosecondsPerCall { figures.append((cpuPerCall, cpu)) }
        return figures
    }

    private static func range(
        _ context: CompareContext, connections: Int, clients: Int, consistency: String
    ) async throws(CommandError) -> BenchReport {
        try await SimpleWorkloads.range(
            context.target(connections: connections),
            try context.options(
                connections: connections, clients: clients, seconds: 10, keys: 10_000, consistency: consistency),
            fills: true)
    }

    private static func watch(_ context: CompareContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        let workload = WatchWorkload(watchers: 1000, streams: 100, withPrevious: false, valueBytes: 256)
        let report = try checked(
            try await workload.run(
                context.target(connections: 10),
                try context.options(connections: 10, clients: 10, seconds: 10, rate: 500)))
        let names = [
            ("events_per_server_cpu_second", "events per CPU second", "1/s", false),
            ("event_lag_p50_ms", "event lag p50", "ms", true), ("event_lag_p99_ms", "event lag p99", "ms", true),
        ]
        return names.compactMap { name, title, unit, isBetterLower in
            report.figures.first { $0.name == name }.map {
                (CompareMetric(name: title, unit: unit, isBetterLower: isBetterLower), $0.value)
            }
        }
    }

    private static func list(clients: Int) -> CompareWorkload<CompareContext> {
        simple("list-\(clients)", "list of 10,000 keys of 1 KB, \(clients) clients") { (context) throws(CommandError) in
            try await SimpleWorkloads.list(
                context.target(connections: clients),
                try context.options(
                    connections: clients, clients: 1, seconds: 8, keys: 10_000, valueBytes: 1024), fills: true)
        }
    }

    private static func fill(
        _ context: CompareContext, keys: Int, valueBytes: Int
    ) async throws(CommandError) {
        try await SimpleWorkloads.withHarness(context.target(connections: 10)) { (harness) throws(CommandError) in
            try await SimpleWorkloads.fill(
                harness, SimpleWorkloads.listPrefix, keys: keys, valueBytes: valueBytes)
        }
    }

    private static func usage(_ context: CompareContext) throws(CommandError) -> ProcessUsage {
        guard let usage = ProcessUsage(pid: context.server.pid) else { throw .failure("the server has ended") }
        return usage
    }

    private static func memory(_ context: CompareContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        try await fill(context, keys: context.scaled(100_000), valueBytes: 1024)
        try? await Task.sleep(for: .seconds(5))
        let usage = try usage(context)
        let disk = CompareMetric(name: "data on disk", unit: "MB", isBetterLower: true)
        return [
            (resident, Double(usage.residentBytes) / 1e6), (anonymous, Double(usage.anonymousBytes) / 1e6),
            (disk, Double(context.server.dataBytes) / 1e6),
        ]
    }

    private static func listMemory(_ context: CompareContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        let keys = context.scaled(100_000)
        try await fill(context, keys: keys, valueBytes: 1024)
        try? await Task.sleep(for: .seconds(3))
        let before = try usage(context)
        var options = try context.options(
            connections: 20, clients: 1, seconds: 10, valueBytes: 1024, warmUpSeconds: 0)
        options.keySpaceSize = keys
        let report = try checked(
            try await SimpleWorkloads.list(context.target(connections: 20), options, fills: false))
        guard let use = report.server else { throw .failure("the server has ended") }
        let growth = CompareMetric(name: "growth of RSS", unit: "MB", isBetterLower: true)
        let anonymousGrowth = CompareMetric(name: "growth of anonymous memory", unit: "MB", isBetterLower: true)
        return [
            (growth, Double(use.residentPeakBytes - before.residentBytes) / 1e6),
            (anonymousGrowth, Double(use.anonymousPeakBytes - before.anonymousBytes) / 1e6),
            (CompareMetric(name: "lists", unit: "1/s", isBetterLower: false), report.throughput),
        ]
    }

    private static func restart(_ context: CompareContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        try await fill(context, keys: context.scaled(1_000_000), valueBytes: 100)
        await context.server.stop()
        let took = try await context.server.start()
        let seconds = Double(took.components.seconds) + Double(took.components.attoseconds) / 1e18
        return [(CompareMetric(name: "time to the first read", unit: "s", isBetterLower: true), seconds)]
    }
}
