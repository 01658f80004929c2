import Client
import NIOConcurrencyHelpers

/// Why endpoints could not be reached, kept for the case that a command runs out of time, which by itself says nothing.
/// May be told from any thread.
enum ConnectionFailures {
    private static let reasons = NIOLockedValueBox<[(endpoint: String, reason: String)]>([])

    /// The latest reason of an endpoint. That an attempt had no time left says less than any other reason.
    static func note(_ endpoint: Endpoint, _ error: ClientError) {
        let isTimeout = error.message.hasSuffix(": timed out")
        reasons.withLockedValue { reasons in
            let name = endpoint.description
            if let index = reasons.firstIndex(where: { $0.endpoint == name }) {
                if !isTimeout { reasons[index].reason = error.message }
            } else {
                reasons.append((name, error.message))
            }
        }
    }

    /// Says on stderr which endpoints could not be reached, when that is what a command has ended of.
    static func explain(_ error: CommandError) {
        guard error.message.hasSuffix("context deadline exceeded") else { return }
        for (endpoint, reason) in reasons.withLockedValue({ $0 }) {
            Output.error("cannot connect to \(endpoint): \(reason)")
        }
    }
}
