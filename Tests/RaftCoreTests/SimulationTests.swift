import Foundation
import Primitives
import RaftCore
import Testing

/// The figure-3 properties over many seeds; then liveness once faults stop.
@Suite struct SimulationTests {
    /// `MARTLET_SEEDS=N` runs N seeds, `MARTLET_SEED=S` only S.
    static let seeds: Range<UInt64> = {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["MARTLET_SEED"].flatMap(UInt64.init) { return seed..<seed + 1 }
        return 0..<(environment["MARTLET_SEEDS"].flatMap(UInt64.init) ?? 30)
    }()

    @Test(arguments: seeds) func safetyAndConvergence(_ seed: UInt64) {
        let simulation = Simulation(seed: seed)
        for _ in 0..<3 {
            simulation.rage(steps: 5000)
            let converged = simulation.heal()
            #expect(converged, "\(simulation.label)\n\(simulation.status)")
            if !converged { return }
            for node in simulation.nodes {
                #expect(node.image.payloads == simulation.checker.payloads(through: node.image.last.index))
            }
            SafetyChecker.checkLogMatching(simulation.nodes, simulation.label)
        }
        #expect(simulation.readsAnswered > 0)
    }

    /// A failure can be replayed from its seed: nothing depends on hashes, addresses or time.
    @Test func sameSeedSameHistory() {
        let histories = (0..<2).map { _ in
            let simulation = Simulation(seed: 11)
            simulation.rage(steps: 4000)
            return simulation.status + "\(simulation.proposals) \(simulation.random.next())"
        }
        #expect(histories[0] == histories[1])
    }

    /// The faults and paths the simulation is there for do occur.
    @Test func exercisesWhatItIsFor() {
        var counts = [Int](repeating: 0, count: 8)
        for seed in 0..<30 as Range<UInt64> {
            let simulation = Simulation(seed: seed)
            for _ in 0..<3 {
                simulation.rage(steps: 3000)
                _ = simulation.heal()
            }
            counts[0] += simulation.nodes.reduce(0) { $0 + $1.disk.reads }
            counts[1] += simulation.nodes.reduce(0) { $0 + $1.disk.truncations }
            counts[2] += simulation.nodes.reduce(0) { $0 + $1.disk.installs }
            counts[3] += simulation.crashesWhileWriting
            counts[4] += simulation.jointSeen
            counts[5] += simulation.readsAnswered
            counts[6] += simulation.readsAborted
            counts[7] += simulation.checker.leadersCount
        }
        #expect(counts.allSatisfy { $0 > 5 }, "\(counts)")
    }
}
