/// A version of the API as a client names it, at most eight bytes of it, in one word: it is looked at with every call.
package struct ClientVersion: Hashable, Sendable, CustomStringConvertible {
    private var word: UInt64

    /// Of clients that do not name theirs.
    package static let unknown = ClientVersion(UnsafeRawBufferPointer(start: nil, count: 0))
    /// Of clients that name what is none.
    package static let other = ClientVersion(word: .max)

    private init(word: UInt64) { self.word = word }

    init(_ text: UnsafeRawBufferPointer) {
        word = text.count <= 8 ? 0 : Self.other.word
        guard text.count <= 8 else { return }
        for byte in text {
            let isPlain =
                byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") || byte == UInt8(ascii: ".")
                || byte == UInt8(ascii: "-") || byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
            guard isPlain else {
                word = Self.other.word
                return
            }
            word = word << 8 | UInt64(byte)
        }
    }

    package var description: String {
        if self == .unknown { return "unknown" }
        if self == .other { return "other" }
        return withUnsafeBytes(of: word.bigEndian) { String(decoding: $0.drop { $0 == 0 }, as: UTF8.self) }
    }
}

/// Calls begun by clients that speak one version of the API.
package struct ClientCounters: Sendable {
    package let version: ClientVersion
    package internal(set) var unary: UInt64 = 0
    package internal(set) var streams: UInt64 = 0
}

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
    /// Calls begun by the version that the client names, in the order of the versions' first calls; those beyond
    /// `clientVersionsMax` count as `other`.
    package private(set) var clients: [ClientCounters] = []
    private static let clientVersionsMax = 15

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

    /// Counts calls of clients that speak `version`. O(versions), of which a server rarely sees two.
    mutating func note(_ version: ClientVersion, unary: UInt64, streams: UInt64) {
        for index in clients.indices where clients[index].version == version {
            clients[index].unary += unary
            clients[index].streams += streams
            return
        }
        guard clients.count < Self.clientVersionsMax || version == .other else {
            return note(.other, unary: unary, streams: streams)
        }
        clients.append(ClientCounters(version: version, unary: unary, streams: streams))
    }

    package mutating func add(_ other: ServerCounters) {
        for client in other.clients { note(client.version, unary: client.unary, streams: client.streams) }
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
