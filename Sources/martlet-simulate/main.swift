// martlet-simulate: runs the simulator from the command line. See Simulator.docc of the target Simulator.

import ArgumentParser
import Glibc
import Primitives
import Simulator

/// Finds a seed that breaks the cluster, or shows what one does.
struct MartletSimulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-simulate",
        abstract: "Simulates a whole cluster from a seed and checks its guarantees.",
        discussion: "Exit status: 0 when everything held, 1 when something was violated, 64 for a wrong command line.")

    @Option(help: "Run this seed.") var seed: UInt64?
    @Option(help: "Run the seeds A..B, or without end: A..") var seeds: String?
    @Option(help: "Events of the safety phase.") var steps = 12_000
    @Option(help: "Members at the beginning, 1 to 5; else drawn from the seed.") var members: Int?
    @Flag(help: "Print every event.") var trace = false
    @Option(help: "Make this deliberate mistake.") var bug: String?
    @Flag(help: "Print the deliberate mistakes.") var listBugs = false
    @Flag(help: "Print how often things happened.") var counters = false
    @Option(help: "Seeds at once.") var jobs = 1
    @Option(help: "Begin no seed after so many seconds.") var seconds: Int?

    func validate() throws {
        if let members, !(1...5).contains(members) { throw ValidationError("--members takes 1 to 5") }
        if let bug, PlantedBug(rawValue: bug) == nil {
            throw ValidationError("no mistake is called \(bug); see --list-bugs")
        }
        if seed != nil, seeds != nil { throw ValidationError("--seed or --seeds, not both") }
        if let seeds, Self.range(seeds) == nil { throw ValidationError("--seeds takes A..B or A..") }
        if steps < 1 || jobs < 1 || jobs > 32 { throw ValidationError("--steps and --jobs must be positive") }
    }

    static func range(_ text: String) -> ClosedRange<UInt64>? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1].isEmpty, let first = UInt64(parts[0]) else { return nil }
        guard let last = parts[2].isEmpty ? UInt64.max : UInt64(parts[2]), first <= last else { return nil }
        return first...last
    }

    private func options(_ seed: UInt64) -> SimulationOptions {
        SimulationOptions(seed: seed, members: members, steps: steps, bug: bug.flatMap(PlantedBug.init(rawValue:)))
    }

    func run() throws {
        if listBugs {
            for bug in PlantedBug.allCases { print("\(bug.rawValue)  \(bug.summary)") }
            return
        }
        let hasFailed: Bool
        if let seeds, let range = Self.range(seeds) {
            hasFailed = runMany(range)
        } else {
            hasFailed = runOne(seed ?? 1)
        }
        if hasFailed { throw ExitCode(1) }
    }

    private func runOne(_ seed: UInt64) -> Bool {
        let options = options(seed)
        print("seed \(seed): \(options)")
        let report = SimulationThread.run(options, print: trace ? { print($0) } : nil)
        if let text = report.failureText { print(text) }
        if counters { show(report.counters) }
        let milliseconds = report.virtualNanoseconds / 1_000_000
        print(
            "seed \(seed) \(report.violation == nil ? "passed" : "FAILED"): \(report.steps) events, "
                + "\(milliseconds) ms, trace \(String(report.traceHash, radix: 16))")
        return report.violation != nil
    }

    private func show(_ counters: SimulationCounters) {
        for (name, value) in counters.listing { print("  \(name) \(value)") }
    }

    private func runMany(_ range: ClosedRange<UInt64>) -> Bool {
        let pool = SeedPool(range, jobs: jobs, seconds: seconds) { options($0) }
        pool.run()
        if counters { show(pool.counters) }
        return pool.failures > 0
    }
}

MartletSimulate.main()
