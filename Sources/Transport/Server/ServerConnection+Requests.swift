import CNghttp2
import NIOCore

// From request bytes to the dispatcher.
extension ServerConnection {
    /// Less time than it takes to read a request: it is over by then. The deadline wheel's ticks are longer.
    private static let timeoutMin = TimeAmount.microseconds(10)

    // MARK: Headers

    /// The request's headers are whole: refuse it, or begin the call.
    func start(_ call: RPCCall) {
        if call.request.isOverLimit {
            return refuse(call, http: "431", RPCStatus(.resourceExhausted, "header list size exceeds the limit"))
        }
        guard call.request.isGRPC else { return startPlain(call) }
        guard call.request.isPost else {
            let method = String(decoding: call.request.methodName, as: UTF8.self)
            return refuse(
                call, http: "405",
                RPCStatus(.internal, "Received a HEADERS frame with :method \"\(method)\" which should be POST"))
        }
        if call.request.hasTimeout {
            guard let timeout = call.request.timeout else {
                return refuse(call, http: "400", RPCStatus(.internal, "malformed grpc-timeout"))
            }
            call.deadline = now + timeout
        }
        guard call.request.hasMethodPath else { return refuseUnknown(call) }
        loop.counters.started[call.method.index] += 1
        call.isStarted = true
        let isUnary = call.method.kind == .unary
        loop.counters.note(call.request.clientVersion, unary: isUnary ? 1 : 0, streams: isUnary ? 0 : 1)
        if let timeout = call.request.timeout, timeout < Self.timeoutMin {
            return call.fail(RPCStatus(.deadlineExceeded, "context deadline exceeded"))
        }
        if call.request.encoding == .unknown {
            let name = String(decoding: call.request.encodingName, as: UTF8.self)
            call.status = RPCStatus(
                .unimplemented, "grpc: Decompressor is not installed for grpc-encoding \"\(name)\"")
            return call.submitTrailersOnly(self, httpStatus: "200", acceptEncoding: true)
        }
        if let deadline = call.deadline { loop.wheel.schedule(call, due: deadline) }
        guard call.method.kind != .unary else { return }
        let handler = loop.dispatcher.callStarted(call)
        if call.isFinished { return }
        guard let handler else { return call.fail(RPCStatus(.unimplemented, "unimplemented")) }
        call.handler = handler
        if isShuttingDown { handler.shuttingDown() }
    }

    /// Answers without a call: nothing of it is counted or dispatched.
    private func refuse(_ call: RPCCall, http: String, _ status: RPCStatus) {
        call.method = RPCMethod(index: -1, kind: .unary)
        call.status = status
        call.submitTrailersOnly(self, httpStatus: http, acceptEncoding: false)
    }

    private func refuseUnknown(_ call: RPCCall) {
        let path = String(decoding: call.request.path, as: UTF8.self)
        call.method = RPCMethod(index: -1, kind: .unary)
        guard path.hasPrefix("/"), let slash = path.dropFirst().lastIndex(of: "/") else {
            return call.fail(RPCStatus(.unimplemented, "malformed method name: \"\(path)\""))
        }
        let service = String(path[path.index(after: path.startIndex)..<slash])
        let method = path[path.index(after: slash)...]
        let text =
            loop.dispatcher.hasService(service)
            ? "unknown method \(method) for service \(service)" : "unknown service \(service)"
        call.fail(RPCStatus(.unimplemented, text))
    }

    private func startPlain(_ call: RPCCall) {
        guard responder != nil, !call.request.hasMethodPath else {
            let type = String(decoding: call.request.contentType, as: UTF8.self)
            return refuse(
                call, http: "415", RPCStatus(.invalidArgument, "invalid gRPC request content-type \"\(type)\""))
        }
        call.isPlainHTTP = true
        call.method = RPCMethod(index: -1, kind: .unary)
        loop.counters.httpRequests += 1
    }

    // MARK: Messages

    /// Takes request bytes of a live call.
    func accept(_ bytes: UnsafeRawBufferPointer, _ call: RPCCall) {
        if call.isPlainHTTP {
            guard call.inbound.count + bytes.count <= limits.httpBodyBytesMax else {
                return call.answer(.whole(HTTPResponse(status: 413, text: "request body too large\n")))
            }
            hold(bytes, call)
        } else if call.method.kind.takesOneMessage {
            acceptOnly(bytes, call)
        } else if call.isReceivingPaused || !call.inbound.isEmpty {
            hold(bytes, call)
            if !call.isReceivingPaused { deliverHeld(call) }
        } else {
            let used = deliver(bytes, call)
            if call.isLive, used < bytes.count { hold(UnsafeRawBufferPointer(rebasing: bytes[used...]), call) }
        }
    }

    /// The client has ended its side.
    func requestEnded(_ call: RPCCall) {
        guard !call.remoteClosed else { return }
        call.remoteClosed = true
        guard !call.isFinished else { return }
        if call.isPlainHTTP {
            if let responder { call.respond(with: responder, info: info) }
        } else if call.method.kind.takesOneMessage {
            deliverOnly(call)
        } else if call.isReceivingPaused {
            return
        } else {
            endMessages(call)
        }
    }

    /// Delivers what a paused stream holds.
    func deliverHeld(_ call: RPCCall) {
        guard !call.method.kind.takesOneMessage else { return }
        let used = deliver(call.inbound.readable, call)
        call.inbound.consume(used)
        inboundBufferedBytes -= used
        if call.remoteClosed, !call.isReceivingPaused { endMessages(call) }
    }

    private func endMessages(_ call: RPCCall) {
        guard call.isLive else { return }
        guard call.inbound.isEmpty else {
            return call.fail(RPCStatus(.internal, "unexpected EOF"))
        }
        call.handler?.halfClosed()
    }

    /// Hands the whole messages at the front of `bytes` to the handler. Returns the bytes used.
    private func deliver(_ bytes: UnsafeRawBufferPointer, _ call: RPCCall) -> Int {
        var used = 0
        call.isDelivering = true
        defer { call.isDelivering = false }
        while call.isLive, !call.isReceivingPaused {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
            guard let framed = nextMessage(rest, call, deliver: { call.handler?.received(message: $0) }) else { break }
            used += framed
        }
        return used
    }

    /// Passes the first message of `bytes`, decompressed, to `deliver`. Returns its framed size; nil when it is not
    /// whole or was refused (then the call has failed).
    private func nextMessage(
        _ bytes: UnsafeRawBufferPointer, _ call: RPCCall, deliver: (UnsafeRawBufferPointer) -> Void
    ) -> Int? {
        switch MessageFraming.first(in: bytes, limit: messageBytesMax(call)) {
        case .incomplete:
            return nil
        case .message(let message, compressed: false, let framedBytes):
            loop.counters.messagesReceived[call.method.index] += 1
            call.messageComplete = true
            deliver(message)
            return framedBytes
        case .message(let message, compressed: true, let framedBytes):
            guard call.request.encoding == .gzip else {
                call.fail(RPCStatus(.internal, "grpc: compressed flag set with identity or empty encoding"))
                return nil
            }
            return decompress(message, call, deliver: deliver) ? framedBytes : nil
        case .tooLarge(let length):
            call.fail(tooLarge(length, call))
            return nil
        case .badFlags(let flags):
            call.fail(RPCStatus(.internal, "grpc: received unexpected payload format \(flags)"))
            return nil
        }
    }

    private func tooLarge(_ length: Int, _ call: RPCCall) -> RPCStatus {
        RPCStatus(
            .resourceExhausted, "grpc: received message larger than max (\(length) vs. \(messageBytesMax(call)))")
    }

    @inline(__always)
    private func messageBytesMax(_ call: RPCCall) -> Int {
        min(limits.receivedMessageBytesMax, call.method.messageBytesMax)
    }

    /// False: it was refused, and the call has failed.
    private func decompress(
        _ message: UnsafeRawBufferPointer, _ call: RPCCall, deliver: (UnsafeRawBufferPointer) -> Void
    ) -> Bool {
        do throws(Gzip.Failure) {
            try loop.gzip.decompress(message, bytesMax: messageBytesMax(call))
        } catch {
            switch error {
            case .tooLarge:
                let bytesMax = messageBytesMax(call)
                call.fail(
                    RPCStatus(
                        .resourceExhausted,
                        "grpc: received message after decompression larger than max (\(bytesMax + 1) vs. \(bytesMax))"))
            case .malformed:
                call.fail(RPCStatus(.internal, "grpc: failed to decompress the received message"))
            }
            return false
        }
        loop.counters.messagesReceived[call.method.index] += 1
        call.messageComplete = true
        // The answer may be compressed before the message is done with: the output must not be shared.
        let plain = [UInt8](loop.gzip.output.readable)
        plain.withUnsafeBytes { deliver($0) }
        return true
    }

    // MARK: The only message

    /// Bytes of a call that takes one message: refused as soon as they can be, held until END_STREAM.
    private func acceptOnly(_ bytes: UnsafeRawBufferPointer, _ call: RPCCall) {
        if call.inbound.isEmpty, borrower == nil {
            borrowed = bytes
            borrower = call
            checkOnly(bytes, call)
        } else {
            if borrower === call { spillBorrowed() }
            hold(bytes, call)
            if call.isLive { checkOnly(call.inbound.readable, call) }
        }
    }

    /// Refuses a message that is too large and anything after the first message.
    private func checkOnly(_ bytes: UnsafeRawBufferPointer, _ call: RPCCall) {
        switch MessageFraming.first(in: bytes, limit: messageBytesMax(call)) {
        case .incomplete: break
        case .message(_, _, let framedBytes):
            if framedBytes < bytes.count { call.fail(Self.secondMessage) }
        case .tooLarge(let length): call.fail(tooLarge(length, call))
        case .badFlags(let flags):
            call.fail(RPCStatus(.internal, "grpc: received unexpected payload format \(flags)"))
        }
    }

    private static var secondMessage: RPCStatus {
        RPCStatus(.internal, "cardinality violation: received multiple request messages for a method that takes one")
    }

    private static var noMessage: RPCStatus {
        RPCStatus(.internal, "cardinality violation: received no request message from non-client-streaming RPC")
    }

    /// END_STREAM of a call that takes one message.
    private func deliverOnly(_ call: RPCCall) {
        let isBorrowed = borrower === call
        let bytes = isBorrowed ? borrowed : call.inbound.readable
        if isBorrowed { borrower = nil }
        guard bytes.count > 0 else { return call.fail(Self.noMessage) }
        let framed = nextMessage(bytes, call) { message in
            if call.method.kind == .unary {
                loop.dispatcher.unary(call, message: message)
            } else {
                call.handler?.received(message: message)
                if call.isLive { call.handler?.halfClosed() }
            }
        }
        if framed == nil { call.fail(RPCStatus(.internal, "unexpected EOF")) }
        if !isBorrowed {
            inboundBufferedBytes -= call.inbound.count
            call.inbound.clear(capacityKept: RPCCall.bufferBytesKept)
        }
    }

    /// The bytes being received end before the stream that borrows from them: keep its part.
    func spillBorrowed() {
        guard let call = borrower else { return }
        borrower = nil
        if call.isLive { hold(borrowed, call) }
    }

    /// Keeps bytes until the rest of their message comes.
    private func hold(_ bytes: UnsafeRawBufferPointer, _ call: RPCCall) {
        guard inboundBufferedBytes + bytes.count <= limits.inboundBufferedBytesMax else {
            return call.fail(RPCStatus(.resourceExhausted, "too many bytes of unfinished requests on this connection"))
        }
        call.inbound.append(bytes)
        inboundBufferedBytes += bytes.count
    }

    // MARK: The connection

    /// The peer gives up a stream; nil is one that has ended meanwhile. See `HTTP2Limits.resetsBurst`.
    func countReset(of call: RPCCall?) {
        if let call {
            if call.answerBegan { return }
            if !call.messageComplete { return countViolation() }
        }
        if !servedResets.take(now: now) { refuseResets() }
    }

    /// A stream that asked nothing, or that we have to reset.
    func countViolation() {
        if !resets.take(now: now) { refuseResets() }
    }

    private func refuseResets() {
        loop.counters.connectionsRefused += 1
        terminate(code: .enhanceYourCalm, debug: "too_many_resets")
    }

    func countControlFrame() {
        guard !controlFrames.take(now: now) else { return }
        loop.counters.connectionsRefused += 1
        terminate(code: .enhanceYourCalm, debug: "too_many_control_frames")
    }

    func notePing(acknowledgement: Bool, payload: UInt64) {
        if acknowledgement {
            if payload == Self.shutdownPing, isShuttingDown { sendFinalGoAway() }
        } else if !strikes.pingReceived(now: now) {
            loop.counters.connectionsRefused += 1
            terminate(code: .enhanceYourCalm, debug: "too_many_pings")
        }
    }
}
