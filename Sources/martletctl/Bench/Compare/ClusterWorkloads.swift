import ArgumentParser
import Client
import Glibc
import NIOCore
import Wire

/// What a workload gets.
struct ClusterContext {
    var cluster: ClusterProcesses
    var scale: Double
    var progress: Progress

    func scaled(_ count: Int) -> Int { max(1, Int((Double(count) * scale).rounded())) }

    /// Connections to these members, in turn; the processor time is that of all members.
    func target(_ members: [Int], connections: Int) -> BenchTarget {
        var target = BenchTarget(endpoints: members.compactMap { Endpoint(cluster.members[$0].endpoint) })
        target.connections = connections
        target.serverPIDs = cluster.pids
        target.progress = progress
        return target
    }

    func options(keys: Int) throws(CommandError) -> BenchOptions {
        guard var options = try? BenchOptions.parse([]) else { throw .failure("bad default options") }
        options.conns = 10
        options.clients = 100
        options.duration = GoDuration(nanoseconds: Int64(max(1, 10 * scale) * 1e9))
        options.warmUp = GoDuration(nanoseconds: Int64(min(1, scale) * 1e9))
        options.keySpaceSize = scaled(keys)
        options.valSize = 256
        return options
    }
}

/// The table of workloads.
enum ClusterWorkloads {
    /// Kills of the leader whose gaps the median is taken of, at full length.
    private static let kills = 20
    private static let stallSeconds = 10
    /// Rows of 1 KB that make 1 GB.
    private static let joinRows = 1_000_000
    private static let joinWritesPerSecond = 500.0

    static let all: [CompareWorkload<ClusterContext>] = [
        CompareWorkload(
            name: "cluster-put", summary: "put over all members, 10 connections x 100 in flight, 256 B", run: put),
        CompareWorkload(
            name: "cluster-range", summary: "linearizable read of one key at a follower, 10 x 100, 256 B", run: range),
        CompareWorkload(
            name: "kill-gap", summary: "time without writes after kill -9 of the leader, median of \(kills)",
            run: killGap),
        CompareWorkload(
            name: "stall-gap", summary: "time without writes when the leader's disk stalls for \(stallSeconds) s",
            obstacle: { StallingDisk.obstacle }, run: stallGap),
        CompareWorkload(
            name: "join", summary: "an empty member joins a store of 1 GB that is written to", run: join),
    ]

    private static func figures(_ report: BenchReport) throws(CommandError) -> [(CompareMetric, Double)] {
        if let failure = report.failures.first { throw .failure("\(report.workload): \(failure)") }
        let latency = report.overall
        var figures = [
            (CompareWorkloads.throughput, report.throughput),
            (CompareWorkloads.p50, Double(latency.percentile(0.5)) / 1e6),
            (CompareWorkloads.p99, Double(latency.percentile(0.99)) / 1e6),
        ]
        if let cpu = report.cpuMicrosecondsPerCall {
            let metric = CompareMetric(name: "CPU of all members per call", unit: "us", isBetterLower: true)
            figures.append((metric, cpu))
        }
        return figures
    }

    private static func put(_ context: ClusterContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        try await context.cluster.start()
        return try figures(
            try await SimpleWorkloads.put(
                context.target([0, 1, 2], connections: 10), try context.options(keys: 100_000)))
    }

    private static func range(_ context: ClusterContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        try await context.cluster.start()
        let leader = try await context.cluster.leader()
        return try figures(
            try await SimpleWorkloads.range(
                context.target([(leader + 1) % 3], connections: 10), try context.options(keys: 10_000), fills: true))
    }

    // MARK: Gaps

    private static func killGap(_ context: ClusterContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        let cluster = context.cluster
        try await cluster.start()
        var gaps: [Double] = []
        let count = context.scaled(kills)
        for number in 0..<count {
            // Long enough for the members to be settled.
            try? await Task.sleep(for: .seconds(2))
            let leader = try await cluster.leader()
            let others = (0..<3).filter { $0 != leader }.map { cluster.members[$0].endpoint }
            let probe = GapProbe(others)
            try await probe.warmUp()
            kill(cluster.members[leader].pid, SIGKILL)
            gaps.append(try await probe.firstWrite(within: 60))
            // Only now, because it waits.
            cluster.members[leader].killHard()
            await probe.close()
            context.progress.begin("kill \(number + 1) of \(count)", total: nil, duration: nil)
            _ = try await cluster.members[leader].start()
        }
        context.progress.end()
        let worst = CompareMetric(name: "longest gap", unit: "s", isBetterLower: true)
        return [
            (CompareMetric(name: "gap, median of \(count)", unit: "s", isBetterLower: true), median(gaps) ?? 0),
            (worst, gaps.max() ?? 0),
        ]
    }

    private static func stallGap(_ context: ClusterContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        let cluster = context.cluster
        var disks: [StallingDisk] = []
        do throws(CommandError) {
            for member in cluster.members {
                let disk = try StallingDisk(image: member.directory + "/image", directory: member.directory + "/disk")
                disks.append(disk)
                member.dataDirectory = disk.directory + "/data"
            }
            let gap = try await stallGap(cluster, disks)
            await cluster.stop()
            for disk in disks { disk.remove() }
            return [(CompareMetric(name: "longest gap", unit: "s", isBetterLower: true), gap)]
        } catch {
            for disk in disks { try? disk.thaw() }
            await cluster.stop()
            for disk in disks { disk.remove() }
            throw error
        }
    }

    private static func stallGap(_ cluster: ClusterProcesses, _ disks: [StallingDisk]) async throws(CommandError)
        -> Double
    {
        try await cluster.start()
        try? await Task.sleep(for: .seconds(2))
        let leader = try await cluster.leader()
        let others = (0..<3).filter { $0 != leader }.map { cluster.members[$0].endpoint }
        let probe = GapProbe(others)
        try await probe.warmUp()
        try disks[leader].freeze()
        // A write that is begun shortly after the end of the stall ends the last gap.
        async let longest = probe.longestGap(seconds: Int64(stallSeconds + 3))
        try? await Task.sleep(for: .seconds(stallSeconds))
        try disks[leader].thaw()
        let gap = await longest
        await probe.close()
        return gap
    }

    // MARK: Joining

    private static func join(_ context: ClusterContext) async throws(CommandError) -> [(CompareMetric, Double)] {
        let cluster = context.cluster
        try await cluster.start()
        let leader = try await cluster.leader()
        let rows = context.scaled(joinRows)
        try await SimpleWorkloads.withHarness(context.target([leader], connections: 10)) {
            (harness) throws(CommandError) in
            try await SimpleWorkloads.fill(harness, SimpleWorkloads.listPrefix, keys: rows, valueBytes: 1024)
        }
        // What the fill has left to be written comes to rest.
        try? await Task.sleep(for: .seconds(5))
        let writer = PacedWriter(cluster.members[leader].endpoint, perSecond: joinWritesPerSecond)
        try? await Task.sleep(for: .seconds(3))
        let quiet = writer.take()
        let newcomer = try cluster.newcomer()
        var request = Etcdserverpb_MemberAddRequest()
        request.peerUrls = [newcomer.peerURL]
        request.isLearner = true
        let client = ClusterProcesses.client([cluster.members[leader].endpoint], patience: .seconds(10))
        do throws(ClientError) { _ = try await client.memberAdd(request) } catch {
            throw .failure("the new member is not taken: \(error.message)")
        }
        let begin = NIODeadline.now()
        try newcomer.launch()
        let seconds = try await waitUntilCaughtUp(cluster, newcomer: 3, leader: leader, since: begin)
        let busy = writer.take()
        let failures = await writer.stop()
        await client.close()
        if let failure = failures.first { throw .failure("a write failed meanwhile: \(failure)") }
        return [
            (CompareMetric(name: "time to catch up", unit: "s", isBetterLower: true), seconds),
            (CompareMetric(name: "write p99 before", unit: "ms", isBetterLower: true), quiet),
            (CompareMetric(name: "write p99 meanwhile", unit: "ms", isBetterLower: true), busy),
        ]
    }

    /// Until the new member has applied what the leader had when it was asked.
    private static func waitUntilCaughtUp(
        _ cluster: ClusterProcesses, newcomer: Int, leader: Int, since begin: NIODeadline
    ) async throws(CommandError) -> Double {
        let limit = begin + .minutes(10)
        while NIODeadline.now() < limit {
            guard cluster.members[newcomer].isRunning else { throw .failure("the new member has ended") }
            if let ahead = try? await cluster.client(leader).status(),
                let behind = try? await cluster.client(newcomer).status(),
                behind.header.revision >= ahead.header.revision
            {
                return Double((NIODeadline.now() - begin).nanoseconds) / 1e9
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
        throw .failure("the new member has not caught up within ten minutes")
    }
}
