package import NIOCore

/// A plain HTTP request, over HTTP/1.1 or HTTP/2, with its whole body.
package struct HTTPRequest: Sendable {
    /// `GET`, `HEAD`, `POST`, ... as sent.
    package var method: String
    /// The path without the query, as sent (still percent-encoded).
    package var path: String
    /// What follows the `?`, without it; empty without one.
    package var query: String
    /// `Host` or `:authority`; empty without one.
    package var host: String
    /// In order, names in lower case.
    package var headers: [(name: String, value: String)]
    package var body: ByteBuffer
    package var connection: ConnectionInfo

    /// The first value of `name` (lower case).
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// Splits a request target at its `?`.
    static func split(target: String) -> (path: String, query: String) {
        guard let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) else { return (target, "") }
        return (String(target[..<mark]), String(target[target.utf8.index(after: mark)...]))
    }
}

/// An answer with its whole body. `content-length` and connection headers are the transport's to add.
package struct HTTPResponse: Sendable {
    package var status: Int
    /// Names in lower case.
    package var headers: [(name: String, value: String)]
    package var body: ByteBuffer

    package init(status: Int, headers: [(name: String, value: String)] = [], body: ByteBuffer = ByteBuffer()) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A text answer.
    package init(status: Int, contentType: String = "text/plain; charset=utf-8", text: String) {
        self.init(status: status, headers: [("content-type", contentType)], body: ByteBuffer(string: text))
    }
}

/// Answers plain HTTP requests. One instance per event loop and listener; called on that loop, must not block.
package protocol HTTPResponder: AnyObject {
    /// Answer through `reply`, once, now or later on the same loop.
    func respond(to request: HTTPRequest, reply: HTTPReply)
}

/// Where one HTTP answer goes. Owner: the connection's event loop; `Sendable` so that another thread can hold it and
/// come back with `eventLoop.execute`. Answers to a connection that is gone are dropped. Dropping it unanswered
/// closes the request with 500.
package final class HTTPReply: @unchecked Sendable {
    enum Target {
        case http1(HTTP1Handler, sequence: Int)
        case http2(RPCCall)
        case none
    }

    /// What the answer consists of, as it is produced.
    enum Part {
        case whole(HTTPResponse)
        case head(HTTPResponse)
        case body(ByteBuffer)
        case end
    }

    package let eventLoop: any EventLoop
    private var target: Target
    private var hasStarted = false

    init(eventLoop: any EventLoop, target: Target) {
        self.eventLoop = eventLoop
        self.target = target
    }

    deinit {
        if case .none = target { return }
        let (target, hasStarted) = (LastTarget(value: target), hasStarted)
        eventLoop.execute {
            guard !hasStarted else { return Self.deliver(.end, to: target.value) }
            Self.deliver(.whole(HTTPResponse(status: 500, text: "no answer\n")), to: target.value)
        }
    }

    /// The whole answer.
    package func send(_ response: HTTPResponse) {
        guard !hasStarted else { return }
        hasStarted = true
        finish(.whole(response))
    }

    /// Begins an answer whose length is not known; `response.body` is its first part.
    package func start(_ response: HTTPResponse) {
        guard !hasStarted else { return }
        hasStarted = true
        Self.deliver(.head(response), to: target)
    }

    /// The next part of a begun answer.
    package func write(_ bytes: ByteBuffer) {
        guard hasStarted, bytes.readableBytes > 0 else { return }
        Self.deliver(.body(bytes), to: target)
    }

    /// Ends a begun answer.
    package func end() {
        guard hasStarted else { return }
        finish(.end)
    }

    /// Bytes of the answer that wait for the peer: do not `write` while this grows.
    package var bufferedBytes: Int {
        switch target {
        case .http1(let handler, _): handler.bufferedBytes
        case .http2(let call): call.bufferedBytes
        case .none: 0
        }
    }

    /// Whether anybody still waits for the answer.
    package var isLive: Bool {
        switch target {
        case .http1(let handler, _): handler.isLive
        case .http2(let call): call.isLive
        case .none: false
        }
    }

    private func finish(_ part: Part) {
        let target = target
        self.target = .none
        Self.deliver(part, to: target)
    }

    private static func deliver(_ part: Part, to target: Target) {
        switch target {
        case .http1(let handler, let sequence): handler.answer(part, sequence: sequence)
        case .http2(let call): call.answer(part)
        case .none: break
        }
    }
}

/// What a reply that was dropped, on whatever thread, leaves to its loop, which alone opens it.
private struct LastTarget: @unchecked Sendable {
    let value: HTTPReply.Target
}
