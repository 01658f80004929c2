import Foundation
import Primitives
import Simulator
import Testing

/// Runs of the simulator: the list, fresh seeds, and the proof that the checkers see what they are for.
@Suite struct SimulatorTests {
    private static let environment = ProcessInfo.processInfo.environment
    /// `MARTLET_SEEDS=N` runs the seeds 1...N instead of the first twelve.
    static let fixedSeeds = 1...(environment["MARTLET_SEEDS"].flatMap(UInt64.init) ?? 12)

    /// The first thing everything else rests on: a seed is a run.
    @Test(arguments: [1, 7, 23] as [UInt64]) func sameSeedSameTrace(_ seed: UInt64) {
        let reports = (0..<2).map { _ in SimulationThread.run(SimulationOptions(seed: seed, steps: 4000)) }
        #expect(reports[0].traceHash == reports[1].traceHash)
        #expect(reports[0].steps == reports[1].steps)
        #expect(reports[0].counters == reports[1].counters)
    }

    @Test func otherSeedsOtherTraces() {
        let hashes = (1...4).map { SimulationThread.run(SimulationOptions(seed: $0, steps: 1000)).traceHash }
        #expect(Set(hashes).count == hashes.count)
    }

    /// Nothing depends on the order of a set or a dictionary, which is another in every process.
    @Test func sameSeedSameTraceInOtherProcesses() throws {
        let tool = try #require(Self.tool, "martlet-simulate is not built")
        let outputs = try (0..<2).map { _ in try Self.run(tool, ["--seed", "11", "--steps", "5000", "--trace"]) }
        #expect(outputs[0].status == 0)
        #expect(outputs[0].text == outputs[1].text)
        #expect(outputs[0].text.contains("passed"))
    }

    @Test(arguments: fixedSeeds) func fixedSeed(_ seed: UInt64) {
        let report = SimulationThread.run(SimulationOptions(seed: seed))
        #expect(report.violation == nil, "\(report.failureText ?? "")")
    }

    @Test(arguments: [1, 2, 3, 4, 5]) func everySizeOfCluster(_ members: Int) {
        let report = SimulationThread.run(SimulationOptions(seed: 4711, members: members, steps: 6000))
        #expect(report.violation == nil, "\(report.failureText ?? "")")
        #expect(report.counters.acknowledged > 0)
    }

    @Test func knownSeedsStayMended() {
        for known in knownSeeds {
            let report = SimulationThread.run(
                SimulationOptions(
                    seed: known.seed, members: known.members, steps: known.steps, generation: known.generation))
            #expect(report.violation == nil, "once: \(known.what)\n\(report.failureText ?? "")")
        }
    }

    /// New ground in every run: `MARTLET_SIMULATION_SECONDS` long, 15 by default. The seed of a failure is printed.
    @Test func freshSeeds() {
        let seconds = Self.environment["MARTLET_SIMULATION_SECONDS"].flatMap(Int.init) ?? 15
        let deadline = ContinuousClock.now.advanced(by: .seconds(seconds))
        var random = SystemRandomNumberGenerator()
        var counters = SimulationCounters()
        repeat {
            let seed = UInt64.random(in: 1 << 20..<1 << 50, using: &random)
            let report = SimulationThread.run(SimulationOptions(seed: seed))
            counters += report.counters
            #expect(report.violation == nil, "\(report.failureText ?? "")")
            if report.violation != nil { return }
        } while ContinuousClock.now < deadline
        #expect(counters.acknowledged > 0)
    }

    /// What the simulation is there for does happen within some seeds.
    @Test func exercisesWhatItIsFor() {
        var counters = SimulationCounters()
        for seed in [11] + Array(100..<130) as [UInt64] {
            counters += SimulationThread.run(SimulationOptions(seed: seed, steps: 7000)).counters
        }
        for (name, value) in counters.listing { #expect(value > 0, "\(name) never happened") }
    }

    /// Every deliberate mistake is found, by the checker it is made for, within the stated number of seeds.
    @Test(arguments: PlantedBug.allCases) func findsPlantedBug(_ bug: PlantedBug) {
        for seed in 1...bug.seedsMax {
            let report = SimulationThread.run(SimulationOptions(seed: seed, bug: bug))
            guard let violation = report.violation else { continue }
            #expect(
                bug.checkers.contains(violation.checker),
                "\(bug.rawValue) was found by \(violation.checker): \(violation.message)")
            #expect(report.lastLines.count > 10)
            return
        }
        Issue.record("\(bug.rawValue) was not found within \(bug.seedsMax) seeds")
    }

    /// A failure can be repeated and understood from its text alone.
    @Test func failureTextTellsAll() throws {
        let report = SimulationThread.run(SimulationOptions(seed: 1, bug: .skipSync))
        let text = try #require(report.failureText)
        #expect(text.contains("seed 1 FAILED"))
        #expect(text.contains("options: members"))
        #expect(text.contains("durability"))
        #expect(text.split(separator: "\n").count > 12)
    }

    // MARK: The tool

    /// `martlet-simulate` beside the tests.
    private static let tool: URL? = {
        var folder = Bundle.main.executableURL?.deletingLastPathComponent()
        for _ in 0..<4 {
            guard let here = folder else { return nil }
            let candidate = here.appendingPathComponent("martlet-simulate")
            if FileManager.default.isExecutableFile(atPath: candidate.path) { return candidate }
            folder = here.deletingLastPathComponent()
        }
        return nil
    }()

    private static func run(_ tool: URL, _ arguments: [String]) throws -> (status: Int32, text: String) {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = tool
        process.arguments = arguments
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }
}
