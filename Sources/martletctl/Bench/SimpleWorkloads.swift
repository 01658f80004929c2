import Client
import NIOCore

/// The workloads without watches: warm-up, measure, report.
enum SimpleWorkloads {
    /// Runs a source twice: for the warm-up, and measured.
    static func measure(
        _ harness: LoadHarness, _ options: BenchOptions, workload: String, operations: [String],
        parameters: [(name: String, value: String)], samplesMemory: Bool = false,
        _ makeSource: @escaping @Sendable (_ loop: Int) -> any LoadSource
    ) async throws(CommandError) -> BenchReport {
        var warmUp = options.plan()
        warmUp.total = nil
        warmUp.duration = .nanoseconds(options.warmUp.nanoseconds)
        if options.warmUp.nanoseconds > 0 { _ = try await harness.run(warmUp, title: "warm-up", makeSource) }
        let sampler = samplesMemory ? MemorySampler(pids: harness.target.serverPIDs) : nil
        let before = harness.target.serverUsage()
        let ownBefore = ProcessUsage.ownMicroseconds()
        let start = NIODeadline.now()
        let result = try await harness.run(options.plan(), title: workload, makeSource)
        let seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        let after = harness.target.serverUsage()
        var report = BenchReport(
            workload: workload, parameters: parameters, operations: operations, seconds: seconds, result: result)
        if let before, let after {
            var use = ServerUse(before: before, after: after)
            if let peak = await sampler?.stop() {
                use.residentPeakBytes = max(use.residentPeakBytes, peak.residentBytes)
                use.anonymousPeakBytes = max(use.anonymousPeakBytes, peak.anonymousBytes)
            }
            report.server = use
        }
        // What the load generator itself took: on a shared machine the server does not have that time.
        let own = ProcessUsage.ownMicroseconds() - ownBefore
        report.figures.append(("client_cpu_us_per_call", own / Double(max(1, result.calls))))
        if result.errors > 0, let first = result.errorTexts.first {
            report.failures.append("\(result.errors) calls failed: \(first)")
        }
        return report
    }

    /// Runs `body` with connections to the target.
    static func withHarness<Result: Sendable>(
        _ target: BenchTarget, _ body: (LoadHarness) async throws(CommandError) -> Result
    ) async throws(CommandError) -> Result {
        let harness = try await LoadHarness(target)
        do throws(CommandError) {
            let result = try await body(harness)
            await harness.close()
            return result
        } catch {
            await harness.close()
            throw error
        }
    }

    static func put(_ target: BenchTarget, _ options: BenchOptions) async throws(CommandError) -> BenchReport {
        try await withHarness(target) { (harness) throws(CommandError) in
            let loops = harness.loopCount
            return try await measure(
                harness, options, workload: "put", operations: ["put"], parameters: options.keyParameters
            ) { loop in
                PutSource(
                    keys: options.keys(loop: loop, of: loops)!, valueBytes: options.valSize,
                    seed: options.seed &+ UInt64(loop))
            }
        }
    }

    static func range(
        _ target: BenchTarget, _ options: BenchOptions, fills: Bool
    ) async throws(CommandError) -> BenchReport {
        try await withHarness(target) { (harness) throws(CommandError) in
            let loops = harness.loopCount
            if fills {
                let plan = LoadPlan(
                    clientsPerConnection: 100, total: options.keySpaceSize / loops * loops + loops, duration: nil)
                let filled = try await harness.run(plan, title: "putting keys") { loop in
                    PutSource(
                        keys: options.keys(loop: loop, of: loops, isSequential: true)!,
                        valueBytes: options.valSize, seed: options.seed)
                }
                if let text = filled.errorTexts.first { throw .failure("cannot fill the store: \(text)") }
            }
            return try await measure(
                harness, options, workload: "range", operations: ["range"],
                parameters: options.keyParameters + [("consistency", options.consistency)]
            ) { loop in
                RangeSource(
                    keys: options.keys(loop: loop, of: loops)!, isSerializable: options.consistency == "s")
            }
        }
    }

    static func txnMixed(
        _ target: BenchTarget, _ options: BenchOptions, readsPerWrite: Double, limit: Int
    ) async throws(CommandError) -> BenchReport {
        try await withHarness(target) { (harness) throws(CommandError) in
            let loops = harness.loopCount
            return try await measure(
                harness, options, workload: "txn-mixed", operations: ["txn-range", "txn-put"],
                parameters: options.keyParameters + [
                    ("rw-ratio", BenchReport.decimal(readsPerWrite, 3)), ("limit", "\(limit)"),
                    ("consistency", options.consistency),
                ]
            ) { loop in
                MixedSource(
                    keys: options.keys(loop: loop, of: loops)!, valueBytes: options.valSize, limit: limit,
                    readsPerWrite: readsPerWrite, isSerializable: options.consistency == "s",
                    seed: options.seed &+ UInt64(loop))
            }
        }
    }

    /// The prefix that lists are of.
    static let listPrefix = Array("/bench/list/".utf8)

    static func list(
        _ target: BenchTarget, _ options: BenchOptions, fills: Bool
    ) async throws(CommandError) -> BenchReport {
        try await withHarness(target) { (harness) throws(CommandError) in
            if fills { try await fill(harness, listPrefix, keys: options.keySpaceSize, valueBytes: options.valSize) }
            var report = try await measure(
                harness, options, workload: "list", operations: ["list"],
                parameters: options.parameters + [
                    ("keys", "\(options.keySpaceSize)"), ("val-size", "\(options.valSize)"),
                    ("consistency", options.consistency),
                ], samplesMemory: true
            ) { _ in
                ListSource(
                    prefix: listPrefix, end: KeyRange.prefixEnd(listPrefix), rowsExpected: options.keySpaceSize,
                    isSerializable: options.consistency == "s")
            }
            let bytes = report.throughput * Double(options.keySpaceSize * (options.valSize + listPrefix.count + 8))
            report.figures.append(("MB_per_second", bytes / 1e6))
            return report
        }
    }

    /// Puts `keys` keys under `prefix`, each once.
    static func fill(
        _ harness: LoadHarness, _ prefix: [UInt8], keys: Int, valueBytes: Int
    ) async throws(CommandError) {
        let loops = harness.loopCount
        let filled = try await harness.run(
            LoadPlan(clientsPerConnection: 100, total: keys, duration: nil), title: "putting keys"
        ) { loop in
            let (share, rest) = keys.quotientAndRemainder(dividingBy: loops)
            let first = share * loop + min(loop, rest)
            return FillSource(
                prefix: prefix, numbers: first..<(first + share + (loop < rest ? 1 : 0)), valueBytes: valueBytes,
                seed: UInt64(loop) + 1)
        }
        if let text = filled.errorTexts.first { throw .failure("cannot fill the store: \(text)") }
    }
}

/// Looks at the memory of processes every 20 ms, from its making to `stop`.
struct MemorySampler: Sendable {
    private let task: Task<ProcessUsage?, Never>

    init(pids: [Int32]) {
        task = Task {
            guard var peak = ProcessUsage(pids: pids) else { return nil }
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(20))
                guard let now = ProcessUsage(pids: pids) else { break }
                peak.residentBytes = max(peak.residentBytes, now.residentBytes)
                peak.anonymousBytes = max(peak.anonymousBytes, now.anonymousBytes)
            }
            return peak
        }
    }

    /// The greatest resident and anonymous memory that was seen; nil when there is no process to look at.
    func stop() async -> ProcessUsage? {
        task.cancel()
        return await task.value
    }
}
