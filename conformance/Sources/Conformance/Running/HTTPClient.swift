import Client
import NIOCore
import NIOPosix
import Transport
import TransportSecurity

/// One HTTP/1.1 request on a connection of its own, as a probe makes it. Nothing of the server's own stack is used.
package enum HTTPClient {
    package struct Answer: Sendable {
        package var status = 0
        /// Names in lower case.
        package var headers: [(name: String, value: String)] = []
        package var body: [UInt8] = []
    }

    private static let bytesMax = 16 * 1024 * 1024

    /// Throws `CaseFailure` when there is no whole answer in time.
    package static func request(
        _ target: Target, endpoint: Int, method: String, path: String, headers: [(String, String)] = [],
        body: [UInt8]? = nil
    ) async throws -> Answer {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: \(authority(target, endpoint))\r\nConnection: close\r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        if let body { text += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        let bytes = try await exchange(target, endpoint: endpoint, Array((text + "\r\n").utf8) + (body ?? []))
        return try parse(bytes)
    }

    static func authority(_ target: Target, _ endpoint: Int) -> String {
        switch target.endpoints[endpoint % target.endpoints.count].address {
        case .host(let host, let port): "\(host):\(port)"
        case .unixSocket: "localhost"
        }
    }

    /// Sends `bytes` and returns all that comes until the server closes.
    static func exchange(_ target: Target, endpoint: Int, _ bytes: [UInt8]) async throws -> [UInt8] {
        let place = target.endpoints[endpoint % target.endpoints.count]
        guard case .host(let host, let port) = place.address else {
            throw CaseSkip("HTTP over a Unix socket is not probed")
        }
        let source = try tlsSource(target, place, host)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: [UInt8].self)
        let collector = CollectorBox(request: bytes, promise: promise, isSecure: source != nil)
        let timeout = loop.scheduleTask(in: .seconds(10).patient) {
            promise.fail(CaseFailure("no answer to the HTTP request"))
        }
        do {
            let channel = try await ClientBootstrap(group: loop)
                .connectTimeout(.seconds(5).patient)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        if let source { try channel.pipeline.syncOperations.addHandler(TLSHandler(source: source)) }
                        try channel.pipeline.syncOperations.addHandler(collector.makeHandler())
                    }
                }
                .connect(host: host, port: port).get()
            let answer = try await promise.futureResult.get()
            timeout.cancel()
            try? await channel.close()
            return answer
        } catch {
            timeout.cancel()
            promise.fail(error)
            throw error is CaseFailure ? error : CaseFailure("HTTP: \(error)")
        }
    }

    /// What the connection is secured with; nil for plain text.
    private static func tlsSource(_ target: Target, _ place: Endpoint, _ host: String) throws -> TLSContextSource? {
        guard place.security == .tls || (place.security == .configured && target.tls != nil) else { return nil }
        var tls = target.tls ?? .client()
        tls.applicationProtocols = ["http/1.1"]
        if tls.serverName == nil { tls.serverName = host }
        return try TLSContextSource(tls)
    }

    private static func parse(_ bytes: [UInt8]) throws -> Answer {
        guard let split = end(ofHead: bytes) else {
            throw CaseFailure("no HTTP answer: \(Value.readable(Array(bytes.prefix(80))))")
        }
        let lines = String(decoding: bytes[..<split], as: UTF8.self).split(separator: "\r\n")
        var answer = Answer()
        let words = (lines.first ?? "").split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { throw CaseFailure("no HTTP status line") }
        answer.status = status
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            answer.headers.append((line[..<colon].lowercased(), String(value)))
        }
        let rest = Array(bytes[(split + 4)...])
        let isChunked = answer.headers.contains { $0.name == "transfer-encoding" && $0.value == "chunked" }
        answer.body = isChunked ? unchunked(rest) : rest
        return answer
    }

    private static func end(ofHead bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (0...bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == Array("\r\n\r\n".utf8) }
    }

    private static func unchunked(_ bytes: [UInt8]) -> [UInt8] {
        var body: [UInt8] = []
        var rest = bytes[...]
        while let lineEnd = rest.firstIndex(of: UInt8(ascii: "\r")) {
            let size = Int(String(decoding: rest[..<lineEnd], as: UTF8.self), radix: 16) ?? 0
            let start = lineEnd + 2
            guard size > 0, start + size <= rest.endIndex else { break }
            body += rest[start..<start + size]
            rest = rest[min(start + size + 2, rest.endIndex)...]
        }
        return body
    }

    /// What the handler of the connection needs, until the connection's loop makes it.
    private struct CollectorBox: Sendable {
        let request: [UInt8]
        let promise: EventLoopPromise<[UInt8]>
        let isSecure: Bool

        func makeHandler() -> Collector { Collector(self) }
    }

    /// Sends the request once it can and collects the answer. Loop-confined.
    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let box: CollectorBox
        private var received: [UInt8] = []

        init(_ box: CollectorBox) { self.box = box }

        func channelActive(context: ChannelHandlerContext) {
            if !box.isSecure { send(context) }
            context.fireChannelActive()
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if event is TLSHandshakeCompleted { send(context) }
            context.fireUserInboundEventTriggered(event)
        }

        private func send(_ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: box.request)), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += unwrapInboundIn(data).readableBytesView
            if received.count > HTTPClient.bytesMax { context.close(promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if received.isEmpty { box.promise.fail(error) }
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            box.promise.succeed(received)
            context.fireChannelInactive()
        }
    }
}
