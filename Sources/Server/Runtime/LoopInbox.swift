package import NIOCore
import Primitives
package import StateMachine
package import Synchronization

/// What other threads bring to an event loop: outcomes of requests, answers to reads, and word of new revisions.
/// However much comes while the loop is busy, it is woken once.
package final class LoopInbox: Sendable {
    package struct Content {
        package var outcomes: [Applied] = []
        package var refusals: [(id: UInt64, error: RequestError)] = []
        /// Reads whose index has been applied.
        package var reads: [UInt64] = []
        /// The newest published revision, 0 for no news.
        package var revision: Int64 = 0
        /// Physical compaction has finished through this revision; 0 for no news.
        package var sweptRevision: Int64 = 0
        /// Another leader, or none.
        package var hasLeaderNews = false
        package var jobs: [@Sendable () -> Void] = []

        var isEmpty: Bool {
            outcomes.isEmpty && refusals.isEmpty && reads.isEmpty && revision == 0 && sweptRevision == 0
                && !hasLeaderNews && jobs.isEmpty
        }
    }

    private struct State {
        var content = Content()
        var isScheduled = false
    }

    package let eventLoop: any EventLoop
    /// Whether the loop has watches, and so wants to hear of every revision.
    package let hasWatches = Atomic<Bool>(false)
    private let state = Mutex(State())
    // The loop's alone. Nobody serves before it is set, so what comes earlier concerns nobody.
    nonisolated(unsafe) private var onContent: (LoopInbox) -> Void = { _ = $0.take() }

    package init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// Sets what the loop does when something came; once, on the loop.
    package func whenFilled(_ action: @escaping () -> Void) { onContent = { _ in action() } }

    /// Adds to the inbox and wakes the loop unless it has been woken already. Any thread.
    package func deliver(_ add: (inout Content) -> Void) {
        let wake = state.withLock { state in
            add(&state.content)
            if state.isScheduled || state.content.isEmpty { return false }
            state.isScheduled = true
            return true
        }
        if wake { eventLoop.execute { self.onContent(self) } }
    }

    /// Takes everything out. The loop only.
    package func take() -> Content {
        state.withLock { state in
            state.isScheduled = false
            let content = state.content
            state.content = Content()
            return content
        }
    }
}
