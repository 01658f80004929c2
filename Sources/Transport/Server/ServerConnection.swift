import CNghttp2
import NIOCore
import Primitives

/// One HTTP/2 connection of the server: streams become `RPCCall`s, calls reach the dispatcher, replies become frames.
/// Owner: the connection's event loop. Lives from the protocol's detection to `connectionClosed`.
final class ServerConnection: HTTP2Session {
    let loop: ServerLoop
    let info: ConnectionInfo
    let responder: (any HTTPResponder)?
    private unowned let transport: HTTPConnectionHandler

    /// The call whose headers are arriving, which `streams` keeps alive.
    private var headerCall: Unmanaged<RPCCall>?
    /// When the header block now arriving began; nil outside one.
    private(set) var headersSince: NIODeadline?
    /// A settings frame has come: the preface is complete.
    var isEstablished = false
    /// A whole unary message inside the bytes being received, not copied unless they end before the stream does.
    var borrowed = UnsafeRawBufferPointer(start: nil, count: 0)
    var borrower: RPCCall?
    private(set) var pool: [RPCCall] = []
    private var writableAgain: [RPCCall] = []
    private var isReceiving = false
    private var isFlushQueued = false
    private var isFlushing = false
    var resets: TokenBucket
    var servedResets: TokenBucket
    var controlFrames: TokenBucket
    var strikes: PingStrikes
    private(set) var keepalive: KeepaliveTimer
    /// The socket has not taken bytes since.
    private(set) var stalledSince: NIODeadline?
    /// Answers that will end before their requests. An upper bound: a request may still end first.
    private var endsToWatch = 0
    private(set) var isShuttingDown = false
    private var finalGoAwaySent = false
    private var isClosed = false

    private static let poolMax = 1024
    static let shutdownPing: UInt64 = 0x6d61_7274_6c65_7401
    private static let keepalivePing: UInt64 = 0x6d61_7274_6c65_7402
    /// Bytes moved to the socket at a time.
    private static let flushBytes = 128 * 1024

    init(loop: ServerLoop, info: ConnectionInfo, responder: (any HTTPResponder)?, transport: HTTPConnectionHandler) {
        self.loop = loop
        self.info = info
        self.responder = responder
        self.transport = transport
        let limits = loop.configuration.limits
        let now = loop.eventLoop.now
        resets = TokenBucket(burst: limits.resetsBurst, perSecond: limits.resetsPerSecond, now: now)
        servedResets = TokenBucket(
            burst: limits.servedResetsBurst, perSecond: limits.servedResetsPerSecond, now: now)
        controlFrames = TokenBucket(
            burst: limits.controlFramesBurst, perSecond: limits.controlFramesPerSecond, now: now)
        strikes = PingStrikes(loop.configuration.keepalive)
        keepalive = KeepaliveTimer(loop.configuration.keepalive, now: now)
        super.init(limits: limits, isServer: true, output: loop.output, now: now)
    }

    // MARK: Socket side

    /// Takes bytes read from the socket; call `readFinished` after the last of a read cycle.
    func bytesRead(_ bytes: UnsafeRawBufferPointer) {
        isReceiving = true
        now = loop.eventLoop.now
        keepalive.bytesRead(now: now)
        loop.counters.receivedBytes += UInt64(bytes.count)
        if !receive(bytes) {
            isReceiving = false
            flush()
            transport.closeAfterFlush()
        }
    }

    func readFinished() {
        isReceiving = false
        flush()
        if headersSince != nil { transport.timersChanged() }
    }

    /// Makes sure that what was submitted is written: by the read cycle under way, or soon.
    func flushSoon() {
        guard !isReceiving, !isFlushQueued, !isClosed else { return }
        isFlushQueued = true
        loop.flushSoon(self)
    }

    func flushFromTask() {
        isFlushQueued = false
        flush()
    }

    /// Writes frames until there are none or the socket is full.
    func flush() {
        // A write may make the socket writable again at once, which comes back here: the loop below goes on then.
        guard !isClosed, !isFlushing, !isInsideLibrary else { return }
        isFlushing = true
        defer { isFlushing = false }
        while transport.isWritable {
            let more = drain(upTo: Self.flushBytes)
            let count = output.bytes.readableBytes
            if count > 0 {
                loop.counters.sentBytes += UInt64(count)
                transport.write(output)
            }
            tellWritable()
            if !more, writableAgain.isEmpty, count < Self.flushBytes { break }
        }
        if transport.isWritable {
            stalledSince = nil
        } else if stalledSince == nil {
            stalledSince = loop.eventLoop.now
            transport.timersChanged()
        }
        if isFinished { transport.closeAfterFlush() }
    }

    func socketWritable() {
        stalledSince = nil
        flush()
    }

    /// The socket is gone: every call is over.
    func connectionClosed() {
        guard !isClosed else { return }
        isClosed = true
        while !streams.isEmpty { end(at: streams.count - 1) }
        headerCall = nil
        borrower = nil
        writableAgain = []
        for call in pool { call.server = nil }
        pool = []
        invalidate()
    }

    private func tellWritable() {
        guard !writableAgain.isEmpty else { return }
        let calls = writableAgain
        writableAgain.removeAll(keepingCapacity: true)
        for call in calls where call.isLive { call.handler?.writable() }
    }

    func becameWritable(_ call: RPCCall) { writableAgain.append(call) }

    /// DATA or HEADERS were submitted.
    @inline(__always) func payloadSent() { strikes.payloadSent() }

    // MARK: Timers

    /// Does what is due. Returns when to ask again.
    func checkTimers(now: NIODeadline) -> NIODeadline {
        self.now = now
        var next = NIODeadline.distantFuture
        switch keepalive.check(now: now) {
        case .wait(let until): next = until
        case .ping(let until):
            next = until
            ping(Self.keepalivePing)
            flush()
        case .close:
            transport.closeNow()
            return .distantFuture
        }
        if let headersSince {
            let limit = headersSince + limits.headersTimeout
            guard now < limit else {
                terminate(code: .enhanceYourCalm, debug: "slow_headers")
                flush()
                transport.closeAfterFlush()
                return .distantFuture
            }
            next = min(next, limit)
        }
        if let stalledSince {
            let limit = stalledSince + limits.writeStallTimeout
            guard now < limit else {
                transport.closeNow()
                return .distantFuture
            }
            next = min(next, limit)
        }
        return next
    }

    // MARK: Shutdown

    /// Takes no new streams (after one round trip, so that none on its way is lost) and closes once those open are
    /// done.
    func beginShutdown() {
        guard !isShuttingDown else { return }
        isShuttingDown = true
        announceShutdown()
        ping(Self.shutdownPing)
        for case let call as RPCCall in streams { call.handler?.shuttingDown() }
        flush()
    }

    /// The grace period is over.
    func failAll() {
        for case let call as RPCCall in streams {
            let isAnswered = call.headersSubmitted
            guard call.isLive else { continue }
            call.fail(RPCStatus(.unavailable, "the server is shutting down"))
            call.tellCancelled(isAnswered: isAnswered)
        }
        terminate(code: .noError)
        flush()
    }

    func sendFinalGoAway() {
        guard !finalGoAwaySent else { return }
        finalGoAwaySent = true
        goAway(code: .noError)
        flushSoon()
    }

    // MARK: Streams

    override func headersBegan(streamID: Int32, category: nghttp2_headers_category) -> Bool {
        guard category == NGHTTP2_HCAT_REQUEST else {
            headerCall = nil
            return true
        }
        if isTerminated || outboundBufferedBytes >= limits.outboundBufferedBytesMax {
            reset(streamID: streamID, code: .refusedStream)
            return true
        }
        let call = pool.popLast() ?? RPCCall(eventLoop: loop.eventLoop)
        if call.server !== self { call.server = self }
        adopt(call, id: streamID)
        nghttp2_session_set_stream_user_data(
            session, streamID, Unmanaged.passUnretained(call as HTTP2Stream).toOpaque())
        loop.counters.streamsOpened += 1
        headerCall = .passUnretained(call)
        headersSince = now
        return true
    }

    override func header(streamID: Int32, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        headerCall?._withUnsafeGuaranteedRef { call in
            call.request.add(name: name, value: value, listBytesMax: limits.headerListBytesMax) { path in
                guard let method = loop.dispatcher.resolve(path: path) else { return false }
                call.method = method
                return true
            }
        }
    }

    override func headersEnded(streamID: Int32, category: nghttp2_headers_category, endStream: Bool) {
        headersSince = nil
        guard category == NGHTTP2_HCAT_REQUEST else {
            if endStream, let call = call(streamID) { requestEnded(call) }
            return
        }
        guard let call = headerCall?.takeUnretainedValue() else { return }
        headerCall = nil
        call.startedAt = now
        guard call.request.isOverLimit || call.request.isComplete() else {
            call.isFinished = true
            return reset(streamID: streamID, code: .protocolError)
        }
        start(call)
        if endStream { requestEnded(call) }
    }

    override func dataReceived(streamID: Int32, bytes: UnsafeRawBufferPointer) {
        guard let call = call(streamID), !call.isFinished else {
            return giveBack(bytes.count, streamID: streamID)
        }
        if call.isReceivingPaused {
            call.unreturnedWindowBytes += bytes.count
        } else {
            giveBack(bytes.count, streamID: streamID)
        }
        accept(bytes, call)
    }

    override func dataFrameEnded(streamID: Int32, length: Int, endStream: Bool) {
        if endStream {
            if let call = call(streamID) { requestEnded(call) }
        } else if length == 0 {
            countControlFrame()
        }
    }

    override func streamClosed(streamID: Int32, code: HTTP2ErrorCode) {
        guard let session, let pointer = nghttp2_session_get_stream_user_data(session, streamID) else { return }
        // Without a reference of our own, or the call would never look unused to `end`.
        let position = Unmanaged<HTTP2Stream>.fromOpaque(pointer)._withUnsafeGuaranteedRef { $0.position }
        if headerCall?.toOpaque() == pointer { headerCall = nil }
        if let borrower, Unmanaged.passUnretained(borrower).toOpaque() == pointer { self.borrower = nil }
        end(at: position)
    }

    /// The call of stream `id`, if it has one.
    @inline(__always)
    func call(_ id: Int32) -> RPCCall? {
        // Only `headersBegan` sets a stream's object, and it makes calls.
        stream(id).map { unsafeDowncast($0, to: RPCCall.self) }
    }

    /// Takes a stream's object out of service; back to the pool if nobody else holds it.
    private func end(at position: Int) {
        var call = unsafeDowncast(removeStream(at: position), to: RPCCall.self)
        loop.wheel.cancel(call)
        call.streamClosed()
        loop.counters.streamsClosed += 1
        if call.isStarted {
            loop.counters.handled[call.method.index * RPCCode.allCases.count + call.status.code.rawValue] += 1
            if loop.configuration.measuresHandling {
                let duration = NIODeadline.now() - call.startedAt
                loop.counters.noteHandling(call.method.index, nanoseconds: duration.nanoseconds)
            }
        }
        if call.unreturnedWindowBytes > 0, let session {
            nghttp2_session_consume_connection(session, call.unreturnedWindowBytes)
        }
        if !isClosed, pool.count < Self.poolMax, isKnownUniquelyReferenced(&call) {
            call.recycle()
            pool.append(call)
        } else {
            call.server = nil
        }
    }

    /// An answer ends before its request does: once it is out, the rest of the request is refused with NO_ERROR (RFC
    /// 9113, 8.1). Not before: a queued reset makes nghttp2 drop the answer.
    func resetAfterEnd() {
        endsToWatch += 1
        watchesEnds = true
    }

    override func endSent(streamID: Int32) {
        guard let call = call(streamID), call.isFinished, !call.remoteClosed else { return }
        reset(streamID: streamID, code: .noError)
        endsToWatch -= 1
        watchesEnds = endsToWatch > 0
    }

    override func receiveFinished() { spillBorrowed() }
    override func resetReceived(streamID: Int32) { countReset(of: call(streamID)) }
    override func invalidFrameReceived() { countViolation() }

    override func controlFrameReceived(isSettings: Bool) {
        if isSettings { isEstablished = true }
        countControlFrame()
    }

    override func pingReceived(acknowledgement: Bool, payload: UInt64) {
        notePing(acknowledgement: acknowledgement, payload: payload)
    }
}
