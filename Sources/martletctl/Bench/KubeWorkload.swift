import Client
import NIOConcurrencyHelpers
import NIOCore

/// W3: the mix of `KubeSource` with one watch on each prefix, as the caches of an API server have them.
struct KubeWorkload: Sendable {
    /// Objects to make before measuring.
    var objects: Int
    /// What is stored; nil for random bytes.
    var samples: SampleObjects?
    /// Whether what lies under the prefix and is not of an earlier run may be deleted.
    var overwrites = false

    /// All that is written, and deleted, but for the key that says whose it is.
    private static let prefix = Array("/registry/".utf8)
    /// Exists while what lies under the prefix is of this workload.
    private static let ownerKey = Array("martletctl-bench-kube".utf8)

    /// The watches of one run, one stream each, spread over the connections.
    private struct Watches: Sendable {
        var checkers: [NIOLoopBound<WatchChecker>] = []
        var streams: [NIOLoopBound<LoadStream>] = []
    }

    func run(_ target: BenchTarget, _ options: BenchOptions) async throws(CommandError) -> BenchReport {
        try await SimpleWorkloads.withHarness(target) { (harness) throws(CommandError) in
            try await run(harness, options)
        }
    }

    private func run(_ harness: LoadHarness, _ options: BenchOptions) async throws(CommandError) -> BenchReport {
        try await claim(harness)
        // Remove what an earlier run has left, and learn the revision from which everything is new.
        harness.target.progress.begin("removing what an earlier run has left")
        let revision = try await Self.clear(harness)
        harness.target.progress.end()
        let watches = try await openWatches(harness, from: revision + 1)
        let collector = NIOLockedValueBox(KubeSource.Acknowledged())
        // One source for each loop, kept from the creation of objects to the end.
        let sources = try await harness.makeOnLoops { loop in
            KubeSource(
                loop: loop, preload: objects / harness.loopCount, seed: options.seed, samples: samples,
                collector: collector)
        }
        let preload = LoadPlan(
            clientsPerConnection: options.clients, total: objects / harness.loopCount * harness.loopCount,
            duration: nil)
        let made = try await harness.run(preload, title: "making objects") { sources[$0].value }
        if let text = made.errorTexts.first { throw .failure("cannot make objects: \(text)") }
        var report = try await SimpleWorkloads.measure(
            harness, options, workload: "kube", operations: KubeSource.Operation.allCases.map(\.name),
            parameters: options.parameters + [
                ("objects", "\(objects)"), ("prefixes", "\(KubeSource.prefixes.count)"),
                ("values", SampleObjects.describe(samples)),
            ]
        ) { sources[$0].value }
        // The sources add up what they acknowledged after every run; the last sum counts.
        for source in sources { await source.onLoop { $0.report() } }
        let acknowledged = collector.withLockedValue { $0 }
        harness.target.progress.begin("checking what the watches got")
        defer { harness.target.progress.end() }
        report.failures += try await verify(watches, acknowledged)
        let events = acknowledged.revisions.reduce(0) { $0 + $1.count }
        report.figures.append(("events_checked", Double(events)))
        _ = try await Self.clear(harness)
        _ = try await harness.connection(forStream: 0).callOnce(
            MethodPath.deleteRange, RequestBytes.delete(key: Self.ownerKey))
        return report
    }

    /// Marks what lies under the prefix as this workload's. Fails when somebody else's objects are there: they would be
    /// deleted.
    private func claim(_ harness: LoadHarness) async throws(CommandError) {
        let connection = harness.connection(forStream: 0)
        func rows(_ key: [UInt8], _ end: [UInt8] = []) async throws(CommandError) -> Int {
            let reply = try await connection.callOnce(
                MethodPath.range, RequestBytes.range(key: key, end: end, limit: 1))
            guard let range = reply.withUnsafeBytes({ ReplyReader.range($0) }) else {
                throw .failure("malformed range response")
            }
            return range.count
        }
        if !overwrites, try await rows(Self.ownerKey) == 0 {
            let count = try await rows(Self.prefix, KeyRange.prefixEnd(Self.prefix))
            guard count == 0 else {
                throw .failure(
                    "/registry has \(count) keys of others, and this workload deletes what is there: choose another "
                        + "store, or say --overwrite")
            }
        }
        _ = try await connection.callOnce(
            MethodPath.put, RequestBytes.put(key: Self.ownerKey, value: Array("objects under /registry".utf8)))
    }

    /// Deletes all objects; gives the store's revision afterwards.
    private static func clear(_ harness: LoadHarness) async throws(CommandError) -> Int64 {
        let message = RequestBytes.delete(key: prefix, end: KeyRange.prefixEnd(prefix))
        let connection = harness.connection(forStream: 0)
        let reply = try await connection.callOnce(MethodPath.deleteRange, message)
        return reply.withUnsafeBytes { ReplyReader.header($0) } ?? 0
    }

    private func openWatches(_ harness: LoadHarness, from revision: Int64) async throws(CommandError) -> Watches {
        var watches = Watches()
        for (index, prefix) in KubeSource.prefixes.enumerated() {
            let connection = harness.connection(forStream: index)
            let message = RequestBytes.watch(
                key: prefix, end: KubeSource.end(index), startRevision: revision, withPrevious: true,
                progressNotify: true)
            let name = String(decoding: prefix, as: UTF8.self)
            let opened = try? await connection.eventLoop.submit {
                let checker = WatchChecker(name: name)
                let stream = connection.openStream(
                    MethodPath.watch, onMessage: { checker.receive($0) }, onEnd: { checker.ended($0) })
                stream.send(message)
                return (
                    NIOLoopBound(checker, eventLoop: connection.eventLoop),
                    NIOLoopBound(stream, eventLoop: connection.eventLoop)
                )
            }.get()
            guard let opened else { throw .failure("cannot open a watch") }
            watches.checkers.append(opened.0)
            watches.streams.append(opened.1)
        }
        return watches
    }

    /// Asks for progress until every watch has been told that all acknowledged revisions are delivered (at most 20 s),
    /// then compares event by event.
    private func verify(
        _ watches: Watches, _ acknowledged: KubeSource.Acknowledged
    ) async throws(CommandError) -> [String] {
        let last = acknowledged.revisions.compactMap { $0.max() }.max() ?? 0
        let deadline = NIODeadline.now() + .seconds(20)
        var pending = Array(watches.checkers.indices)
        while !pending.isEmpty, NIODeadline.now() < deadline {
            var behind: [Int] = []
            for index in pending {
                let stream = watches.streams[index]
                let delivered = await watches.checkers[index].onLoop { checker in
                    if checker.deliveredRevision < last, !checker.isEnded {
                        stream.value.send(RequestBytes.watchProgress())
                    }
                    return checker.isEnded ? .max : checker.deliveredRevision
                }
                if delivered ?? .max < last { behind.append(index) }
            }
            pending = behind
            try? await Task.sleep(for: .milliseconds(100))
        }
        var failures: [String] = []
        if !pending.isEmpty {
            failures.append("\(pending.count) watches were not told of revision \(last) within 20 s")
        }
        for (index, checker) in watches.checkers.enumerated() {
            let expected = acknowledged.revisions[index]
            failures += await checker.onLoop { $0.verify(acknowledged: expected, unknown: acknowledged.unknown) } ?? []
        }
        return failures
    }
}

extension NIOLoopBound {
    /// Runs `body` with the value on its loop; nil when the loop has stopped.
    func onLoop<Result: Sendable>(_ body: @escaping @Sendable (Value) -> Result) async -> Result? {
        try? await eventLoop.submit { body(self.value) }.get()
    }
}
