import Foundation
import TestSupport
import Testing

extension ClusterTests {
    /// Clients write, read and watch while members are killed, stopped, cut off, slowed down and replaced; what they saw has
    /// to be the history of one store.
    @Suite("chaos", .besideFew) struct Chaos {
        private static let seed = ChaosRun.chosenSeed
        /// In members. The faults are dealt among them, so that those of links are all made in each `make test`.
        private static let sizes = [3, 5]

        @Test("the history of a cluster under fire is that of one store", arguments: sizes.indices)
        func chaos(place: Int) async throws {
            let deals = Nemesis.Fault.deal(seed: Self.seed, runs: Self.sizes.count)
            try await ChaosRun(members: Self.sizes[place], seed: Self.seed, deal: deals[place])
                .run(for: .seconds(35))
        }

        @Test("every fault is dealt to one run, and those of links among the first", arguments: 0..<20 as Range<UInt64>)
        func deal(seed: UInt64) {
            for runs in 1...3 {
                let deals = Nemesis.Fault.deal(seed: seed, runs: runs)
                #expect(deals.count == runs)
                let dealt = deals.flatMap { $0 }
                #expect(dealt.count == Nemesis.Fault.allCases.count && Set(dealt) == Set(Nemesis.Fault.allCases))
                for deal in deals {
                    let count = deal.count(where: \.isOfLinks)
                    #expect(count >= Nemesis.Fault.ofLinks.count / runs)
                    #expect(deal.prefix(2 * count).count(where: \.isOfLinks) == count)
                }
            }
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
            let deal = Nemesis.Fault.deal(seed: seed, runs: 1)[0]
            try await ChaosRun(members: seed % 2 == 0 ? 3 : 5, seed: seed, deal: deal).run(for: .seconds(180))
            seed += 1
        }
    }
}
