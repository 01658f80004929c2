import Logging
import NIOConcurrencyHelpers
import NIOCore
import Primitives
import RaftCore
import Transport

/// What goes to one other member: a connection that is kept open, the stream of messages on it, probes, forwarded
/// calls, and at most one snapshot, on a connection of its own.
///
/// `@unchecked Sendable`: `shared` has a lock; every other variable belongs to `eventLoop`, as does every method that
/// is not said to be for any thread.
final class PeerLink: @unchecked Sendable {
    /// Whether somebody is there to take messages.
    enum Reach { case connecting, open, down, stopped }

    struct Shared {
        var queue = MessageQueue()
        var reach = Reach.connecting
        /// The loop has been asked to move messages from the queue to the stream.
        var isDrainAsked = false
        /// Bytes moved to the stream that cannot leave, because the member does not read.
        var streamBytes = 0
        var status: PeerStatus
    }

    struct Open {
        let connection: PeerConnection
        let stream: ClientCall
        /// Whether a probe was answered.
        var hasAnswered = false
        var callsPending = 0
    }

    private enum Phase {
        case waiting(Scheduled<Void>)
        case connecting
        case open(Open)
        case stopped
    }

    let core: PeerCore
    let member: MemberID
    let eventLoop: any EventLoop
    let metadata: [(name: String, value: String)]
    let shared: NIOLockedValueBox<Shared>

    private(set) var urls: [PeerURL]
    private var urlIndex = 0
    /// Rounds through all URLs that failed since the last good one.
    private var failedRounds = 0
    /// Counts attempts, so that what an earlier one still has to say is not heard.
    private var attempt = 0
    private var phase = Phase.connecting
    private var probeTimer: Scheduled<Void>?
    private var random: PRNG
    private var snapshot: SnapshotSending?

    /// Any thread; `start` begins the work.
    init(core: PeerCore, member: MemberID, urls: [PeerURL], eventLoop: any EventLoop) {
        self.core = core
        self.member = member
        self.urls = urls
        self.eventLoop = eventLoop
        let configuration = core.configuration
        metadata = PeerProtocol.metadata(cluster: configuration.clusterID, from: configuration.memberID, to: member)
        shared = NIOLockedValueBox(Shared(status: PeerStatus(member: member, urls: urls.map(\.description))))
        random = PRNG(seed: configuration.seed ^ member.rawValue)
    }

    var name: String { PeerProtocol.hex(member) }

    // MARK: Any thread

    func start() { eventLoop.execute { self.connect() } }

    /// Queues a message, unless it must be dropped; false then. `encoded` is called when it is not.
    func offer(_ message: Message, encoded: () -> Bytes) -> Bool {
        let isBulk = MessageQueue.isBulk(message)
        let estimate = MessageQueue.estimate(message)
        let limits = core.limits
        let isAdmitted = shared.withLockedValue { shared in
            let isTaken =
                switch shared.reach {
                case .open, .connecting: true
                case .down: !isBulk
                case .stopped: false
                }
            if isTaken, shared.queue.admits(bytes: estimate, isBulk: isBulk, limits) { return true }
            shared.status.messagesDropped += 1
            return false
        }
        guard isAdmitted else { return false }
        let bytes = encoded()
        guard bytes.count + MessageQueue.overheadBytes <= limits.receivedBatchBytesMax else {
            // The receiver would refuse it, again and again.
            core.logger.error("a message is too large for any peer", metadata: ["bytes": "\(bytes.count)"])
            note { $0.messagesDropped += 1 }
            return false
        }
        shared.withLockedValue { shared in
            shared.queue.append(bytes, isBulk: isBulk)
            if shared.reach == .down {
                shared.status.messagesDropped += UInt64(shared.queue.shed(controlMax: limits.controlMessagesKeptMax))
            }
        }
        return true
    }

    /// Sees to it that queued messages go; call after `offer`.
    func wake() {
        let mustAsk = shared.withLockedValue { shared in
            guard shared.reach == .open, !shared.isDrainAsked, !shared.queue.isEmpty else { return false }
            shared.isDrainAsked = true
            return true
        }
        if mustAsk { eventLoop.execute { self.drain() } }
    }

    /// The member is heard: it is worth trying at once.
    func kick() {
        eventLoop.execute {
            guard case .waiting(let timer) = self.phase else { return }
            timer.cancel()
            self.connect()
        }
    }

    func change(urls: [PeerURL]) {
        eventLoop.execute { self.take(urls: urls) }
    }

    /// The member is no longer one: what is queued has a moment to leave.
    func retire() {
        eventLoop.scheduleTask(in: .seconds(1)) {
            self.stop()
            self.core.forget(self)
        }
    }

    var status: PeerStatus {
        var status = shared.withLockedValue { shared in
            var status = shared.status
            status.queuedBytes = shared.queue.queuedBytes + shared.streamBytes
            return status
        }
        status.isHeard = core.isHeard(member)
        return status
    }

    /// Changes what `status` says.
    func note(_ change: (inout PeerStatus) -> Void) { shared.withLockedValue { change(&$0.status) } }

    // MARK: Connecting

    private func connect() {
        eventLoop.preconditionInEventLoop()
        if case .stopped = phase { return }
        phase = .connecting
        attempt += 1
        let attempt = attempt
        let url = urls[urlIndex % urls.count]
        note { $0.url = "\(url)" }
        core.dialer.dial(url, on: eventLoop) { result in
            guard self.attempt == attempt, case .connecting = self.phase else {
                if case .success(let connection) = result { connection.close() }
                return
            }
            switch result {
            case .success(let connection): self.opened(connection)
            case .failure(let status): self.failed(status.message)
            }
        }
    }

    private func opened(_ connection: PeerConnection) {
        let handler = OutgoingStream(link: self, attempt: attempt)
        let stream = connection.channel.connection.stream(
            PeerProtocol.messagesPath, metadata: metadata, handler: handler)
        guard stream.isLive else {
            connection.close()
            return failed(
                connection.reason(RPCStatus(.unavailable, "the connection was closed as soon as it was open")))
        }
        phase = .open(Open(connection: connection, stream: stream))
        shared.withLockedValue { $0.reach = .open }
        drain()
        probe()
    }

    fileprivate func streamEnded(_ status: RPCStatus, attempt: Int) {
        lost(status, attempt: attempt)
    }

    /// A call on the open connection says that it is of no more use.
    private func lost(_ status: RPCStatus, attempt: Int) {
        guard attempt == self.attempt, case .open(let open) = phase else { return }
        let reason = open.connection.reason(status)
        if open.hasAnswered {
            failedRounds = 0
            core.delegate?.disconnected(member)
        }
        if PeerProtocol.saysRemoved(status) { core.wasRemoved(saidBy: member) }
        // Out of the open phase first: closing ends the stream, which comes back here.
        phase = .connecting
        open.connection.close()
        failed(status.isOK ? "the peer ended the stream" : reason)
    }

    private func failed(_ reason: String) {
        probeTimer?.cancel()
        probeTimer = nil
        attempt += 1
        if case .stopped = phase { return }
        let limits = core.limits
        // The one that was dialled: the list may have changed since.
        let url = shared.withLockedValue { shared in
            let now = NIODeadline.now()
            if shared.status.isConnected || shared.status.lastError == nil { shared.status.changedAt = now }
            shared.status.isConnected = false
            shared.status.lastError = reason
            shared.status.failures += 1
            shared.reach = .down
            shared.streamBytes = 0
            shared.status.messagesDropped += UInt64(shared.queue.shed(controlMax: limits.controlMessagesKeptMax))
            return shared.status.url
        }
        if core.reasons.shouldLog("to \(name)", reason) {
            core.logger.warning(
                "cannot talk to a peer",
                metadata: ["peer": "\(name)", "url": "\(url)", "reason": "\(reason)"])
        }
        core.delegate?.unreachable(member)
        urlIndex += 1
        if urlIndex < urls.count { return connect() }
        urlIndex = 0
        failedRounds += 1
        let doubled = limits.backoffMin.nanoseconds << Int64(min(failedRounds - 1, 20))
        let delay = min(doubled, limits.backoffMax.nanoseconds)
        let jitter = Int64(random.next(in: 0..<max(1, Int(delay / 2))))
        phase = .waiting(eventLoop.scheduleTask(in: .nanoseconds(delay - jitter)) { self.connect() })
    }

    private func take(urls: [PeerURL]) {
        guard urls != self.urls else { return }
        self.urls = urls
        urlIndex = 0
        note { $0.urls = urls.map(\.description) }
        switch phase {
        case .open(let open) where !urls.contains(open.connection.url):
            phase = .connecting
            open.connection.close()
            failed("the peer's URLs have changed")
        case .waiting(let timer):
            timer.cancel()
            connect()
        case .open, .connecting, .stopped: break
        }
    }

    /// For good. Any thread may schedule it; on the loop.
    func stop() {
        eventLoop.preconditionInEventLoop()
        let last = phase
        phase = .stopped
        attempt += 1
        probeTimer?.cancel()
        probeTimer = nil
        shared.withLockedValue { shared in
            shared.reach = .stopped
            shared.status.isConnected = false
            shared.status.messagesDropped += UInt64(shared.queue.removeAll())
        }
        snapshot?.fail("the link to the member was closed")
        switch last {
        case .waiting(let timer): timer.cancel()
        case .open(let open): open.connection.close()
        case .connecting, .stopped: break
        }
    }

    var isStopped: Bool {
        if case .stopped = phase { true } else { false }
    }

    // MARK: Messages

    /// Moves messages from the queue to the stream, as far as the stream's buffer takes them.
    fileprivate func drain() {
        shared.withLockedValue { $0.isDrainAsked = false }
        guard case .open(let open) = phase else { return }
        let bytesMax = core.limits.batchBytesMax
        while open.stream.isLive, open.stream.isWritable {
            let batch = shared.withLockedValue { $0.queue.takeBatch(bytesMax: bytesMax) }
            if batch.isEmpty { break }
            let size = PeerProtocol.batchSize(batch)
            // Before they go: nobody has received what is not counted as sent.
            note { status in
                status.messagesSent += UInt64(batch.count)
                status.bytesSent += UInt64(size)
            }
            open.stream.send(size: size) { PeerProtocol.writeBatch(batch, to: $0) }
        }
        // Below its high-water mark the stream's bytes are on their way to the socket, and do not wait.
        let waiting = open.stream.isWritable ? 0 : open.stream.bufferedBytes
        shared.withLockedValue { $0.streamBytes = waiting }
    }

    // MARK: Probes

    private func probe() {
        guard case .open(let open) = phase, let delegate = core.delegate else { return }
        let bytes = delegate.probeBytes(for: member)
        let (sentAt, attempt) = (NIODeadline.now(), attempt)
        open.connection.channel.connection.call(
            PeerProtocol.probePath, size: bytes.count, metadata: metadata, deadline: sentAt + core.limits.probeTimeout,
            fill: { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } },
            completion: { self.probed($0, sentAt: sentAt, attempt: attempt) })
    }

    private func probed(_ result: RPCResult, sentAt: NIODeadline, attempt: Int) {
        guard attempt == self.attempt, case .open(var open) = phase else { return }
        guard result.status.isOK else {
            let isSilent = result.status.code == .deadlineExceeded
            let seconds = Double(core.limits.probeTimeout.nanoseconds) / 1e9
            let status = isSilent ? RPCStatus(.unavailable, "no answer to a probe in \(seconds) s") : result.status
            return lost(status, attempt: attempt)
        }
        let now = NIODeadline.now()
        let isFirst = !open.hasAnswered
        open.hasAnswered = true
        phase = .open(open)
        note { status in
            status.note(roundTrip: now - sentAt)
            if isFirst {
                status.isConnected = true
                status.changedAt = now
                status.lastError = nil
            }
        }
        if isFirst {
            failedRounds = 0
            core.reasons.recovered("to \(name)")
            core.logger.info("connected to a peer", metadata: ["peer": "\(name)", "url": "\(open.connection.url)"])
        }
        core.delegate?.probed(by: member, bytes: Bytes(copying: result.message))
        probeTimer = eventLoop.scheduleTask(in: core.limits.probeInterval) { self.probe() }
    }

    // MARK: Snapshots

    /// Sends the snapshot that `request` asks for; one at a time.
    func sendSnapshot(_ request: Message) {
        eventLoop.preconditionInEventLoop()
        guard !isStopped, snapshot == nil else {
            note { $0.snapshotsSendFailed += 1 }
            core.delegate?.snapshotSent(to: member, succeeded: false)
            return
        }
        let sending = SnapshotSending(link: self, request: request, id: random.next() | 1) { succeeded in
            self.snapshot = nil
            self.note { status in
                status.snapshotBytesConsumed = nil
                if succeeded { status.snapshotsSent += 1 } else { status.snapshotsSendFailed += 1 }
            }
            self.core.delegate?.snapshotSent(to: self.member, succeeded: succeeded)
        }
        snapshot = sending
        note { $0.snapshotBytesConsumed = 0 }
        sending.start()
    }

    // MARK: Forwarded calls

    func call(
        _ call: PeerCall, timeout: TimeAmount, completion: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {
        guard case .open(var open) = phase else {
            let reason = shared.withLockedValue { $0.status.lastError } ?? "not connected yet"
            return completion(.failure(RPCStatus(.unavailable, "peer \(name) cannot be reached: \(reason)")))
        }
        guard open.callsPending < core.limits.callsMax else {
            return completion(.failure(RPCStatus(.resourceExhausted, "too many calls to peer \(name)")))
        }
        open.callsPending += 1
        phase = .open(open)
        let attempt = attempt
        open.connection.channel.connection.call(
            PeerProtocol.callPath, size: call.encodedSize, metadata: metadata, deadline: .now() + timeout,
            fill: { PeerProtocol.write(call, to: $0) },
            completion: { result in
                if attempt == self.attempt, case .open(var open) = self.phase {
                    open.callsPending -= 1
                    self.phase = .open(open)
                }
                completion(
                    result.status.isOK ? .success(Bytes(copying: result.message)) : .failure(result.status))
            })
    }
}

/// The stream of messages on a link's connection. Owner: the link's loop.
private final class OutgoingStream: RPCClientStreamHandler {
    private let link: PeerLink
    private let attempt: Int

    init(link: PeerLink, attempt: Int) {
        self.link = link
        self.attempt = attempt
    }

    func received(message: UnsafeRawBufferPointer) {}
    func ended(status: RPCStatus) { link.streamEnded(status, attempt: attempt) }
    func writable() { link.drain() }
}
