import DequeModule
import NIOConcurrencyHelpers
import NIOCore

/// A streaming call as an asynchronous sequence of answers, for tools; `ClientConnection.stream` is the cheap form.
///
/// Any thread; one task at a time iterates, one at a time sends. Answers are read ahead up to `readAheadMax`, then the
/// server's window is held back. The sequence ends when the call ends with OK and throws its status otherwise; breaking
/// off the iteration does not end the call: `cancel` does.
package final class RPCStream: AsyncSequence, RPCClientStreamHandler, Sendable {
    package typealias Element = [UInt8]
    package typealias Failure = RPCStatus

    private struct State {
        var call: ClientCall?
        var messages: Deque<[UInt8]> = []
        var outcome: RPCStatus?
        var reader: CheckedContinuation<Void, Never>?
        var writer: CheckedContinuation<Void, Never>?
        var isPaused = false
        var isWritable = true
        var isCancelled = false
    }

    private static let readAheadMax = 64
    private static let readAheadLow = 16

    private let eventLoop: any EventLoop
    private let state = NIOLockedValueBox(State())

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// The call exists; on the loop.
    func began(_ call: ClientCall) {
        let isCancelled = state.withLockedValue { state in
            state.call = call
            return state.isCancelled
        }
        if isCancelled { call.cancel() }
    }

    // MARK: Sending

    /// Sends one message; waits while the stream's unsent bytes are above the high-water mark. Throws the call's status
    /// if it is over.
    package func send(_ message: [UInt8]) async throws(RPCStatus) {
        while true {
            let outcome = state.withLockedValue { $0.outcome }
            if let outcome { throw outcome }
            if state.withLockedValue({ $0.isWritable }) { break }
            await withCheckedContinuation { continuation in
                let goOn = state.withLockedValue { state in
                    if state.isWritable || state.outcome != nil { return true }
                    state.writer = continuation
                    return false
                }
                if goOn { continuation.resume() }
            }
        }
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            onLoop { stream, call in
                call.send(message)
                let isWritable = call.isWritable
                stream.state.withLockedValue { $0.isWritable = isWritable }
                continuation.resume()
            } orElse: {
                continuation.resume()
            }
        }
    }

    /// Sends no more messages.
    package func finishSending() {
        onLoop { _, call in
            call.halfClose()
        } orElse: {
        }
    }

    /// Ends the call with CANCELLED.
    package func cancel() {
        state.withLockedValue { $0.isCancelled = true }
        onLoop { _, call in
            call.cancel()
        } orElse: {
        }
    }

    /// Runs on the loop after the call has begun (which was queued there before).
    private func onLoop(
        _ body: @escaping @Sendable (RPCStream, ClientCall) -> Void, orElse: @escaping @Sendable () -> Void
    ) {
        eventLoop.execute {
            guard let call = self.state.withLockedValue({ $0.call }) else { return orElse() }
            body(self, call)
        }
    }

    // MARK: RPCClientStreamHandler, on the loop

    package func received(message: UnsafeRawBufferPointer) {
        let bytes = [UInt8](message)
        let (reader, pause) = state.withLockedValue { state in
            state.messages.append(bytes)
            let pause = state.messages.count >= Self.readAheadMax && !state.isPaused
            if pause { state.isPaused = true }
            defer { state.reader = nil }
            return (state.reader, pause ? state.call : nil)
        }
        pause?.pauseReceiving()
        reader?.resume()
    }

    package func ended(status: RPCStatus) {
        let (reader, writer) = state.withLockedValue { state in
            state.outcome = status
            state.call = nil
            defer {
                state.reader = nil
                state.writer = nil
            }
            return (state.reader, state.writer)
        }
        reader?.resume()
        writer?.resume()
    }

    package func writable() {
        let writer = state.withLockedValue { state in
            state.isWritable = true
            defer { state.writer = nil }
            return state.writer
        }
        writer?.resume()
    }

    // MARK: Receiving

    /// The next answer; nil when the call has ended with OK. Throws its status otherwise. A cancelled task cancels the
    /// call.
    package func next() async throws(RPCStatus) -> [UInt8]? {
        while true {
            switch take() {
            case .message(let message): return message
            case .ended(let status):
                if status.isOK { return nil }
                throw status
            case .nothing: await waitForMessage()
            }
        }
    }

    private enum Taken {
        case message([UInt8])
        case ended(RPCStatus)
        case nothing
    }

    private func take() -> Taken {
        let (taken, resume) = state.withLockedValue { state -> (Taken, ClientCall?) in
            guard let message = state.messages.popFirst() else {
                return (state.outcome.map { .ended($0) } ?? .nothing, nil)
            }
            guard state.isPaused, state.messages.count <= Self.readAheadLow else { return (.message(message), nil) }
            state.isPaused = false
            return (.message(message), state.call)
        }
        if let resume { eventLoop.execute { resume.resumeReceiving() } }
        return taken
    }

    private func waitForMessage() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goOn = state.withLockedValue { state in
                    if !state.messages.isEmpty || state.outcome != nil { return true }
                    state.reader = continuation
                    return false
                }
                if goOn { continuation.resume() }
            }
        } onCancel: {
            cancel()
        }
    }

    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let stream: RPCStream

        package mutating func next() async throws(RPCStatus) -> [UInt8]? { try await stream.next() }

        package mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCStatus) -> [UInt8]? {
            try await stream.next()
        }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: self) }
}
