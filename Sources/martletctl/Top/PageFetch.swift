import Client
import NIOCore
import NIOPosix
import TransportSecurity

/// Fetches one page over HTTP/1.1, on a connection of its own.
package enum PageFetch {
    /// Bytes of an answer; a longer one is an error.
    private static let answerBytesMax = 16 << 20

    /// The body of the answer to `GET target`; nil when there is none in time, or its status is not 200.
    static func body(
        of target: String, at endpoint: Endpoint, tls: TLSConfiguration?, timeout: TimeAmount, group: any EventLoopGroup
    ) async -> String? {
        var source: TLSContextSource?
        var host = "localhost"
        if case .host(let name, _) = endpoint.address { host = name }
        if endpoint.security != .plaintext, var tls {
            tls.applicationProtocols = ["http/1.1"]
            if tls.serverName == nil { tls.serverName = host }
            guard let made = try? TLSContextSource(tls) else { return nil }
            source = made
        }
        let loop = group.next()
        let answer = loop.makePromise(of: [UInt8].self)
        let request = "GET \(target) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n"
        let deadline = loop.scheduleTask(in: timeout) { answer.fail(ChannelError.connectTimeout(timeout)) }
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelInitializer { [source] channel in
                channel.eventLoop.makeCompletedFuture {
                    if let source { try channel.pipeline.syncOperations.addHandler(TLSHandler(source: source)) }
                    try channel.pipeline.syncOperations.addHandler(
                        Exchange(request: request, answer: answer, bytesMax: answerBytesMax))
                }
            }
        let connecting =
            switch endpoint.address {
            case .host(let name, let port): bootstrap.connect(host: name, port: port)
            case .unixSocket(let path): bootstrap.connect(unixDomainSocketPath: path)
            }
        connecting.whenFailure { answer.fail($0) }
        let bytes = try? await answer.futureResult.get()
        deadline.cancel()
        connecting.whenSuccess { $0.close(promise: nil) }
        return bytes.flatMap { content(of: $0) }
    }

    /// The body of a whole answer with status 200.
    package static func content(of answer: [UInt8]) -> String? {
        let text = String(decoding: answer, as: UTF8.self)
        guard text.hasPrefix("HTTP/1.1 200"), let end = text.firstRange(of: "\r\n\r\n") else { return nil }
        let head = text[..<end.lowerBound].lowercased()
        let body = text[end.upperBound...]
        return head.contains("transfer-encoding: chunked") ? joined(chunks: body.utf8) : String(body)
    }

    private static func joined(chunks: Substring.UTF8View) -> String? {
        var rest = chunks
        var body: [UInt8] = []
        while let newline = rest.firstIndex(of: 0x0a) {
            let line = String(rest[..<newline].prefix { $0 != 0x0d && $0 != 0x3b }) ?? ""
            guard let size = Int(line, radix: 16), size >= 0 else { return nil }
            if size == 0 { return String(decoding: body, as: UTF8.self) }
            let content = rest[rest.index(after: newline)...]
            guard content.count >= size + 2 else { return nil }
            body += content.prefix(size)
            rest = content.dropFirst(size + 2)
        }
        return nil
    }

    /// Sends the request when the connection is there, and collects until the server closes. On the connection's loop.
    private final class Exchange: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let request: String
        private let answer: EventLoopPromise<[UInt8]>
        private let bytesMax: Int
        private var bytes: [UInt8] = []

        init(request: String, answer: EventLoopPromise<[UInt8]>, bytesMax: Int) {
            self.request = request
            self.answer = answer
            self.bytesMax = bytesMax
        }

        func channelActive(context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(string: request)), promise: nil)
            context.fireChannelActive()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += unwrapInboundIn(data).readableBytesView
            if bytes.count > bytesMax {
                answer.fail(ChannelError.inputClosed)
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { answer.succeed(bytes) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            answer.fail(error)
            context.close(promise: nil)
        }
    }
}
