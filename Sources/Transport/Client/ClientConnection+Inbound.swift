import NIOCore

// From answer bytes to the completion or handler of a call.
extension ClientConnection {
    static func number(_ text: UnsafeRawBufferPointer) -> Int? {
        guard text.count >= 1, text.count <= 9 else { return nil }
        var number = 0
        for byte in text {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            number = number * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return number
    }

    func responseEnded(_ call: ClientCall) {
        call.remoteClosed = true
        // The server does not want the rest of the request.
        if !call.outboundClosed || !call.outbound.isEmpty { reset(streamID: call.streamID, code: .cancel) }
    }

    func checkSize(_ call: ClientCall) {
        let bytes = borrower === call ? borrowed : call.inbound.readable
        if case .tooLarge(let length) = MessageFraming.first(in: bytes, limit: limits.receivedMessageBytesMax) {
            call.abort(tooLarge(length))
        }
    }

    func tooLarge(_ length: Int) -> RPCStatus {
        RPCStatus(
            .resourceExhausted,
            "grpc: received message larger than max (\(length) vs. \(limits.receivedMessageBytesMax))")
    }

    func hold(_ bytes: UnsafeRawBufferPointer, _ call: ClientCall) {
        call.inbound.append(bytes)
        inboundBufferedBytes += bytes.count
    }

    func spillBorrowed() {
        guard let call = borrower else { return }
        borrower = nil
        if call.isLive { hold(borrowed, call) }
    }

    func deliverHeld(_ call: ClientCall) {
        let used = deliver(call.inbound.readable, call)
        call.inbound.consume(used)
        if call.position >= 0 { inboundBufferedBytes -= used }
        if call.isLive, call.position < 0, !call.isReceivingPaused { finishHeld(call) }
    }

    func deliver(_ bytes: UnsafeRawBufferPointer, _ call: ClientCall) -> Int {
        var used = 0
        call.isDelivering = true
        defer { call.isDelivering = false }
        while call.isLive, !call.isReceivingPaused {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
            switch MessageFraming.first(in: rest, limit: limits.receivedMessageBytesMax) {
            case .incomplete: return used
            case .message(let message, let compressed, let framedBytes):
                guard let plain = plain(message, compressed, call) else { return used }
                plain.withUnsafeBytes { call.handler?.received(message: $0 ?? message) }
                used += framedBytes
            case .tooLarge(let length):
                call.abort(tooLarge(length))
            case .badFlags(let flags):
                call.abort(RPCStatus(.internal, "grpc: received unexpected payload format \(flags)"))
            }
        }
        return used
    }

    /// What the peer said of the call, or what its silence means (gRPC over HTTP/2, "Errors").
    func outcome(_ call: ClientCall, _ code: HTTP2ErrorCode) -> RPCStatus {
        if call.grpcStatus >= 0 {
            let status = RPCCode(rawValue: call.grpcStatus) ?? .unknown
            return status == .ok ? .ok : RPCStatus(status, call.grpcMessage)
        }
        if call.httpStatus != 0, call.httpStatus != 200 {
            return RPCStatus(Self.code(http: call.httpStatus), "unexpected HTTP status code \(call.httpStatus)")
        }
        let text = "stream terminated by RST_STREAM with error code: \(code.rawValue)"
        switch code {
        // Streams that a GOAWAY leaves out end like this: what it says is the reason.
        case .refusedStream: return goAwayDebug.isEmpty ? RPCStatus(.unavailable, text) : unavailable
        case .cancel: return RPCStatus(.cancelled, text)
        case .enhanceYourCalm: return RPCStatus(.resourceExhausted, text)
        case .inadequateSecurity: return RPCStatus(.permissionDenied, text)
        case .noError: return RPCStatus(.internal, "server closed the stream without sending trailers")
        default: return RPCStatus(.internal, text)
        }
    }

    static func code(http: Int) -> RPCCode {
        switch http {
        case 400: .internal
        case 401: .unauthenticated
        case 403: .permissionDenied
        case 404: .unimplemented
        case 429, 502, 503, 504: .unavailable
        default: .unknown
        }
    }

    /// The owner of a paused stream has taken the last messages.
    func finishHeld(_ call: ClientCall) {
        guard let status = call.heldOutcome else { return }
        let truncated = RPCStatus(.internal, "unexpected EOF")
        call.end(call.inbound.isEmpty ? status : truncated, message: .init(start: nil, count: 0))
        call.connection = nil
    }

    func complete(_ call: ClientCall) {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let bytes = borrower === call ? borrowed : call.inbound.readable
        switch MessageFraming.first(in: bytes, limit: limits.receivedMessageBytesMax) {
        case .message(let message, let compressed, let framedBytes) where framedBytes == bytes.count:
            if compressed {
                guard let plain = plain(message, true, call) else { return }
                plain.withUnsafeBytes { call.end(.ok, message: $0 ?? none) }
            } else {
                call.end(.ok, message: message)
            }
        case .tooLarge(let length): call.end(tooLarge(length), message: none)
        case .message: call.end(RPCStatus(.internal, "received more than one message for a unary call"), message: none)
        case .incomplete, .badFlags:
            call.end(RPCStatus(.internal, "received no whole message for a unary call"), message: none)
        }
    }

    /// Decompressed bytes that live on their own; nil inside when the message is plain; nil when the call has failed.
    func plain(_ message: UnsafeRawBufferPointer, _ compressed: Bool, _ call: ClientCall) -> PlainMessage? {
        guard compressed else { return PlainMessage(bytes: nil) }
        guard call.isGzip, (try? gzip.decompress(message, bytesMax: limits.receivedMessageBytesMax)) != nil else {
            if call.position >= 0 {
                call.abort(RPCStatus(.internal, "grpc: failed to decompress the received message"))
            } else {
                call.end(
                    RPCStatus(.internal, "grpc: failed to decompress the received message"),
                    message: UnsafeRawBufferPointer(start: nil, count: 0))
            }
            return nil
        }
        return PlainMessage(bytes: [UInt8](gzip.output.readable))
    }
}

struct PlainMessage {
    let bytes: [UInt8]?

    func withUnsafeBytes(_ body: (UnsafeRawBufferPointer?) -> Void) {
        if let bytes { bytes.withUnsafeBytes { body($0) } } else { body(nil) }
    }
}
