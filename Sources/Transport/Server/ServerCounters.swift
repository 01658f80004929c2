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

    package init(methodCount: Int) {
        started = Array(repeating: 0, count: methodCount)
        handled = Array(repeating: 0, count: methodCount * RPCCode.allCases.count)
        messagesReceived = started
        messagesSent = started
    }

    package func handled(_ method: Int, _ code: RPCCode) -> UInt64 {
        handled[method * RPCCode.allCases.count + code.rawValue]
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
        }
        for index in handled.indices where index < other.handled.count { handled[index] += other.handled[index] }
    }
}
