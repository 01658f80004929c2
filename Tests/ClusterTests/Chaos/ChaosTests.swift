import Foundation
import TestSupport
import Testing

extension ClusterTests {
    /// Clients write, read and watch while members are killed, stopped, cut off and replaced; what they saw has to be the
    /// history of one store.
    @Suite("chaos", .besideFew) struct Chaos {
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
