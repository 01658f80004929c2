import Glibc
import Simulator
import Synchronization

/// Runs many seeds, some at once, and tells how it goes.
final class SeedPool: Sendable {
    private struct State {
        var next: UInt64
        var isExhausted = false
        var done = 0
        var steps = 0
        var failures = 0
        var counters = SimulationCounters()
        var lastLine: ContinuousClock.Instant
    }

    private let range: ClosedRange<UInt64>
    private let jobs: Int
    private let deadline: ContinuousClock.Instant?
    private let started = ContinuousClock.now
    private let options: @Sendable (UInt64) -> SimulationOptions
    private let state: Mutex<State>

    init(
        _ range: ClosedRange<UInt64>, jobs: Int, seconds: Int?,
        options: @escaping @Sendable (UInt64) -> SimulationOptions
    ) {
        self.range = range
        self.jobs = jobs
        self.options = options
        deadline = seconds.map { ContinuousClock.now.advanced(by: .seconds($0)) }
        state = Mutex(State(next: range.lowerBound, lastLine: ContinuousClock.now))
    }

    var failures: Int { state.withLock { $0.failures } }
    var counters: SimulationCounters { state.withLock { $0.counters } }

    /// Returns when all seeds are done.
    func run() {
        var threads: [pthread_t] = []
        for _ in 1..<max(jobs, 2) where jobs > 1 {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self).toOpaque()
            let code = pthread_create(
                &thread, nil,
                { context in
                    if let context { Unmanaged<SeedPool>.fromOpaque(context).takeRetainedValue().work() }
                    return nil
                }, context)
            if code == 0 { threads.append(thread) }
        }
        work()
        for thread in threads { pthread_join(thread, nil) }
        tell(isLast: true)
    }

    private func work() {
        while let seed = takeSeed() {
            let report = SimulationThread.run(options(seed))
            if let text = report.failureText { print(text) }
            state.withLock { state in
                state.done += 1
                state.steps += report.steps
                state.counters += report.counters
                if report.violation != nil { state.failures += 1 }
            }
            tell(isLast: false)
        }
    }

    private func takeSeed() -> UInt64? {
        state.withLock { state in
            if state.isExhausted { return nil }
            if let deadline, ContinuousClock.now >= deadline { return nil }
            let seed = state.next
            if seed == range.upperBound { state.isExhausted = true } else { state.next += 1 }
            return seed
        }
    }

    /// One line, once a second at most.
    private func tell(isLast: Bool) {
        let now = ContinuousClock.now
        let line = state.withLock { state -> String? in
            guard isLast || now - state.lastLine >= .seconds(1) else { return nil }
            state.lastLine = now
            let elapsed = now - started
            let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
            let rate = Double(Int(Double(state.done) / max(seconds, 0.001) * 10)) / 10
            let steps = Int(Double(state.steps) / max(seconds, 0.001))
            return "\(state.done) seeds, \(rate) seeds/s, \(steps) events/s, \(state.failures) failed"
        }
        if let line {
            print(line)
            fflush(nil)
        }
    }
}
