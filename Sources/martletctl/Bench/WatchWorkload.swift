import Client
import NIOConcurrencyHelpers
import NIOCore

/// W5: many watchers of one prefix, and puts under it. Every value begins with the time at which it was sent, so that
/// each event tells how long it took; each watcher must get every event in order.
struct WatchWorkload: Sendable {
    var watchers: Int
    /// Streams that the watchers are spread over.
    var streams: Int
    var withPrevious: Bool
    var valueBytes: Int

    private static let prefix = Array("/bench/watch/".utf8)

    /// Counts the events of the watchers of one stream. Owner: the stream's event loop.
    private final class Counter {
        private(set) var events = 0
        private(set) var created = 0
        private(set) var violations: [String] = []
        private(set) var lag = Histogram()
        /// The last revision that each watcher has got.
        private var delivered: [Int64: Int64] = [:]
        var isMeasuring = false

        func receive(_ message: UnsafeRawBufferPointer) {
            let now = NIODeadline.now().uptimeNanoseconds
            var first: Int64 = .max
            var last: Int64 = 0
            let reply = ReplyReader.watch(message) { event in
                if event.modRevision <= last { note("events of one answer are out of order") }
                first = min(first, event.modRevision)
                last = event.modRevision
                guard isMeasuring, event.value.count >= 8 else { return }
                events += 1
                let sent = event.value.loadUnaligned(as: UInt64.self)
                lag.add(now > sent ? now - sent : 0)
            }
            guard let reply else { return note("malformed watch response") }
            if reply.isCreated { created += 1 }
            if reply.isCanceled { note("a watch was cancelled") }
            guard reply.events > 0 else { return }
            if let before = delivered[reply.watchID], first <= before { note("an event came twice or out of order") }
            delivered[reply.watchID] = last
        }

        func note(_ text: String) {
            if violations.count < 5 { violations.append(text) }
        }

        func begin() {
            isMeasuring = true
            events = 0
            lag = Histogram()
        }
    }

    /// Puts whose values begin with the time.
    private final class StampedSource: LoadSource {
        let operations = ["put"]
        private let valueBytes: Int
        private var number: Int

        init(valueBytes: Int, loop: Int) {
            self.valueBytes = valueBytes
            number = loop
        }

        func next() -> LoadCall? {
            var value = [UInt8](repeating: 0x78, count: valueBytes)
            value.withUnsafeMutableBytes {
                $0.storeBytes(of: NIODeadline.now().uptimeNanoseconds, as: UInt64.self)
            }
            number = (number + 1) % 1000
            let key = FillSource.key(WatchWorkload.prefix, number)
            return LoadCall(path: MethodPath.put, message: RequestBytes.put(key: key, value: value), operation: 0)
        }

        func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
            ReplyReader.header(reply) == nil ? "malformed put response" : nil
        }
    }

    func run(_ target: BenchTarget, _ options: BenchOptions) async throws(CommandError) -> BenchReport {
        try await SimpleWorkloads.withHarness(target) { (harness) throws(CommandError) in
            let progress = harness.target.progress
            progress.begin("making \(watchers) watches")
            defer { progress.end() }
            let counters = try await open(harness)
            progress.end()
            var quick = options
            quick.warmUp = .seconds(0)
            let warmUp = LoadPlan(
                clientsPerConnection: 1, total: nil, duration: .nanoseconds(options.warmUp.nanoseconds),
                rate: options.rate)
            let makeSource: @Sendable (Int) -> any LoadSource = { [valueBytes] in
                StampedSource(valueBytes: valueBytes, loop: $0)
            }
            if options.warmUp.nanoseconds > 0 { _ = try await harness.run(warmUp, title: "warm-up", makeSource) }
            _ = await settle(counters, expected: nil)
            for counter in counters { _ = await counter.onLoop { $0.begin() } }
            var report = try await SimpleWorkloads.measure(
                harness, quick, workload: "watch", operations: ["put"],
                parameters: options.parameters + [
                    ("watchers", "\(watchers)"), ("streams", "\(streams)"), ("val-size", "\(valueBytes)"),
                    ("prev-kv", "\(withPrevious)"),
                ], makeSource)
            let puts = Int(report.result.calls)
            progress.begin("waiting for the last events")
            let seen = await settle(counters, expected: puts * watchers)
            if let use = report.server, let after = target.serverUsage() {
                // The server goes on sending after the last put was acknowledged.
                report.server = ServerUse(before: use.before, after: after)
            }
            try await conclude(&report, counters, puts: puts, seen: seen)
            return report
        }
    }

    private func conclude(
        _ report: inout BenchReport, _ counters: [NIOLoopBound<Counter>], puts: Int, seen: Int
    ) async throws(CommandError) {
        var lag = Histogram()
        for counter in counters {
            let part = await counter.onLoop { ($0.lag, $0.violations) }
            guard let part else { throw .failure("a loop has stopped") }
            lag.merge(part.0)
            report.failures += part.1
        }
        report.figures.append(("events", Double(seen)))
        report.figures.append(("events_per_second", Double(seen) / report.seconds))
        if let server = report.server, server.cpuMicroseconds > 0 {
            report.figures.append(("events_per_server_cpu_second", Double(seen) / server.cpuMicroseconds * 1e6))
        }
        for (name, fraction) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            report.figures.append(("event_lag_\(name)_ms", Double(lag.percentile(fraction)) / 1e6))
        }
        if seen != puts * watchers {
            report.failures.append("watchers got \(seen) events of \(puts * watchers)")
        }
    }

    /// Opens the streams and all watches; returns when every watch is created.
    private func open(_ harness: LoadHarness) async throws(CommandError) -> [NIOLoopBound<Counter>] {
        var counters: [NIOLoopBound<Counter>] = []
        let end = KeyRange.prefixEnd(Self.prefix)
        let message = RequestBytes.watch(
            key: Self.prefix, end: end, startRevision: 0, withPrevious: withPrevious, progressNotify: false)
        for index in 0..<streams {
            let connection = harness.connection(forStream: index)
            let count = watchers / streams + (index < watchers % streams ? 1 : 0)
            let counter = try? await connection.eventLoop.submit {
                let counter = Counter()
                let stream = connection.openStream(
                    MethodPath.watch, onMessage: { counter.receive($0) },
                    onEnd: { counter.note("a watch stream ended: \($0)") })
                for _ in 0..<count { stream.send(message) }
                return NIOLoopBound(counter, eventLoop: connection.eventLoop)
            }.get()
            guard let counter else { throw .failure("cannot open a watch stream") }
            counters.append(counter)
        }
        let deadline = NIODeadline.now() + .seconds(30)
        while NIODeadline.now() < deadline {
            var created = 0
            for counter in counters { created += await counter.onLoop { $0.created } ?? 0 }
            if created == watchers { return counters }
            try? await Task.sleep(for: .milliseconds(20))
        }
        throw .failure("not all watches were created within 30 s")
    }

    /// Waits until `expected` events have come, or none has come for a second; gives their number.
    private func settle(_ counters: [NIOLoopBound<Counter>], expected: Int?) async -> Int {
        var last = -1
        var lastChange = NIODeadline.now()
        while true {
            var seen = 0
            for counter in counters { seen += await counter.onLoop { $0.events } ?? 0 }
            if let expected, seen >= expected { return seen }
            if seen != last {
                last = seen
                lastChange = .now()
            } else if NIODeadline.now() - lastChange > .seconds(expected == nil ? 1 : 3) {
                return seen
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }
}
