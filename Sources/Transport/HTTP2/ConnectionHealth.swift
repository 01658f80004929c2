import NIOCore

/// Counts events against a burst and a steady rate. Pure: time is an argument.
struct TokenBucket {
    private let burst: Int64
    private let perSecond: Int64
    /// In billionths of an event, so that refilling never rounds to nothing.
    private var tokens: Int64
    private var refilledAt: NIODeadline

    init(burst: Int, perSecond: Int, now: NIODeadline) {
        self.burst = Int64(min(burst, 1_000_000_000)) * 1_000_000_000
        self.perSecond = Int64(min(perSecond, 1_000_000))
        tokens = self.burst
        refilledAt = now
    }

    /// Takes one token. False: there was none.
    mutating func take(now: NIODeadline) -> Bool {
        if tokens < burst, now > refilledAt {
            let elapsed = min((now - refilledAt).nanoseconds, 1_000_000_000_000)
            tokens = min(burst, tokens + elapsed * perSecond)
            refilledAt = now
        }
        guard tokens >= 1_000_000_000 else { return false }
        tokens -= 1_000_000_000
        return true
    }
}

/// Whether a peer's pings come too often (gRPC proposal A8; etcd-behaviour, section 3). Pure: time is an argument.
struct PingStrikes {
    private let minimumInterval: TimeAmount
    private let strikesMax: Int
    private var strikes = 0
    private var lastPing: NIODeadline?

    init(_ configuration: KeepaliveConfiguration) {
        minimumInterval = configuration.minimumPingInterval
        strikesMax = configuration.pingStrikesMax
    }

    /// Notes a ping. False: that was one strike too many.
    mutating func pingReceived(now: NIODeadline) -> Bool {
        defer { lastPing = now }
        guard let lastPing, now - lastPing < minimumInterval else { return true }
        strikes += 1
        return strikes <= strikesMax
    }

    /// We sent DATA or HEADERS: the peer may measure with a ping.
    mutating func payloadSent() {
        strikes = 0
        lastPing = nil
    }
}

/// When to ping a silent peer and when to give it up. Pure: time is an argument.
struct KeepaliveTimer {
    enum Action: Equatable {
        /// Nothing to do before `until`.
        case wait(until: NIODeadline)
        /// Send a PING and ask again at `until`.
        case ping(until: NIODeadline)
        /// The peer is gone.
        case close
    }

    private let interval: TimeAmount
    private let timeout: TimeAmount
    private var lastRead: NIODeadline
    private var pingedAt: NIODeadline?

    init(_ configuration: KeepaliveConfiguration, now: NIODeadline) {
        interval = configuration.interval
        timeout = configuration.timeout
        lastRead = now
    }

    /// Bytes arrived: the peer lives.
    mutating func bytesRead(now: NIODeadline) {
        lastRead = now
        pingedAt = nil
    }

    mutating func check(now: NIODeadline) -> Action {
        if let pingedAt {
            return now >= pingedAt + timeout ? .close : .wait(until: pingedAt + timeout)
        }
        guard now >= lastRead + interval else { return .wait(until: lastRead + interval) }
        pingedAt = now
        return .ping(until: now + timeout)
    }
}
