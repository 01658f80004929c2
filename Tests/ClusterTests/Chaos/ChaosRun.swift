import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Wire

/// One cluster, one schedule, one history.
struct ChaosRun {
    /// A failure names its seed; `MARTLET_CHAOS_SEED` repeats its schedule.
    static var chosenSeed: UInt64 {
        Binaries.environment("MARTLET_CHAOS_SEED").flatMap { UInt64($0) } ?? .random(in: 0..<1_000_000)
    }

    let members: Int
    let seed: UInt64
    /// The faults that come first.
    let deal: [Nemesis.Fault]

    func run(for time: Duration) async throws {
        let cluster = try await TestCluster.started(
            members, hasLinks: true, hasDisks: TestDisk.isAvailable && members == 3,
            hasSlowDisks: await SlowDisk.isAvailable)
        var nemesis = try Nemesis(cluster, seed: seed &* 10 &+ UInt64(members), deal: deal)
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
        for member in cluster.members { try await member.server.waitUntilServing() }
        writing.cancel()
        await writing.value
        let client = cluster.client()
        try await eventually("leases that nobody renews end") {
            (try? await client.leaseLeases())?.leases.isEmpty ?? false
        }
        // Read, not written: a watcher that is told of progress to a revision which it does not watch takes that for an event
        // that is missing.
        let last = try await surely { try await client.get("after the storm").header.revision }
        await client.close()
        clients.goal.withLockedValue { $0 = last }
        try await eventually("the watchers see everything") {
            history.events.count >= last - 1 || !history.violations.isEmpty
        }
        watching.cancel()
        await watching.value
        try await cluster.waitUntilEqual()

        let violations = HistoryCheck.violations(history, last: last)
        if !violations.isEmpty {
            throw TestFailure("\(violations.count) violations:\n" + violations.prefix(10).joined(separator: "\n"))
        }
        let operations = history.operations
        let answered = operations.count { if case .unknown = $0.outcome { false } else { true } }
        print(
            "chaos: \(members) members, seed \(seed): \(nemesis.timeline.count) faults, \(operations.count) calls, "
                + "\(answered) answered, \(last) revisions; \(ChaosTally(history)); links: \(linkFaults(nemesis))")
        #expect(answered > 500 && nemesis.timeline.count > 3, "too little happened to prove anything")
        let missing = nemesis.owed.filter { nemesis.made[$0] == nil }
        #expect(missing.isEmpty, "seed \(seed): these faults met no traffic")
    }

    /// How often each fault of links was made, and what they did.
    private func linkFaults(_ nemesis: Nemesis) -> String {
        let counts = Nemesis.Fault.ofLinks.map { "\($0) \(nemesis.made[$0] ?? 0)" }
        let effects = nemesis.links.effects
        return counts.joined(separator: ", ")
            + "; \(effects.held) pieces held, \(effects.delayed) late, \(effects.broken) connections broken"
    }
}

/// How much of what the checks look at has happened.
private struct ChaosTally: CustomStringConvertible {
    private var renewals = 0
    private var missing = 0
    private var compactions = 0
    private var tooOld = 0
    private var compactedWatches = 0
    private var begunWatches = 0

    init(_ history: History) {
        for step in history.leases {
            switch step.kind {
            case .alive: renewals += 1
            case .missing: missing += 1
            case .asked, .revoking: break
            }
        }
        for operation in history.operations {
            switch operation.outcome {
            case .compacted: compactions += 1
            case .tooOld: tooOld += 1
            case .written, .unchanged, .read, .refused, .unknown: break
            }
        }
        for start in history.watchStarts {
            if case .compacted = start.outcome { compactedWatches += 1 } else { begunWatches += 1 }
        }
    }

    var description: String {
        "leases granted and renewed \(renewals) times, found gone \(missing) times; \(compactions) compactions, "
            + "\(tooOld) calls and \(compactedWatches) of \(compactedWatches + begunWatches) watches behind them"
    }
}
