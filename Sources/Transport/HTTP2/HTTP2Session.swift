import CNghttp2
import NIOCore
import Primitives

/// One HTTP/2 connection: the owner of an `nghttp2_session`, without I/O. Bytes in through `receive`, bytes out through
/// `drain`; what happens in between arrives at the overridable methods, which `ServerConnection` and
/// `ClientConnection` fill in.
///
/// Owner: the connection's event loop. Invariants: the session is freed only when no nghttp2 function is on the stack;
/// nothing that a peer sends can trap; a stream's object is in `streams` exactly while nghttp2 has the stream.
package class HTTP2Session {
    final let limits: HTTP2Limits
    /// Where frames ready for the socket go; shared by the connections of a loop.
    final let output: OutputBuffer
    /// Streams nghttp2 has open, in no order; `HTTP2Stream.position` is the index.
    final private(set) var streams: [HTTP2Stream] = []
    /// Bytes held in `inbound` and `outbound` of all streams.
    final var inboundBufferedBytes = 0
    final var outboundBufferedBytes = 0
    /// Time of the read, timer or flush being handled.
    final var now: NIODeadline
    /// `terminate` was called.
    final private(set) var isTerminated = false
    /// Whether `endSent` is wanted.
    final var watchesEnds = false
    final private(set) var failure: HTTP2Failure?

    final private var handle: OpaquePointer?
    /// The bound of the running `drain`. nghttp2 writes DATA frames by itself one after the other, as far as the peer's
    /// window reaches, so that each of them has to look (`takeDataFrame`).
    final private var drainBytesMax = 0
    final private var isOutputFull = false
    /// nghttp2 functions on the stack.
    final private var depth = 0
    final private var freeWanted = false

    /// Errors: none; out of memory traps, as everywhere in Swift.
    init(limits: HTTP2Limits, isServer: Bool, output: OutputBuffer, now: NIODeadline) {
        self.limits = limits
        self.now = now
        self.output = output
        var created: OpaquePointer?
        let me = Unmanaged.passUnretained(self).toOpaque()
        var options: OpaquePointer?
        invariant(nghttp2_option_new(&options) == 0, "nghttp2: out of memory")
        defer { nghttp2_option_del(options) }
        nghttp2_option_set_no_auto_window_update(options, 1)
        // The server checks requests itself: see `RequestHead.isMalformed`.
        if isServer { nghttp2_option_set_no_http_messaging(options, 1) }
        nghttp2_option_set_max_outbound_ack(options, limits.outboundAcknowledgementsMax)
        nghttp2_option_set_max_continuations(options, limits.continuationsMax)
        // Counted here instead, to answer ENHANCE_YOUR_CALM.
        nghttp2_option_set_stream_reset_rate_limit(options, UInt64(Int64.max), 1)
        let status =
            isServer
            ? nghttp2_session_server_new2(&created, HTTP2Callbacks.shared.pointer, me, options)
            : nghttp2_session_client_new2(&created, HTTP2Callbacks.shared.pointer, me, options)
        invariant(status == 0 && created != nil, "nghttp2: cannot create a session")
        handle = created
        submitSettings(isServer: isServer)
    }

    deinit {
        if let handle { nghttp2_session_del(handle) }
    }

    /// nghttp2's session; nil after `invalidate`.
    final var session: OpaquePointer? { freeWanted ? nil : handle }

    // MARK: Bytes

    /// Takes bytes from the peer. False: the connection must be closed, after what `drain` still gives.
    final func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let session, failure == nil, !isTerminated else { return false }
        guard let start = bytes.bindMemory(to: UInt8.self).baseAddress else { return true }
        depth += 1
        let taken = nghttp2_session_mem_recv(session, start, bytes.count)
        depth -= 1
        receiveFinished()
        freeIfWanted()
        if taken < 0 { fail(HTTP2Failure(code: Int(taken))) }
        return failure == nil && !freeWanted && !isTerminated
    }

    /// Moves frames into `output` until it holds `bytesMax` or there are none left. True: there may be more.
    final func drain(upTo bytesMax: Int) -> Bool {
        drainBytesMax = bytesMax
        while output.bytes.readableBytes < bytesMax {
            guard let session else { return false }
            isOutputFull = false
            var frame: UnsafePointer<UInt8>?
            depth += 1
            let count = nghttp2_session_mem_send(session, &frame)
            depth -= 1
            freeIfWanted()
            if count < 0 {
                fail(HTTP2Failure(code: Int(count)))
                return false
            }
            guard count > 0, let frame else { return isOutputFull }
            output.bytes.writeBytes(UnsafeRawBufferPointer(start: frame, count: count))
        }
        return true
    }

    /// Whether another DATA frame may be written now; if not, nghttp2 keeps it for the next `drain`.
    final func takeDataFrame() -> Bool {
        isOutputFull = output.bytes.readableBytes >= drainBytesMax
        return !isOutputFull
    }

    /// Neither reads nor writes are wanted any more: GOAWAY was exchanged and the streams are done.
    final var isFinished: Bool {
        guard let session, failure == nil else { return true }
        guard nghttp2_session_want_write(session) == 0 else { return false }
        return isTerminated || nghttp2_session_want_read(session) == 0
    }

    /// Frees the session, now or as soon as nghttp2 has returned; every method is then a no-op.
    final func invalidate() {
        freeWanted = true
        freeIfWanted()
    }

    final var isInsideLibrary: Bool { depth > 0 }

    private final func freeIfWanted() {
        guard freeWanted, depth == 0, let handle else { return }
        self.handle = nil
        nghttp2_session_del(handle)
    }

    private final func fail(_ failure: HTTP2Failure) {
        if self.failure == nil { self.failure = failure }
    }

    private final func submitSettings(isServer: Bool) {
        var settings = [
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue),
                value: UInt32(limits.streamWindowBytes)),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue),
                value: UInt32(limits.headerListBytesMax)),
            // Without RFC 7540's priority tree no client can make one stream wait for another.
            nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES.rawValue), value: 1),
        ]
        if isServer {
            settings.append(
                nghttp2_settings_entry(
                    settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue),
                    value: limits.concurrentStreamsMax))
        } else {
            settings.append(
                nghttp2_settings_entry(
                    settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0))
        }
        nghttp2_submit_settings(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
        nghttp2_session_set_local_window_size(
            handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, limits.connectionWindowBytes)
    }

    // MARK: Streams

    /// Puts `stream` into the table, under the id nghttp2 gave it.
    final func adopt(_ stream: HTTP2Stream, id: Int32) {
        stream.streamID = id
        stream.position = streams.count
        streams.append(stream)
    }

    /// Takes the stream at `position` out of the table, and gives the table's reference away.
    final func removeStream(at position: Int) -> HTTP2Stream {
        let last = streams.count - 1
        if position != last {
            streams.swapAt(position, last)
            streams[position].position = position
        }
        let stream = streams.removeLast()
        stream.position = -1
        inboundBufferedBytes -= stream.inbound.count
        outboundBufferedBytes -= stream.outbound.count
        return stream
    }

    /// The object of stream `id`, if it has one.
    final func stream(_ id: Int32) -> HTTP2Stream? {
        guard let session, let pointer = nghttp2_session_get_stream_user_data(session, id) else { return nil }
        return Unmanaged<HTTP2Stream>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// Tells nghttp2 that `stream` has bytes again.
    final func resume(_ stream: HTTP2Stream) {
        guard stream.outboundDeferred, let session else { return }
        stream.outboundDeferred = false
        nghttp2_session_resume_data(session, stream.streamID)
    }

    /// Gives `count` received bytes of flow-control window back to the peer.
    final func giveBack(_ count: Int, streamID: Int32) {
        guard count > 0, let session else { return }
        nghttp2_session_consume(session, streamID, count)
    }

    final func reset(streamID: Int32, code: HTTP2ErrorCode) {
        guard let session else { return }
        nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), streamID, code.rawValue)
    }

    /// Lets a stream with much to send take turns with the others, frame by frame, instead of going first to last.
    final func takeTurns(streamID: Int32) {
        guard let session else { return }
        var priority = nghttp2_extpri(urgency: UInt32(NGHTTP2_EXTPRI_DEFAULT_URGENCY), inc: 1)
        nghttp2_session_change_extpri_stream_priority(session, streamID, &priority, 1)
    }

    // MARK: The connection

    final func ping(_ payload: UInt64) {
        guard let session else { return }
        withUnsafeBytes(of: payload.bigEndian) {
            _ = nghttp2_submit_ping(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), $0.bindMemory(to: UInt8.self).baseAddress)
        }
    }

    /// Announces that no new stream will be taken soon, without refusing those already on their way.
    final func announceShutdown() {
        guard let session else { return }
        nghttp2_submit_shutdown_notice(session)
    }

    /// Refuses new streams; those open go on.
    final func goAway(code: HTTP2ErrorCode, debug: StaticString = "") {
        guard let session else { return }
        nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session),
            code.rawValue, debug.utf8Start, debug.utf8CodeUnitCount)
    }

    /// GOAWAY, and the connection is to be closed once that is written: `receive` refuses, `isFinished` comes true.
    final func terminate(code: HTTP2ErrorCode, debug: StaticString = "") {
        guard !isTerminated else { return }
        isTerminated = true
        goAway(code: code, debug: debug)
    }

    // MARK: What happens (overridden)

    /// A header block begins; `category` says whether it opens a stream, answers, or ends one. False: reset the stream.
    func headersBegan(streamID: Int32, category: nghttp2_headers_category) -> Bool { true }
    func header(streamID: Int32, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {}
    func headersEnded(streamID: Int32, category: nghttp2_headers_category, endStream: Bool) {}
    /// DATA payload; the bytes are valid until `receive` returns.
    func dataReceived(streamID: Int32, bytes: UnsafeRawBufferPointer) {}
    func dataFrameEnded(streamID: Int32, length: Int, endStream: Bool) {}
    func streamClosed(streamID: Int32, code: HTTP2ErrorCode) {}
    func resetReceived(streamID: Int32) {}
    func pingReceived(acknowledgement: Bool, payload: UInt64) {}
    func goAwayReceived(lastStreamID: Int32, code: HTTP2ErrorCode, debug: UnsafeRawBufferPointer) {}
    /// SETTINGS, PRIORITY or an unknown kind: a frame that asks for nothing.
    func controlFrameReceived(isSettings: Bool) {}
    /// Our END_STREAM has gone out; only called while `watchesEnds`.
    func endSent(streamID: Int32) {}
    /// A frame that broke the protocol and got its stream reset.
    func invalidFrameReceived() {}
    /// `receive` has handled all its bytes.
    func receiveFinished() {}
}

/// Why nghttp2 gave a connection up: its error code (negative, nghttp2.h).
struct HTTP2Failure: Error, Equatable {
    let code: Int
}

/// RFC 9113, section 7.
package struct HTTP2ErrorCode: RawRepresentable, Sendable, Hashable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    static let noError = HTTP2ErrorCode(rawValue: 0x0)
    static let protocolError = HTTP2ErrorCode(rawValue: 0x1)
    static let internalError = HTTP2ErrorCode(rawValue: 0x2)
    static let flowControlError = HTTP2ErrorCode(rawValue: 0x3)
    static let frameSizeError = HTTP2ErrorCode(rawValue: 0x6)
    static let refusedStream = HTTP2ErrorCode(rawValue: 0x7)
    static let cancel = HTTP2ErrorCode(rawValue: 0x8)
    static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 0xb)
    static let inadequateSecurity = HTTP2ErrorCode(rawValue: 0xc)
}
