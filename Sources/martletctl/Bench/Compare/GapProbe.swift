import Client
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import Transport
import Wire

/// Measures how long nobody can write. Any task.
struct GapProbe: Sendable {
    /// How often a write is begun, at every endpoint: the resolution of the measurement.
    private static let interval = Duration.milliseconds(5)
    /// A write may be on its way for so long: one that was passed on to a leader that is gone is not answered.
    private static let patience = TimeAmount.seconds(15)

    private let clients: [EtcdClient]

    init(_ endpoints: [String]) {
        clients = endpoints.map { ClusterProcesses.client([$0], patience: Self.patience) }
    }

    /// Connects, with a write at every endpoint.
    func warmUp() async throws(CommandError) {
        for client in clients {
            do throws(ClientError) { _ = try await client.put(Self.request) } catch {
                throw .failure("cannot write: \(error.message)")
            }
        }
    }

    /// The time from now until a write that is begun from now on is answered, seconds.
    func firstWrite(within limitSeconds: Int64) async throws(CommandError) -> Double {
        let begin = NIODeadline.now()
        let limit = begin + .seconds(limitSeconds)
        let first = NIOLockedValueBox<NIODeadline?>(nil)
        await withTaskGroup(of: Void.self) { group in
            while first.withLockedValue({ $0 }) == nil, NIODeadline.now() < limit {
                for client in clients {
                    group.addTask {
                        guard (try? await client.put(Self.request)) != nil else { return }
                        first.withLockedValue { $0 = $0 ?? .now() }
                    }
                }
                try? await Task.sleep(for: Self.interval)
            }
            group.cancelAll()
        }
        guard let end = first.withLockedValue({ $0 }) else {
            throw .failure("no write was answered within \(limitSeconds) seconds")
        }
        return Double((end - begin).nanoseconds) / 1e9
    }

    /// Begins writes all the time for so long, and then waits until one more is answered. The longest time between two
    /// answers, seconds: there may be writes that pass before the ones that do not.
    func longestGap(seconds: Int64) async -> Double {
        struct Answers {
            var last = NIODeadline.now()
            var longest = TimeAmount.zero
        }
        let answers = NIOLockedValueBox(Answers())
        let end = NIODeadline.now() + .seconds(seconds)
        await withDiscardingTaskGroup { group in
            while NIODeadline.now() < end {
                for client in clients {
                    group.addTask {
                        guard (try? await client.put(Self.request)) != nil else { return }
                        answers.withLockedValue { answers in
                            let now = NIODeadline.now()
                            answers.longest = max(answers.longest, now - answers.last)
                            answers.last = now
                        }
                    }
                }
                try? await Task.sleep(for: Self.interval)
            }
            // Some of those on their way may never be answered.
            group.cancelAll()
        }
        let longest = answers.withLockedValue { max($0.longest, end - $0.last) }
        return Double(longest.nanoseconds) / 1e9
    }

    func close() async { for client in clients { await client.close() } }

    private static var request: Etcdserverpb_PutRequest {
        var request = Etcdserverpb_PutRequest()
        request.key = Data("/bench/gap".utf8)
        request.value = Data(repeating: 0x67, count: 64)
        return request
    }
}

/// Writes at a steady rate and measures how long each write takes, from the moment it was due. Any task.
final class PacedWriter: Sendable {
    private struct State {
        var histogram = Histogram()
        var failures: [String] = []
    }

    private let state = NIOLockedValueBox(State())
    private let client: EtcdClient
    private let task: Task<Void, Never>

    init(_ endpoint: String, perSecond: Double) {
        let client = ClusterProcesses.client([endpoint], patience: .seconds(30))
        let state = state
        self.client = client
        task = Task {
            let interval = TimeAmount.nanoseconds(Int64(1e9 / perSecond))
            var due = NIODeadline.now()
            var number = 0
            await withDiscardingTaskGroup { group in
                while !Task.isCancelled {
                    let wait = (due - .now()).nanoseconds
                    if wait > 0 { try? await Task.sleep(nanoseconds: UInt64(wait)) }
                    let (start, key) = (due, number % 10_000)
                    group.addTask { await Self.write(client, key: key, due: start, state) }
                    due = due + interval
                    number += 1
                }
            }
        }
    }

    private static func write(
        _ client: EtcdClient, key: Int, due: NIODeadline, _ state: NIOLockedValueBox<State>
    ) async {
        var request = Etcdserverpb_PutRequest()
        request.key = Data("/bench/paced/\(key)".utf8)
        request.value = Data(repeating: 0x70, count: 256)
        do throws(ClientError) {
            _ = try await client.put(request)
            let took = UInt64(max(0, (NIODeadline.now() - due).nanoseconds))
            state.withLockedValue { $0.histogram.add(took) }
        } catch {
            // Writes that the end of the measurement cuts short are no failures.
            if error.code != .cancelled { state.withLockedValue { $0.failures.append(error.message) } }
        }
    }

    /// The 99th percentile since the last time, milliseconds.
    func take() -> Double {
        state.withLockedValue { state in
            defer { state.histogram = Histogram() }
            return Double(state.histogram.percentile(0.99)) / 1e6
        }
    }

    /// Ends the writing. Returns why writes failed.
    func stop() async -> [String] {
        let failures = state.withLockedValue { $0.failures }
        task.cancel()
        await task.value
        await client.close()
        return failures
    }
}
