import CNghttp2
package import NIOCore
import Primitives

/// One HTTP/2 connection of a client: calls become streams, answers reach their completions.
///
/// Owner: the connection's event loop; reach it through `RPCChannel`. Cheap enough to drive hundreds of thousands of
/// calls a second from one loop: calls come from a pool, header fields are sent from memory that never moves.
package final class ClientConnection: HTTP2Session {
    package let eventLoop: any EventLoop
    let configuration: ClientConfiguration
    let wheel: DeadlineWheel
    private unowned let transport: ClientHandler
    let gzip = Gzip()
    /// `:method`, `:scheme`, `:path`, `:authority`, `content-type`, `te`, `user-agent`.
    private let fields: UnsafeMutableBufferPointer<nghttp2_nv>
    private let authority: UnsafeMutableBufferPointer<UInt8>
    private let userAgent: UnsafeMutableBufferPointer<UInt8>
    private(set) var pool: [ClientCall] = []
    /// The call whose headers are arriving, which `streams` keeps alive.
    private var headerCall: Unmanaged<ClientCall>?
    var borrowed = UnsafeRawBufferPointer(start: nil, count: 0)
    var borrower: ClientCall?
    private var writableAgain: [ClientCall] = []
    private var isReceiving = false
    private var isFlushQueued = false
    private var isFlushing = false
    private var flushTask: (@Sendable () -> Void)?
    private var keepalive: KeepaliveTimer
    private var isClosed = false
    /// GOAWAY was received, or the connection is closing: no new calls.
    package private(set) var isGoingAway = false
    /// Why, in the peer's words.
    package private(set) var goAwayDebug = ""

    private static let poolMax = 2048
    private static let flushBytes = 128 * 1024
    private static let names = [":method", ":scheme", ":path", ":authority", "content-type", "te", "user-agent"]
        .map { ImmortalText($0) }
    private static let values = ["POST", "http", "https", "", "application/grpc", "trailers"].map { ImmortalText($0) }

    init(
        eventLoop: any EventLoop, configuration: ClientConfiguration, authority: String, isSecure: Bool,
        transport: ClientHandler
    ) {
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.transport = transport
        wheel = DeadlineWheel(loop: eventLoop)
        keepalive = KeepaliveTimer(configuration.keepalive, now: eventLoop.now)
        self.authority = .allocate(capacity: max(1, authority.utf8.count))
        _ = self.authority.initialize(from: authority.utf8)
        userAgent = .allocate(capacity: max(1, configuration.userAgent.utf8.count))
        _ = userAgent.initialize(from: configuration.userAgent.utf8)
        fields = .allocate(capacity: Self.names.count)
        let empty = Self.values[3].bytes
        let scheme = Self.values[isSecure ? 2 : 1].bytes
        let values = [
            Self.values[0].bytes, scheme, empty,
            UnsafeMutableBufferPointer(rebasing: self.authority[..<authority.utf8.count]), Self.values[4].bytes,
            Self.values[5].bytes,
            UnsafeMutableBufferPointer(rebasing: userAgent[..<configuration.userAgent.utf8.count]),
        ]
        for (index, value) in values.enumerated() {
            fields.initializeElement(at: index, to: StaticHeaderBlock.field(Self.names[index].bytes, value))
        }
        super.init(
            limits: configuration.limits, isServer: false, output: OutputBuffer(allocator: ByteBufferAllocator()),
            now: eventLoop.now)
    }

    deinit {
        // nghttp2 may hold header fields that point here until its session goes.
        invalidate()
        fields.deallocate()
        authority.deallocate()
        userAgent.deallocate()
    }

    /// Calls that are open.
    package var openCalls: Int { streams.count }

    // MARK: Calls

    /// Begins a unary call; `completion` is called on the loop exactly once, possibly before this returns.
    /// - Parameters:
    ///   - size: of the request, which `fill` writes completely.
    ///   - metadata: more header fields, names in lower case.
    @discardableResult
    package func call(
        _ path: RPCPath, size: Int, metadata: [(name: String, value: String)] = [], deadline: NIODeadline? = nil,
        fill: (UnsafeMutableRawBufferPointer) -> Void, completion: @escaping (RPCResult) -> Void
    ) -> ClientCall {
        let call = make()
        call.completion = completion
        if isRefused(call) { return call }
        append(call, size: size, fill)
        if call.isEnded {
            call.connection = nil
            return call
        }
        call.outboundClosed = true
        submit(call, path, metadata, deadline)
        return call
    }

    /// Begins a call that streams one way or both.
    package func stream(
        _ path: RPCPath, metadata: [(name: String, value: String)] = [], deadline: NIODeadline? = nil,
        handler: any RPCClientStreamHandler
    ) -> ClientCall {
        let call = make()
        call.handler = handler
        if isRefused(call) { return call }
        submit(call, path, metadata, deadline)
        return call
    }

    private func make() -> ClientCall {
        assert(eventLoop.inEventLoop)
        let call = pool.popLast() ?? ClientCall(eventLoop: eventLoop)
        call.connection = self
        return call
    }

    private func isRefused(_ call: ClientCall) -> Bool {
        guard isClosed || isGoingAway || session == nil else { return false }
        call.end(unavailable, message: UnsafeRawBufferPointer(start: nil, count: 0))
        call.connection = nil
        return true
    }

    var unavailable: RPCStatus {
        RPCStatus(.unavailable, goAwayDebug.isEmpty ? "connection closed" : "connection closed: \(goAwayDebug)")
    }

    func append(_ call: ClientCall, size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        guard size <= limits.sentMessageBytesMax else {
            call.abort(
                RPCStatus(
                    .resourceExhausted,
                    "grpc: trying to send message larger than max (\(size) vs. \(limits.sentMessageBytesMax))"))
            return
        }
        let prefix = MessageFraming.prefixBytes
        if configuration.compressesRequests {
            let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
            defer { plain.deallocate() }
            if size > 0 { fill(plain) }
            gzip.compress(UnsafeRawBufferPointer(plain))
            MessageFraming.writePrefix(call.outbound.reserve(prefix), length: gzip.output.count, compressed: true)
            call.outbound.commit(prefix)
            call.outbound.append(gzip.output.readable)
            if call.position >= 0 { outboundBufferedBytes += prefix + gzip.output.count }
        } else {
            let room = call.outbound.reserve(prefix + size)
            MessageFraming.writePrefix(room, length: size, compressed: false)
            if size > 0 { fill(UnsafeMutableRawBufferPointer(rebasing: room[prefix...])) }
            call.outbound.commit(prefix + size)
            if call.position >= 0 { outboundBufferedBytes += prefix + size }
        }
        if call.outbound.count >= limits.streamHighWaterBytes { call.isFull = true }
    }

    private func submit(
        _ call: ClientCall, _ path: RPCPath, _ metadata: [(name: String, value: String)], _ deadline: NIODeadline?
    ) {
        fields[2].value = path.bytes.baseAddress
        fields[2].valuelen = path.bytes.count
        var provider = nghttp2_data_provider()
        let pointer = Unmanaged.passUnretained(call as HTTP2Stream).toOpaque()
        provider.source.ptr = pointer
        provider.read_callback = readData
        let id: Int32
        if metadata.isEmpty, deadline == nil, !configuration.compressesRequests {
            id = nghttp2_submit_request(session, nil, fields.baseAddress, fields.count, &provider, pointer)
        } else {
            var extra = metadata
            if configuration.compressesRequests { extra.append((name: "grpc-encoding", value: "gzip")) }
            if let deadline {
                extra.append((name: "grpc-timeout", value: GRPCTimeout.format(deadline - eventLoop.now)))
                wheel.schedule(call, due: deadline)
            }
            id = withHeaderFields(extra) { more, count in
                var all = Array(fields)
                all.append(contentsOf: UnsafeBufferPointer(start: more, count: count))
                return nghttp2_submit_request(session, nil, &all, all.count, &provider, pointer)
            }
        }
        guard id >= 0 else {
            isGoingAway = true
            call.end(unavailable, message: UnsafeRawBufferPointer(start: nil, count: 0))
            call.connection = nil
            return
        }
        adopt(call, id: id)
        outboundBufferedBytes += call.outbound.count
        flushSoon()
    }

    /// Ends every call with UNAVAILABLE and closes the socket.
    package func close() {
        guard !isClosed else { return }
        isGoingAway = true
        terminate(code: .noError)
        flush()
        transport.closeNow()
    }

    // MARK: Socket side

    func bytesRead(_ bytes: UnsafeRawBufferPointer) {
        isReceiving = true
        now = eventLoop.now
        keepalive.bytesRead(now: now)
        if !receive(bytes) {
            isReceiving = false
            flush()
            transport.closeNow()
        }
    }

    func readFinished() {
        isReceiving = false
        flush()
    }

    func flushSoon() {
        guard !isReceiving, !isFlushQueued, !isClosed else { return }
        isFlushQueued = true
        if let flushTask { return eventLoop.execute(flushTask) }
        let me = NIOLoopBound(self, eventLoop: eventLoop)
        let task: @Sendable () -> Void = {
            me.value.isFlushQueued = false
            me.value.flush()
        }
        flushTask = task
        eventLoop.execute(task)
    }

    func flush() {
        // A write may make the socket writable again at once, which comes back here: the loop below goes on then.
        guard !isClosed, !isFlushing, !isInsideLibrary else { return }
        isFlushing = true
        defer { isFlushing = false }
        while transport.isWritable {
            let more = drain(upTo: Self.flushBytes)
            let count = output.bytes.readableBytes
            if count > 0 { transport.write(output) }
            let calls = writableAgain
            if !calls.isEmpty { writableAgain.removeAll(keepingCapacity: true) }
            for call in calls where call.isLive { call.handler?.writable() }
            if !more, calls.isEmpty, count < Self.flushBytes { break }
        }
        if isFinished { transport.closeNow() }
    }

    func becameWritable(_ call: ClientCall) { writableAgain.append(call) }

    func connectionClosed() {
        guard !isClosed else { return }
        isClosed = true
        isGoingAway = true
        while !streams.isEmpty { end(at: streams.count - 1, unavailable) }
        for call in pool { call.connection = nil }
        pool = []
        headerCall = nil
        borrower = nil
        writableAgain = []
        flushTask = nil
        wheel.stop()
        invalidate()
    }

    func checkTimers(now: NIODeadline) -> NIODeadline {
        if !configuration.pingsWithoutCalls, streams.isEmpty {
            keepalive.bytesRead(now: now)
        }
        switch keepalive.check(now: now) {
        case .wait(let until): return until
        case .ping(let until):
            ping(1)
            flush()
            return until
        case .close:
            goAwayDebug = "keepalive ping not acked within timeout"
            transport.closeNow()
            return .distantFuture
        }
    }

    // MARK: Streams

    @inline(__always)
    private func call(_ id: Int32) -> ClientCall? {
        // Only `submit` sets a stream's object, and it sets calls.
        stream(id).map { unsafeDowncast($0, to: ClientCall.self) }
    }

    override func headersBegan(streamID: Int32, category: nghttp2_headers_category) -> Bool {
        headerCall = call(streamID).map { .passUnretained($0) }
        return true
    }

    override func header(streamID: Int32, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        headerCall?._withUnsafeGuaranteedRef { call in
            switch name.count {
            case 7 where name.equals(":status"): call.httpStatus = Self.number(value) ?? 0
            case 11 where name.equals("grpc-status"): call.grpcStatus = Self.number(value) ?? RPCCode.unknown.rawValue
            case 12 where name.equals("grpc-message"): call.grpcMessage = PercentEncoding.decode(value)
            case 13 where name.equals("grpc-encoding"): call.isGzip = value.equals("gzip")
            default: break
            }
        }
    }

    override func headersEnded(streamID: Int32, category: nghttp2_headers_category, endStream: Bool) {
        if endStream, let call = headerCall?.takeUnretainedValue() { responseEnded(call) }
        headerCall = nil
    }

    override func dataFrameEnded(streamID: Int32, length: Int, endStream: Bool) {
        if endStream, let call = call(streamID) { responseEnded(call) }
    }

    override func dataReceived(streamID: Int32, bytes: UnsafeRawBufferPointer) {
        guard let call = call(streamID), !call.isEnded else { return giveBack(bytes.count, streamID: streamID) }
        if call.isReceivingPaused {
            call.unreturnedWindowBytes += bytes.count
        } else {
            giveBack(bytes.count, streamID: streamID)
        }
        if call.completion != nil {
            if call.inbound.isEmpty, borrower == nil {
                borrowed = bytes
                borrower = call
            } else {
                if borrower === call { spillBorrowed() }
                hold(bytes, call)
            }
            checkSize(call)
        } else if call.isReceivingPaused || !call.inbound.isEmpty {
            hold(bytes, call)
            deliverHeld(call)
        } else {
            let used = deliver(bytes, call)
            if call.isLive, used < bytes.count { hold(UnsafeRawBufferPointer(rebasing: bytes[used...]), call) }
        }
    }

    override func receiveFinished() { spillBorrowed() }

    override func streamClosed(streamID: Int32, code: HTTP2ErrorCode) {
        guard let session, let pointer = nghttp2_session_get_stream_user_data(session, streamID) else { return }
        if headerCall?.toOpaque() == pointer { headerCall = nil }
        // Without a reference of our own, or the call would never look unused to `end`.
        let (position, status) = Unmanaged<ClientCall>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
            ($0.position, outcome($0, code))
        }
        end(at: position, status)
    }

    private func end(at position: Int, _ status: RPCStatus) {
        var call = unsafeDowncast(removeStream(at: position), to: ClientCall.self)
        wheel.cancel(call)
        if call.unreturnedWindowBytes > 0, let session {
            nghttp2_session_consume_connection(session, call.unreturnedWindowBytes)
            call.unreturnedWindowBytes = 0
        }
        if call.handler != nil, !call.isEnded, status.isOK, !call.inbound.isEmpty {
            guard !call.isReceivingPaused else {
                // The last messages are still wanted. The call stays open to its owner until it has taken them.
                call.heldOutcome = status
                return
            }
            call.end(RPCStatus(.internal, "unexpected EOF"), message: .init(start: nil, count: 0))
        } else if call.completion != nil, status.isOK {
            complete(call)
        } else {
            call.end(status, message: .init(start: nil, count: 0))
        }
        if let borrower, borrower === call { self.borrower = nil }
        if !isClosed, pool.count < Self.poolMax, isKnownUniquelyReferenced(&call) {
            call.recycle()
            pool.append(call)
        } else {
            call.connection = nil
        }
    }

    override func goAwayReceived(lastStreamID: Int32, code: HTTP2ErrorCode, debug: UnsafeRawBufferPointer) {
        isGoingAway = true
        if code != .noError || debug.count > 0 {
            goAwayDebug = "GOAWAY \(code.rawValue) \(String(decoding: debug.prefix(256), as: UTF8.self))"
        }
    }
}

/// Text whose bytes are never freed.
struct ImmortalText: @unchecked Sendable {
    // Written in init only, never freed.
    let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ text: String) { bytes = StaticHeaderBlock.immortal(text) }
}
