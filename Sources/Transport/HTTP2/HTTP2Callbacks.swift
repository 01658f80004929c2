import CNghttp2
import NIOCore
import Primitives

/// The C side of `HTTP2Session`: nghttp2's callbacks, which find the session through `user_data` and hand on. No
/// reference is counted on the way; nghttp2 is only ever entered from a method of the session, which keeps it alive.
struct HTTP2Callbacks: @unchecked Sendable {
    // Written in init only; nghttp2 copies the table into each session.
    let pointer: OpaquePointer

    static let shared = HTTP2Callbacks()

    private init() {
        var table: OpaquePointer?
        invariant(nghttp2_session_callbacks_new(&table) == 0 && table != nil, "nghttp2: out of memory")
        pointer = table!
        setHeaderCallbacks()
        setFrameCallbacks()
        nghttp2_session_callbacks_set_send_data_callback(pointer, sendData)
    }

    private func setHeaderCallbacks() {
        nghttp2_session_callbacks_set_on_begin_headers_callback(pointer) { _, frame, user in
            let streamID = frameHeader(frame).stream_id
            let accepted = withSession(user) {
                $0.headersBegan(streamID: streamID, category: headersCategory(frame))
            }
            return accepted ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        nghttp2_session_callbacks_set_on_header_callback(pointer) {
            _, frame, name, nameCount, value, valueCount, _, user in
            let streamID = frameHeader(frame).stream_id
            withSession(user) {
                $0.header(
                    streamID: streamID,
                    name: UnsafeRawBufferPointer(start: name, count: nameCount),
                    value: UnsafeRawBufferPointer(start: value, count: valueCount))
            }
            return 0
        }
    }

    private func setFrameCallbacks() {
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(pointer) { _, _, streamID, bytes, count, user in
            withSession(user) {
                $0.dataReceived(streamID: streamID, bytes: UnsafeRawBufferPointer(start: bytes, count: count))
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(pointer) { _, frame, user in
            withSession(user) { frameReceived($0, frame!) }
            return 0
        }
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(pointer) { _, _, _, user in
            withSession(user) { $0.invalidFrameReceived() }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(pointer) { _, frame, user in
            withSession(user) { session in
                guard session.watchesEnds else { return }
                let header = frameHeader(frame)
                guard header.type <= UInt8(NGHTTP2_HEADERS.rawValue),
                    header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
                else { return }
                session.endSent(streamID: header.stream_id)
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(pointer) { _, streamID, code, user in
            withSession(user) { $0.streamClosed(streamID: streamID, code: HTTP2ErrorCode(rawValue: code)) }
            return 0
        }
    }
}

@inline(__always)
private func withSession<R>(_ user: UnsafeMutableRawPointer?, _ body: (HTTP2Session) -> R) -> R {
    Unmanaged<HTTP2Session>.fromOpaque(user!)._withUnsafeGuaranteedRef(body)
}

/// The part every frame begins with, without copying the union it begins.
@inline(__always)
private func frameHeader(_ frame: UnsafePointer<nghttp2_frame>?) -> nghttp2_frame_hd {
    UnsafeRawPointer(frame!).assumingMemoryBound(to: nghttp2_frame_hd.self).pointee
}

@inline(__always)
private func headersCategory(_ frame: UnsafePointer<nghttp2_frame>?) -> nghttp2_headers_category {
    let header = UnsafeRawPointer(frame!)
    guard header.assumingMemoryBound(to: nghttp2_frame_hd.self).pointee.type == UInt8(NGHTTP2_HEADERS.rawValue) else {
        return NGHTTP2_HCAT_PUSH_RESPONSE
    }
    return header.assumingMemoryBound(to: nghttp2_headers.self).pointee.cat
}

private func frameReceived(_ session: HTTP2Session, _ frame: UnsafePointer<nghttp2_frame>) {
    let header = frameHeader(frame)
    let endStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue:
        session.dataFrameEnded(streamID: header.stream_id, length: header.length, endStream: endStream)
    case NGHTTP2_HEADERS.rawValue:
        session.headersEnded(streamID: header.stream_id, category: headersCategory(frame), endStream: endStream)
    case NGHTTP2_RST_STREAM.rawValue:
        session.resetReceived(streamID: header.stream_id)
    case NGHTTP2_PING.rawValue:
        let payload = withUnsafeBytes(of: frame.pointee.ping.opaque_data) { $0.loadUnaligned(as: UInt64.self) }
        session.pingReceived(
            acknowledgement: header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0,
            payload: UInt64(bigEndian: payload))
    case NGHTTP2_GOAWAY.rawValue:
        let goAway = frame.pointee.goaway
        session.goAwayReceived(
            lastStreamID: goAway.last_stream_id, code: HTTP2ErrorCode(rawValue: goAway.error_code),
            debug: UnsafeRawBufferPointer(start: goAway.opaque_data, count: goAway.opaque_data_len))
    case NGHTTP2_WINDOW_UPDATE.rawValue:
        break
    case NGHTTP2_SETTINGS.rawValue:
        if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 { session.controlFrameReceived(isSettings: true) }
    default:
        session.controlFrameReceived(isSettings: false)
    }
}

/// nghttp2 may send DATA of a stream: says how much there is, and whether it is the last.
let readData: nghttp2_data_source_read_callback = { _, _, _, length, flags, source, user in
    let session = Unmanaged<HTTP2Session>.fromOpaque(user!)
    let stream = Unmanaged<HTTP2Stream>.fromOpaque(source!.pointee.ptr)
    return session._withUnsafeGuaranteedRef { session in
        stream._withUnsafeGuaranteedRef { stream in
            if stream.outbound.count < length, !stream.outboundClosed { stream.refillOutbound(session: session) }
            let available = stream.outbound.count
            if available == 0, !stream.outboundClosed {
                stream.outboundDeferred = true
                return Int(NGHTTP2_ERR_DEFERRED.rawValue)
            }
            var raised = NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            if available <= length, stream.outboundClosed {
                raised |= NGHTTP2_DATA_FLAG_EOF.rawValue
                if !stream.endOfOutbound(session: session) { raised |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue }
            }
            flags!.pointee |= raised
            return min(available, length)
        }
    }
}

/// Writes one DATA frame: nghttp2's nine bytes of header and the stream's bytes, copied once, to where the socket
/// reads.
private let sendData: nghttp2_send_data_callback = { _, _, frameHeader, length, source, user in
    let session = Unmanaged<HTTP2Session>.fromOpaque(user!)
    let stream = Unmanaged<HTTP2Stream>.fromOpaque(source!.pointee.ptr)
    return session._withUnsafeGuaranteedRef { session in
        guard session.takeDataFrame() else { return NGHTTP2_ERR_WOULDBLOCK.rawValue }
        stream._withUnsafeGuaranteedRef { stream in
            session.output.bytes.writeBytes(UnsafeRawBufferPointer(start: frameHeader, count: 9))
            session.output.bytes.writeBytes(UnsafeRawBufferPointer(rebasing: stream.outbound.readable[..<length]))
            stream.outbound.consume(length)
            session.outboundBufferedBytes -= length
            stream.outboundSent(session: session)
        }
        return 0
    }
}
