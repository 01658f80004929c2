import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// The same random calls to Martlet and to etcd 3.5.1: every answer and every event must be the same.
    ///
    /// A failure names the seed and the shortest prefix of its sequence that still fails, and prints the prefix's last
    /// calls. To repeat a seed: add it to `seeds`. A seed that has found something stays in the list for ever.
    @Suite("differential") struct Differential {
        static let seeds: [UInt64] = Array(1...24)
        static let operations = 300

        /// Most of their time goes by while something is waited for.
        @Test("same answers and events")
        func sequences() async throws {
            try await forEach(Self.seeds, atOnce: 4) { seed in
                guard let failure = try await run(seed: seed, operations: Self.operations) else { return }
                let shortest = try await minimise(seed: seed, failure)
                Issue.record("seed \(seed), \(shortest)")
            }
        }

        /// The failing step bounds the search from above; a shorter prefix fails only when a watch told something wrong
        /// before the step where it was noticed.
        private func minimise(seed: UInt64, _ failure: SequenceFailure) async throws -> SequenceFailure {
            var shortest = failure
            for length in [failure.step / 4, failure.step / 2, failure.step * 3 / 4] where length > 0 {
                if let again = try await run(seed: seed, operations: length) {
                    shortest = again
                    break
                }
            }
            return shortest
        }

        private func run(seed: UInt64, operations: Int) async throws -> SequenceFailure? {
            try await withBothServers { martlet, etcd in
                var runner = try await DifferentialRun(seed: seed, martlet: martlet, etcd: etcd)
                let failure = try await runner.run(operations: operations)
                await runner.close()
                return failure
            }
        }
    }
}
