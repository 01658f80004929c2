import Client
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// `kill -9` at random moments under load: nothing that was acknowledged may be lost, nothing may change afterwards.
    @Suite("kill -9") struct KillLoop {
        /// On each of two servers beside each other.
        static let rounds = 28

        @Test("every acknowledged write survives")
        func loop() async throws {
            let seeds = (0..<2).map { _ in UInt64.random(in: 0..<100_000) }
            try await forEach(seeds, atOnce: 2) { seed in try await Self.run(seed: seed) { $0 < Self.rounds } }
        }

        fileprivate static func run(seed: UInt64, while goOn: (_ round: Int) -> Bool) async throws {
            let server = try TestServer(.martlet)
            var loop = KillRounds(seed: seed, server: server)
            var round = 0
            do {
                while goOn(round) {
                    try await loop.round(round)
                    round += 1
                }
            } catch {
                let tail = server.logTail
                await server.killHard()
                throw TestFailure("seed \(seed), round \(round): \(error)\n\(tail)")
            }
            #expect(loop.journal.acknowledgedCount > round * 5)
            await server.discard()
        }
    }
}

/// Apart from the others, whose time is limited.
@Suite struct KillSoak {
    /// `make soak`: the same for hours. `MARTLET_SOAK_MINUTES` says how long, four hours unless given.
    @Test(.enabled(if: Binaries.environment("MARTLET_SOAK") == "1", "runs in `make soak` only"))
    func killSoak() async throws {
        let minutes = Binaries.environment("MARTLET_SOAK_MINUTES").flatMap { Int($0) } ?? 240
        let end = ContinuousClock.now + .seconds(60 * minutes)
        // A fresh store now and then keeps the model small.
        while ContinuousClock.now < end {
            let seed = UInt64.random(in: 0..<100_000)
            try await ServerTests.KillLoop.run(seed: seed) { $0 < 200 && ContinuousClock.now < end }
        }
    }
}

/// The rounds on one data directory.
private struct KillRounds {
    let journal = Journal()
    private let server: TestServer
    private let seed: UInt64
    private var random: PRNG
    private var checker: HistoryChecker

    init(seed: UInt64, server: TestServer) {
        self.seed = seed
        self.server = server
        random = PRNG(seed: seed)
        checker = HistoryChecker(journal: journal)
    }

    mutating func round(_ number: Int) async throws {
        // A start that is cut short, twice in a row at times.
        while random.chance(oneIn: 4) {
            try server.launch()
            try await Task.sleep(for: .milliseconds(random.next(in: 0..<150)))
            await server.killHard()
        }
        try await server.start()
        try await checker.check(server, full: number % 10 == 0, random: &random)
        if number % 12 == 11 { try await cleanRestart() }

        let writers = Writers(journal: journal, server: server)
        let seed = self.seed &+ UInt64(number)
        let writing = Task { try await writers.run(seed: seed) }
        let compacts = random.chance(oneIn: 2)
        try await Task.sleep(for: .milliseconds(random.next(in: 20..<700)))
        var compaction: Task<Void, any Error>?
        if compacts {
            // The kill comes while the compaction runs, or shortly after it.
            compaction = compact(isPhysical: random.chance(oneIn: 2))
            try await Task.sleep(for: .microseconds(random.next(in: 0..<30_000)))
        }
        await server.killHard()
        writing.cancel()
        compaction?.cancel()
        try await writing.value
        _ = await compaction?.result
    }

    private func compact(isPhysical: Bool) -> Task<Void, any Error> {
        var request = Etcdserverpb_CompactionRequest()
        request.physical = isPhysical
        // Not beyond what the checker has seen: it could not fold a history that it never read.
        request.revision = min(max(checker.revision - 50, journal.compactRevision + 1), checker.revision)
        return Task { [server, journal, request] in
            let client = try server.client()
            if (try? await client.compact(request)) != nil { journal.acknowledgeCompaction(request.revision) }
            await client.close()
        }
    }

    /// SIGTERM and a new start: the same hash, the same history.
    private mutating func cleanRestart() async throws {
        let client = try server.client()
        let before = try await client.hashKV()
        await client.close()
        guard let status = await server.terminate() else { throw TestFailure("SIGTERM did not end the server") }
        // etcd raises the signal again when it is done.
        guard status == 0 || status == 128 + SIGTERM else { throw TestFailure("SIGTERM ended with status \(status)") }
        try await server.start()
        let again = try server.client()
        let after = try await again.hashKV()
        await again.close()
        guard before.hash == after.hash, before.compactRevision == after.compactRevision else {
            throw TestFailure("a clean restart changed the hash from \(before.hash) to \(after.hash)")
        }
        try await checker.check(server, full: true, random: &random)
    }
}
