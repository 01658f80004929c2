import Client
import NIOCore
import NIOPosix
import TransportSecurity

/// Which server a benchmark talks to, and how.
struct BenchTarget: Sendable {
    /// Connections are spread over these in turn.
    var endpoints: [Endpoint]
    var tls: TLSConfiguration?
    /// Connections in all.
    var connections: Int = 10
    /// Event loops of the load generator. One drives more than 100,000 calls a second; a second one takes processor
    /// time from a server on the same machine.
    var loops: Int = 1
    /// The server's processes on this machine, for processor time and memory; empty when it is elsewhere.
    var serverPIDs: [Int32] = []
    /// Tells how far a run is, on stderr.
    var progress = Progress.none

    /// The usage of the server's processes; nil when there are none to look at.
    func serverUsage() -> ProcessUsage? { ProcessUsage(pids: serverPIDs) }
}

/// Connections of a benchmark on loops of their own, kept from the warm-up to the end.
final class LoadHarness: Sendable {
    let target: BenchTarget
    private let group: MultiThreadedEventLoopGroup
    private let loops: [(eventLoop: any EventLoop, connections: [LoadConnection])]

    /// Connects to the target. Throws the reason when a connection cannot be made.
    init(_ target: BenchTarget) async throws(CommandError) {
        self.target = target
        let loopCount = max(1, min(target.loops, target.connections))
        group = MultiThreadedEventLoopGroup(numberOfThreads: loopCount)
        let eventLoops = Array(group.makeIterator())
        var connections: [[LoadConnection]] = eventLoops.map { _ in [] }
        for index in 0..<max(1, target.connections) {
            let endpoint = target.endpoints[index % target.endpoints.count]
            let connection = try await LoadConnection.connect(
                endpoint, tls: target.tls, eventLoop: eventLoops[index % loopCount])
            connections[index % loopCount].append(connection)
        }
        loops = Array(zip(eventLoops, connections)).map { ($0.0, $0.1) }
    }

    /// How many loops there are; a workload has one source for each.
    var loopCount: Int { loops.count }

    /// Makes calls as planned. `total` and `rate` of the plan are for all loops together.
    func run(
        _ plan: LoadPlan, title: String, _ makeSource: @escaping @Sendable (_ loop: Int) -> any LoadSource
    ) async throws(CommandError) -> LoadResult {
        let progress = target.progress
        progress.begin(title, total: plan.total, duration: plan.duration)
        defer { progress.end() }
        let futures = loops.enumerated().map { index, loop in
            var share = plan
            share.rate = plan.rate / Double(loops.count)
            share.total = plan.total.map { $0 / loops.count + (index < $0 % loops.count ? 1 : 0) }
            let (eventLoop, connections, plan) = (loop.eventLoop, loop.connections, share)
            return eventLoop.flatSubmit {
                LoadLoop(
                    eventLoop: eventLoop, connections: connections, source: makeSource(index), plan: plan,
                    onCall: { progress.advance($0) }
                ).start()
            }
        }
        var result = LoadResult()
        do {
            for future in futures { result.merge(try await future.get()) }
        } catch { throw .failure("the benchmark broke off: \(error)") }
        return result
    }

    /// Makes one value on each loop, to be used there.
    func makeOnLoops<Value>(
        _ make: @escaping @Sendable (_ loop: Int) -> Value
    ) async throws(CommandError) -> [NIOLoopBound<Value>] {
        var values: [NIOLoopBound<Value>] = []
        for (index, loop) in loops.enumerated() {
            let eventLoop = loop.eventLoop
            let value = try? await eventLoop.submit { NIOLoopBound(make(index), eventLoop: eventLoop) }.get()
            guard let value else { throw .failure("a loop has stopped") }
            values.append(value)
        }
        return values
    }

    /// The connection to use for the `index`-th stream, streams being spread evenly.
    func connection(forStream index: Int) -> LoadConnection {
        let loop = loops[index % loops.count]
        return loop.connections[index / loops.count % loop.connections.count]
    }

    /// Closes all connections and stops the loops.
    func close() async {
        for loop in loops {
            for connection in loop.connections { await connection.close() }
        }
        try? await group.shutdownGracefully()
    }
}
