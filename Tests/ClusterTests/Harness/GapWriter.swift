import Client
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport

/// Writes all the time and remembers the longest time between two answers. Several writers with short patience: a write
/// that was on its way to a leader when that died is not answered at all.
final class GapWriter: Sendable {
    private static let writers = 8
    private static let patience = TimeAmount.milliseconds(200)

    private struct State {
        var last: ContinuousClock.Instant?
        var longest = Duration.zero
        var count = 0
    }

    private let task: Task<Void, Never>
    private let client: EtcdClient
    private let state: NIOLockedValueBox<State>

    init(_ cluster: TestCluster, through members: [TestMember]) {
        var configuration = EtcdClient.Configuration(endpoints: members.compactMap { Endpoint($0.server.endpoint) })
        configuration.requestTimeout = Self.patience
        configuration.dialTimeout = Self.patience
        let client = EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
        let state = NIOLockedValueBox(State())
        self.client = client
        self.state = state
        task = Task {
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<Self.writers {
                    group.addTask {
                        while !Task.isCancelled {
                            if (try? await client.put("gap\(number)", "x")) != nil { Self.note(state) }
                            try? await Task.sleep(for: .milliseconds(3))
                        }
                    }
                }
            }
        }
    }

    private static func note(_ state: NIOLockedValueBox<State>) {
        let now = ContinuousClock.now
        state.withLockedValue { state in
            if let last = state.last { state.longest = max(state.longest, now - last) }
            state.count += 1
            state.last = now
        }
    }

    /// Waits until writes that begin from now on are answered, too: none of those under way counts.
    func waitUntilWriting() async throws {
        let goal = state.withLockedValue { $0.count } + 2 * Self.writers
        try await eventually("writes are answered") { state.withLockedValue { $0.count } >= goal }
    }

    /// Ends the writing; the longest time without an answer, up to now.
    func stop() async -> Duration {
        let gap = state.withLockedValue { state in
            guard let last = state.last else { return Duration.seconds(1000) }
            return max(state.longest, ContinuousClock.now - last)
        }
        task.cancel()
        await task.value
        await client.close()
        return gap
    }
}
