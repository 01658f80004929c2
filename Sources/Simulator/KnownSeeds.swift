/// A seed that once found something, and stays in the list for ever.
package struct KnownSeed: Sendable {
    package let seed: UInt64
    package let steps: Int
    package let members: Int?
    /// Which faults there were then, see `SimulationOptions.generation`.
    package let generation: Int
    /// What it broke.
    package let what: String
}

/// The seeds that every test run runs.
package let knownSeeds: [KnownSeed] = [
    KnownSeed(
        seed: 5080, steps: 12_000, members: nil, generation: 1,
        what: "a power loss tore the hard state off an append's entries: the member trapped at every start"),
    KnownSeed(
        seed: 100_855, steps: 12_000, members: nil, generation: 1,
        what: "a sole voter beside a learner answered reads from what it had applied; the learner was ahead"),
    KnownSeed(
        seed: 200_038, steps: 12_000, members: 1, generation: 1,
        what: "a write that failed while a torn tail was zeroed left a log that was refused as corrupt at every start"),
    KnownSeed(
        seed: 702_666, steps: 12_000, members: nil, generation: 2,
        what: "a damaged record met after a transaction's first change ended the process by an invariant"),
    KnownSeed(
        seed: 800_642, steps: 12_000, members: nil, generation: 2,
        what: "without pre-vote, who alone could win never heard of the other's greater term: nobody led"),
    KnownSeed(
        seed: 2_209_291, steps: 12_000, members: nil, generation: 2,
        what: "the term of a torn append's entries was forgotten once they were applied: a trap at the start after"),
]
