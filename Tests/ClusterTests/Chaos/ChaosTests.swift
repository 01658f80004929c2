import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing

extension ClusterTests {
    /// Clients write, read and watch while members are killed, stopped, cut off and replaced; what they saw has to be the
    /// history of one store.
    @Suite("chaos") struct Chaos {
        @Test("the history of a cluster under fire is that of one store", arguments: [3, 5])
        func chaos(members: Int) async throws {
            try await ChaosRun(members: members, seed: ChaosRun.chosenSeed).run(for: .seconds(35))
        }
    }
}

/// `make soak`: the same for hours. Outside of `ClusterTests`, whose limit of time would end it.
@Suite("cluster soak", .serialized) struct ClusterSoak {
    /// `MARTLET_SOAK_MINUTES` says how long, four hours unless given.
    @Test("chaos", .enabled(if: Binaries.environment("MARTLET_SOAK") == "1", "runs in `make soak` only"))
    func chaos() async throws {
        let minutes = Binaries.environment("MARTLET_SOAK_MINUTES").flatMap { Int($0) } ?? 240
        let end = ContinuousClock.now + .seconds(60 * minutes)
        var seed = ChaosRun.chosenSeed
        while ContinuousClock.now < end {
            // A fresh cluster now and then keeps the history small enough to be checked.
            try await ChaosRun(members: seed % 2 == 0 ? 3 : 5, seed: seed).run(for: .seconds(180))
            seed += 1
        }
    }
}

/// One cluster, one schedule, one history.
private struct ChaosRun {
    /// A failure names its seed; `MARTLET_CHAOS_SEED` repeats its schedule.
    static var chosenSeed: UInt64 {
        Binaries.environment("MARTLET_CHAOS_SEED").flatMap { UInt64($0) } ?? .random(in: 0..<1_000_000)
    }

    let members: Int
    let seed: UInt64

    func run(for time: Duration) async throws {
        let cluster = try await TestCluster.started(
            members, hasLinks: true, hasDisks: TestDisk.isAvailable && members == 3)
        var nemesis = try Nemesis(cluster, seed: seed)
        do {
            try await run(cluster, &nemesis, time)
        } catch {
            let tails = cluster.logTails
            await cluster.stop()
            let timeline = nemesis.timeline.suffix(40).joined(separator: "\n")
            throw TestFailure("\(members) members, seed \(seed): \(error)\n\(timeline)\n\(tails)")
        }
        await cluster.discard()
    }

    private func run(_ cluster: TestCluster, _ nemesis: inout Nemesis, _ time: Duration) async throws {
        let history = History()
        let clients = ChaosClients(history: history, cluster: cluster, seed: seed)
        let writing = Task { await clients.write() }
        let watching = Task { await clients.watch() }
        defer {
            writing.cancel()
            watching.cancel()
        }
        try await nemesis.run(until: .now + time)
        // All is mended: the cluster serves again, and everybody catches up.
        for member in cluster.members { try await member.server.waitUntilServing(within: .seconds(40)) }
        writing.cancel()
        await writing.value
        let last = try await cluster[0].client.put("after the storm", "1")
        clients.goal.withLockedValue { $0 = last - 1 }
        try await eventually("the watchers see everything", within: .seconds(30)) {
            history.events.count >= last - 2 || !history.violations.isEmpty
        }
        watching.cancel()
        await watching.value
        try await cluster.waitUntilEqual()

        let violations = HistoryCheck.violations(history, last: last - 1)
        if !violations.isEmpty {
            throw TestFailure("\(violations.count) violations:\n" + violations.prefix(10).joined(separator: "\n"))
        }
        let operations = history.operations
        let answered = operations.count { if case .unknown = $0.outcome { false } else { true } }
        print(
            "chaos: \(members) members, seed \(seed): \(nemesis.timeline.count) faults, \(operations.count) calls, "
                + "\(answered) answered, \(last) revisions")
        #expect(answered > 500 && nemesis.timeline.count > 3, "too little happened to prove anything")
    }
}
