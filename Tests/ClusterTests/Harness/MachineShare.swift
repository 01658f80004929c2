import NIOConcurrencyHelpers
import Testing

/// How much of the machine a test takes, so that tests that mostly wait run beside others and those that measure time run
/// alone. A test waits for its share; whoever fits in goes first, so that those that want to be alone come last.
struct MachineShare: TestTrait, SuiteTrait, TestScoping {
    /// Of `Machine.shared`.
    let parts: Int

    /// A test has one share: a suite that has one gives it to each of its tests, which then name none.
    var isRecursive: Bool { true }

    func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? { testCase == nil ? nil : self }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Machine.shared.acquire(parts)
        defer { Machine.shared.release(parts) }
        try await function()
    }
}

extension Trait where Self == MachineShare {
    /// Nothing in the test depends on how fast things are.
    static var besideOthers: Self { MachineShare(parts: 1) }
    /// The same, but it keeps the machine busy.
    static var besideFew: Self { MachineShare(parts: 2) }
    /// The test compares times.
    static var alone: Self { MachineShare(parts: Machine.parts) }
}

/// The machine that the tests share.
private final class Machine: Sendable {
    static let parts = 3
    static let shared = Machine()

    private struct State {
        var free = Machine.parts
        var waiting: [(parts: Int, turn: CheckedContinuation<Void, Never>)] = []
    }

    private let state = NIOLockedValueBox(State())

    func acquire(_ parts: Int) async {
        await withCheckedContinuation { turn in
            state.withLockedValue { $0.waiting.append((parts, turn)) }
            grant()
        }
    }

    func release(_ parts: Int) {
        state.withLockedValue { $0.free += parts }
        grant()
    }

    private func grant() {
        let granted = state.withLockedValue { state in
            var granted: [CheckedContinuation<Void, Never>] = []
            let waiting = state.waiting
            state.waiting = []
            for one in waiting {
                if one.parts <= state.free {
                    state.free -= one.parts
                    granted.append(one.turn)
                } else {
                    state.waiting.append(one)
                }
            }
            return granted
        }
        for turn in granted { turn.resume() }
    }
}
