import DequeModule
import NIOCore
import NIOHTTP1

/// One HTTP/1.1 connection: collects requests, has them answered one at a time in order, keeps the connection alive.
/// Parsing is NIOHTTP1's. Owner: the connection's event loop.
final class HTTP1Handler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = Never
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        /// Between requests.
        case idle
        /// Bytes of a head that is not whole.
        case head
        case body(HTTPRequestHead, ByteBuffer)
        /// Refused or told to close: the rest is ignored.
        case ended
    }

    private struct Waiting {
        let head: HTTPRequestHead
        let body: ByteBuffer
    }

    private unowned let transport: HTTPConnectionHandler
    private let eventLoop: any EventLoop
    private let limits: HTTP2Limits
    private let info: ConnectionInfo
    private let responder: (any HTTPResponder)?
    private var context: ChannelHandlerContext?
    private var phase = Phase.idle
    private var phaseSince: NIODeadline
    private var hasHadRequest = false
    private var queue: Deque<Waiting> = []
    /// The request being answered; its sequence number tells late answers from good ones.
    private var serving: HTTPRequestHead?
    private var sequence = 0
    private var isShuttingDown = false
    private var inputClosed = false
    private var isReadHeld = false
    private var stalledSince: NIODeadline?
    private(set) var bufferedBytes = 0

    init(
        transport: HTTPConnectionHandler, eventLoop: any EventLoop, limits: HTTP2Limits, info: ConnectionInfo,
        responder: (any HTTPResponder)?, openedAt: NIODeadline
    ) {
        self.transport = transport
        self.eventLoop = eventLoop
        self.limits = limits
        self.info = info
        self.responder = responder
        phaseSince = openedAt
    }

    /// Adds the parser, the encoder and this after `handler`.
    func install(after handler: HTTPConnectionHandler, in context: ChannelHandlerContext) throws {
        var configuration = NIOHTTPDecoderLimitConfiguration()
        configuration.maxHeaderListSize = limits.http1HeaderBytesMax
        configuration.maxHeaderFieldSize = limits.http1HeaderBytesMax
        let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: configuration)
        try context.pipeline.syncOperations.addHandlers(
            [HTTPResponseEncoder(), ByteToMessageHandler(decoder), self], position: .after(handler))
    }

    var isLive: Bool { context != nil }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        queue.removeAll()
    }

    // MARK: Requests

    /// The socket gave bytes, before they are parsed.
    func bytesArrive(now: NIODeadline) {
        if case .idle = phase, serving == nil { enter(.head) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head)
        case .body(var bytes):
            guard case .body(let head, var body) = phase else { return }
            guard body.readableBytes + bytes.readableBytes <= limits.httpBodyBytesMax else {
                return refuse(.payloadTooLarge)
            }
            phase = .idle
            body.writeBuffer(&bytes)
            phase = .body(head, body)
        case .end:
            guard case .body(let head, let body) = phase else { return }
            enter(.idle)
            queue.append(Waiting(head: head, body: body))
            serveNext()
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        if case .ended = phase { return }
        hasHadRequest = true
        // RFC 9112, 3.2: exactly one.
        if head.version == .http1_1, head.headers["host"].count != 1 { return refuse(.badRequest) }
        if let length = head.headers.first(name: "content-length").flatMap(Int.init), length > limits.httpBodyBytesMax {
            return refuse(.payloadTooLarge)
        }
        if head.headers.first(name: "expect")?.lowercased() == "100-continue", serving == nil, queue.isEmpty {
            let part = HTTPServerResponsePart.head(HTTPResponseHead(version: head.version, status: .continue))
            context?.writeAndFlush(wrapOutboundOut(part), promise: nil)
        }
        enter(.body(head, ByteBuffer()))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case HTTPParserError.headerOverflow: refuse(.requestHeaderFieldsTooLarge)
        case is HTTPParserError: refuse(.badRequest)
        default: context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else { return }
        inputClosed = true
        phase = .ended
        if serving == nil { transport.closeAfterFlush() }
    }

    /// The peer cannot be understood, or asks too much: say so after the answers it is still owed, and close.
    private func refuse(_ status: HTTPResponseStatus) {
        if case .ended = phase { return }
        phase = .ended
        queue.removeAll()
        guard serving == nil else { return }
        var headers = HTTPHeaders([("content-length", "0"), ("connection", "close")])
        headers.add(name: "content-type", value: "text/plain; charset=utf-8")
        write(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)))
        write(.end(nil))
        context?.flush()
        transport.closeAfterFlush()
    }

    private func serveNext() {
        guard serving == nil, let next = queue.popFirst(), context != nil else { return }
        serving = next.head
        sequence += 1
        transport.timersChanged()
        let (path, query) = HTTPRequest.split(target: next.head.uri)
        let request = HTTPRequest(
            method: next.head.method.rawValue, path: path, query: query,
            host: next.head.headers.first(name: "host") ?? "",
            headers: next.head.headers.map { ($0.name.lowercased(), $0.value) }, body: next.body, connection: info)
        let reply = HTTPReply(eventLoop: eventLoop, target: .http1(self, sequence: sequence))
        if let responder {
            responder.respond(to: request, reply: reply)
        } else {
            reply.send(HTTPResponse(status: 404, text: "not found\n"))
        }
    }

    // MARK: Answers

    /// Takes a part of the answer to request number `number`.
    func answer(_ part: HTTPReply.Part, sequence number: Int) {
        guard let head = serving, number == sequence, context != nil else { return }
        switch part {
        case .whole(let response):
            writeHead(response, to: head, length: response.body.readableBytes)
            writeBody(response.body, to: head)
            end(head)
        case .head(let response):
            writeHead(response, to: head, length: nil)
            writeBody(response.body, to: head)
        case .body(let bytes):
            writeBody(bytes, to: head)
        case .end:
            end(head)
        }
        context?.flush()
        noteStall()
    }

    private func keepsAlive(_ head: HTTPRequestHead) -> Bool {
        if case .ended = phase { return false }
        return head.isKeepAlive && !isShuttingDown && !head.headers.contains(name: "upgrade")
    }

    private func writeHead(_ response: HTTPResponse, to head: HTTPRequestHead, length: Int?) {
        var headers = HTTPHeaders(response.headers)
        if let length {
            headers.replaceOrAdd(name: "content-length", value: "\(length)")
        } else {
            headers.remove(name: "content-length")
        }
        if !keepsAlive(head) || (length == nil && head.version != .http1_1) {
            headers.replaceOrAdd(name: "connection", value: "close")
        }
        let status = HTTPResponseStatus(statusCode: response.status)
        write(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)))
    }

    private func writeBody(_ bytes: ByteBuffer, to head: HTTPRequestHead) {
        guard bytes.readableBytes > 0, head.method != .HEAD, let context else { return }
        let count = bytes.readableBytes
        bufferedBytes += count
        let written = context.eventLoop.makePromise(of: Void.self)
        let me = NIOLoopBound(self, eventLoop: eventLoop)
        written.futureResult.whenComplete { _ in me.value.bufferedBytes -= count }
        context.write(wrapOutboundOut(.body(.byteBuffer(bytes))), promise: written)
    }

    private func end(_ head: HTTPRequestHead) {
        write(.end(nil))
        context?.flush()
        let keep = keepsAlive(head) && !(inputClosed && queue.isEmpty)
        serving = nil
        guard keep else {
            phase = .ended
            queue.removeAll()
            return transport.closeAfterFlush()
        }
        phaseSince = eventLoop.now
        transport.timersChanged()
        if isReadHeld, queue.count < limits.http1PipelinedRequestsMax {
            isReadHeld = false
            context?.read()
        }
        // Not from within the answer: a responder that answers at once would recurse once per pipelined request.
        if !queue.isEmpty {
            let me = NIOLoopBound(self, eventLoop: eventLoop)
            eventLoop.execute { me.value.serveNext() }
        }
    }

    private func write(_ part: HTTPServerResponsePart) { context?.write(wrapOutboundOut(part), promise: nil) }

    // MARK: Pace and time

    func read(context: ChannelHandlerContext) {
        if queue.count >= limits.http1PipelinedRequestsMax { isReadHeld = true } else { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        noteStall()
        context.fireChannelWritabilityChanged()
    }

    private func noteStall() {
        guard let context, !context.channel.isWritable else { return stalledSince = nil }
        guard stalledSince == nil else { return }
        stalledSince = eventLoop.now
        transport.timersChanged()
    }

    private func enter(_ next: Phase) {
        phase = next
        phaseSince = eventLoop.now
        transport.timersChanged()
    }

    /// When the connection is to be closed if nothing happens until then.
    var closeAt: NIODeadline {
        var limit = NIODeadline.distantFuture
        if let stalledSince { limit = stalledSince + limits.writeStallTimeout }
        guard serving == nil else { return limit }
        switch phase {
        case .head: return min(limit, phaseSince + limits.headersTimeout)
        case .idle where !hasHadRequest: return min(limit, phaseSince + limits.headersTimeout)
        case .idle, .body: return min(limit, phaseSince + limits.httpIdleTimeout)
        case .ended: return limit
        }
    }

    /// The request under way is answered with `connection: close`; an idle connection is closed.
    func beginShutdown() {
        isShuttingDown = true
        if serving == nil, queue.isEmpty, case .idle = phase { transport.closeNow() }
    }
}
