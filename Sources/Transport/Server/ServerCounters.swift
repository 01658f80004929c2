/// What one server has done since it started, or what one of its loops has: plain integers, added up on demand.
package struct ServerCounters: Sendable {
    /// Bytes of HTTP (before TLS) read and written.
    package var receivedBytes: UInt64 = 0
    package var sentBytes: UInt64 = 0
    package var connectionsOpened: UInt64 = 0
    package var connectionsClosed: UInt64 = 0
    /// Connections closed for breaking a limit.
    package var connectionsRefused: UInt64 = 0
    package var streamsOpened: UInt64 = 0
    package var streamsClosed: UInt64 = 0
    /// Plain HTTP requests.
    package var httpRequests: UInt64 = 0
    /// Calls begun, by method index.
    package var started: [UInt64]
    /// Calls over, by method index * 17 + code. See `handled(_:_:)`.
    package var handled: [UInt64]
    /// Messages received and sent, by method index.
    package var messagesReceived: [UInt64]
    package var messagesSent: [UInt64]
    /// Durations of calls over, if `ServerConfiguration.measuresHandling`: by method index * (bounds + 1) + bucket.
    package var handlingCounts: [UInt64]
    /// The sum of those durations in nanoseconds, by method index.
    package var handlingNanoseconds: [UInt64]

    /// Upper bounds of the buckets in seconds; one more bucket holds the rest. Those of gRPC's Prometheus metrics.
    package static let handlingBounds: [Double] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    package init(methodCount: Int) {
        started = Array(repeating: 0, count: methodCount)
        handled = Array(repeating: 0, count: methodCount * RPCCode.allCases.count)
        messagesReceived = started
        messagesSent = started
        handlingNanoseconds = started
        handlingCounts = Array(repeating: 0, count: methodCount * (Self.handlingBounds.count + 1))
    }

    package func handled(_ method: Int, _ code: RPCCode) -> UInt64 {
        handled[method * RPCCode.allCases.count + code.rawValue]
    }

    /// Counts one call of `method` that took so long.
    mutating func noteHandling(_ method: Int, nanoseconds: Int64) {
        let seconds = Double(nanoseconds) / 1e9
        let bucket = Self.handlingBounds.firstIndex { seconds <= $0 } ?? Self.handlingBounds.count
        handlingCounts[method * (Self.handlingBounds.count + 1) + bucket] += 1
        handlingNanoseconds[method] += UInt64(max(0, nanoseconds))
    }

    package mutating func add(_ other: ServerCounters) {
        receivedBytes += other.receivedBytes
        sentBytes += other.sentBytes
        connectionsOpened += other.connectionsOpened
        connectionsClosed += other.connectionsClosed
        connectionsRefused += other.connectionsRefused
        streamsOpened += other.streamsOpened
        streamsClosed += other.streamsClosed
        httpRequests += other.httpRequests
        for index in started.indices where index < other.started.count {
            started[index] += other.started[index]
            messagesReceived[index] += other.messagesReceived[index]
            messagesSent[index] += other.messagesSent[index]
            handlingNanoseconds[index] += other.handlingNanoseconds[index]
        }
        for index in handlingCounts.indices where index < other.handlingCounts.count {
            handlingCounts[index] += other.handlingCounts[index]
        }
        for index in handled.indices where index < other.handled.count { handled[index] += other.handled[index] }
    }
}
