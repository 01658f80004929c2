import CNghttp2
import NIOCore

// Plain HTTP over HTTP/2: `/metrics` and `/health` scraped by clients that negotiated h2.
extension RPCCall {
    /// Hands the whole request to `responder`. The reply holds the call, the call does not hold the reply.
    func respond(with responder: any HTTPResponder, info: ConnectionInfo) {
        let (path, query) = HTTPRequest.split(target: String(decoding: request.path, as: UTF8.self))
        let httpRequest = HTTPRequest(
            method: request.isPost ? "POST" : String(decoding: request.methodName, as: UTF8.self),
            path: path, query: query, host: String(decoding: request.authority, as: UTF8.self),
            headers: request.fieldList, body: ByteBuffer(bytes: inbound.readable), connection: info)
        server?.inboundBufferedBytes -= inbound.count
        inbound.clear(capacityKept: Self.bufferBytesKept)
        responder.respond(to: httpRequest, reply: HTTPReply(eventLoop: eventLoop, target: .http2(self)))
    }

    /// Takes a part of the answer from `HTTPReply`.
    func answer(_ part: HTTPReply.Part) {
        guard isLive, let server else { return }
        switch part {
        case .whole(let response):
            submit(response, length: response.body.readableBytes, server)
            endHTTP()
        case .head(let response):
            submit(response, length: nil, server)
        case .body(let bytes):
            appendHTTP(bytes, server)
        case .end:
            endHTTP()
        }
        server.resume(self)
        server.flushSoon()
    }

    private func submit(_ response: HTTPResponse, length: Int?, _ server: ServerConnection) {
        guard let session = server.session else { return }
        headersSubmitted = true
        var list = [(name: ":status", value: "\(response.status)")]
        list.append(contentsOf: response.headers.map { (name: $0.name, value: $0.value) })
        if let length { list.append((name: "content-length", value: "\(length)")) }
        if !String(decoding: request.methodName, as: UTF8.self).elementsEqual("HEAD") {
            appendHTTP(response.body, server)
        }
        var provider = nghttp2_data_provider()
        provider.source.ptr = Unmanaged.passUnretained(self as HTTP2Stream).toOpaque()
        provider.read_callback = readData
        _ = withHeaderFields(list) { nghttp2_submit_response(session, streamID, $0, $1, &provider) }
        server.takeTurns(streamID: streamID)
        server.payloadSent()
    }

    private func appendHTTP(_ bytes: ByteBuffer, _ server: ServerConnection) {
        bytes.withUnsafeReadableBytes { outbound.append($0) }
        server.outboundBufferedBytes += bytes.readableBytes
    }

    private func endHTTP() {
        isFinished = true
        outboundClosed = true
        if !remoteClosed { server?.resetAfterEnd() }
    }
}
