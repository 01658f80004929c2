import NIOConcurrencyHelpers
import NIOCore

/// Decides which failures are worth a line: each change of reason of each peer, not each repetition. Any thread.
///
/// Bounded against a crowd of strangers: so many peers are remembered, the longest known is forgotten first, and there
/// are so many lines in a while.
struct ReasonLog: Sendable {
    private static let peersMax = 256
    private static let linesMax = 50
    private static let period = TimeAmount.seconds(10)

    private struct State {
        var reasons: [String: String] = [:]
        /// In the order they were met.
        var peers: [String] = []
        var periodEnd = NIODeadline.uptimeNanoseconds(0)
        var lines = 0
    }

    private let state = NIOLockedValueBox(State())

    /// Whether to log that `peer` failed for `reason`.
    func shouldLog(_ peer: String, _ reason: String, now: NIODeadline = .now()) -> Bool {
        state.withLockedValue { state in
            if state.reasons[peer] == reason { return false }
            if state.reasons.updateValue(reason, forKey: peer) == nil {
                state.peers.append(peer)
                if state.peers.count > Self.peersMax { state.reasons[state.peers.removeFirst()] = nil }
            }
            if now >= state.periodEnd {
                state.periodEnd = now + Self.period
                state.lines = 0
            }
            state.lines += 1
            return state.lines <= Self.linesMax
        }
    }

    /// `peer` is well: its next failure is news, whatever the reason. True when it was not.
    @discardableResult
    func recovered(_ peer: String) -> Bool {
        state.withLockedValue { state in
            guard state.reasons.removeValue(forKey: peer) != nil else { return false }
            state.peers.removeAll { $0 == peer }
            return true
        }
    }
}
