import Testing

@testable import Server

/// A store that is scrubbed, in computed time.
private struct ScrubModel {
    private static let hour: UInt64 = 3600 * 1_000_000_000

    var pacing = ScrubPacing(now: 0)
    /// Steps that a pass over the store takes, and what one costs.
    var steps: Int
    var stepNanoseconds: UInt64 = 10_000_000
    private(set) var now: UInt64 = 0
    private(set) var passes: [UInt64] = []
    private(set) var busyNanoseconds: UInt64 = 0
    private(set) var wakeUps = 0
    private var stepsDone = 0

    init(steps: Int) { self.steps = steps }

    mutating func run(hours: UInt64) {
        while now < hours * Self.hour {
            now += max(1, pacing.patience(now: now))
            wakeUps += 1
            guard pacing.isDue(now: now) else { continue }
            let isFirst = stepsDone == 0
            if isFirst { passes.append(now) }
            let start = now
            now += stepNanoseconds
            busyNanoseconds += stepNanoseconds
            stepsDone = (stepsDone + 1) % steps
            pacing.stepped(from: start, to: now, isFirst: isFirst, isLast: stepsDone == 0)
        }
    }
}

@Suite struct ScrubPacingTests {
    @Test("A small store is read a few times a day", arguments: [1, 10, 1000])
    func smallStore(steps: Int) {
        var model = ScrubModel(steps: steps)
        model.run(hours: 240)
        #expect((39...40).contains(model.passes.count))
        #expect(model.passes[0] == ScrubPacing.passPeriod, "opening the store has verified it")
        for (one, next) in zip(model.passes, model.passes.dropFirst()) {
            #expect(next - one >= ScrubPacing.passPeriod)
        }
        #expect(model.wakeUps <= (model.passes.count + 1) * steps)
    }

    @Test("A large store is read without a rest, at a tenth of the time")
    func largeStore() {
        // Seven hours' worth of steps.
        let steps = 7 * 3600 * 1_000_000_000 / 110_000_000
        var model = ScrubModel(steps: steps)
        model.run(hours: 47)
        #expect(model.passes.count == 6)
        #expect(model.busyNanoseconds < model.now / 10)
        for (one, next) in zip(model.passes, model.passes.dropFirst()) {
            #expect(next - one < 7 * 3600 * 1_000_000_000 + 1_000_000_000)
        }
    }
}
