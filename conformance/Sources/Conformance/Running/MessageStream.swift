import Synchronization
package import Transport

/// A streaming call whose answers are read as they come, so that a case can wait for one, or for silence, in bounded
/// time. Any task may use it.
package final class MessageStream: Sendable {
    /// What came next.
    package enum Item: Sendable {
        case message([UInt8])
        /// The call is over, with this status. Nothing follows.
        case end(RPCStatus)
    }

    private struct State {
        var items: [Item] = []
        var taken = 0
        var outcome: RPCStatus?
    }

    package let stream: RPCStream
    private let state = Mutex(State())
    private let reader = Mutex<Task<Void, Never>?>(nil)

    /// Takes over `stream` and begins to read it.
    package init(_ stream: RPCStream) {
        self.stream = stream
        let task = Task { [weak self] in
            while true {
                do throws(RPCStatus) {
                    guard let message = try await stream.next() else {
                        self?.append(.end(.ok))
                        return
                    }
                    guard let self else { return }
                    self.append(.message(message))
                } catch {
                    self?.append(.end(error))
                    return
                }
            }
        }
        reader.withLock { $0 = task }
    }

    private func append(_ item: Item) {
        state.withLock { state in
            state.items.append(item)
            if case .end(let status) = item { state.outcome = status }
        }
    }

    /// The next item, or nil when none came within `limit` or the task was cancelled. After the end it is the end for ever.
    package func next(within limit: Duration) async -> Item? {
        let deadline = ContinuousClock.now + limit
        while true {
            if let item = pop() { return item }
            if ContinuousClock.now >= deadline || Task.isCancelled { return nil }
            try? await Task.sleep(for: .milliseconds(1))
        }
    }

    private func pop() -> Item? {
        state.withLock { state in
            guard state.taken < state.items.count else { return state.outcome.map { .end($0) } }
            defer {
                state.taken += 1
                if state.taken > 1024 {
                    state.items.removeFirst(state.taken)
                    state.taken = 0
                }
            }
            return state.items[state.taken]
        }
    }

    package func send(_ message: [UInt8]) async throws(RPCStatus) { try await stream.send(message) }

    /// Sends no more.
    package func finish() { stream.finishSending() }

    /// Ends the call.
    package func cancel() {
        stream.cancel()
        reader.withLock { $0 }?.cancel()
    }
}
