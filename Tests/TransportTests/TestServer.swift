import CNghttp2
import NIOCore
import NIOEmbedded
import Primitives
import Testing

@testable import Transport

/// What the test service does is in the names of its methods.
final class TestDispatcher: RPCDispatcher {
    static let methods: [(path: String, kind: RPCKind)] = [
        ("/test.T/Echo", .unary), ("/test.T/Hold", .unary), ("/test.T/Fail", .unary), ("/test.T/Sliced", .unary),
        ("/test.T/Bidi", .bidirectional), ("/test.T/Source", .serverStreaming), ("/test.T/Many", .serverStreaming),
        ("/test.T/Collect", .clientStreaming),
    ]
    static let table = RPCMethodTable(methods)

    let methodCount = TestDispatcher.table.count
    var held: [RPCCall] = []
    var cancelled = 0
    var handlers: [TestHandler] = []
    var bodies: [TestBody] = []
    var lastMetadata: String?

    func resolve(path: UnsafeRawBufferPointer) -> RPCMethod? { Self.table.find(path) }
    func hasService(_ service: String) -> Bool { Self.table.hasService(service) }

    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) {
        lastMetadata = call.metadata("x-test")
        switch Self.methods[call.method.index].path {
        case "/test.T/Echo": call.reply(size: message.count) { $0.copyMemory(from: message) }
        case "/test.T/Hold": held.append(call)
        case "/test.T/Fail":
            call.fail(RPCStatus(.failedPrecondition, "no: \(String(decoding: message, as: UTF8.self)) ü%\n"))
        default:
            let numbers = String(decoding: message, as: UTF8.self).split(separator: " ").compactMap { Int($0) }
            guard numbers.count == 2, numbers.allSatisfy({ (0...10_000_000).contains($0) }) else {
                return call.fail(RPCStatus(.invalidArgument, "two numbers are wanted"))
            }
            let body = TestBody(length: numbers[1])
            bodies.append(body)
            call.reply(length: numbers[0], body: body)
        }
    }

    func unaryCancelled(_ call: RPCCall) { cancelled += 1 }

    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? {
        let handler = TestHandler(call)
        handlers.append(handler)
        return handler
    }
}

/// Bidi echoes; Source pulls as many messages of 1000 bytes as asked; Many pushes them; Collect answers the sum of
/// sizes.
final class TestHandler: RPCStreamHandler, RPCMessageSource {
    let call: RPCCall
    let name: String
    var messages: [[UInt8]] = []
    var events: [String] = []
    var left = 0
    var pulls = 0

    init(_ call: RPCCall) {
        self.call = call
        name = String(TestDispatcher.methods[call.method.index].path.dropFirst(8))
    }

    func received(message: UnsafeRawBufferPointer) {
        messages.append([UInt8](message))
        switch name {
        case "Bidi": call.send(size: message.count) { $0.copyMemory(from: message) }
        case "Source", "Many":
            left = max(1, min(100_000, Int(String(decoding: message, as: UTF8.self)) ?? 1))
            if name == "Source" { call.stream(from: self) } else { push() }
        case "Collect" where message.count == 7:
            call.pauseReceiving()
            call.resumeReceiving()
        default: break
        }
    }

    func push() {
        while left > 0, call.isWritable {
            left -= 1
            call.send([UInt8](repeating: UInt8(left & 0xff), count: 1000))
        }
        if left == 0, call.isLive { call.finish() }
    }

    func nextMessage(_ call: RPCCall) -> Bool {
        pulls += 1
        left -= 1
        call.send([UInt8](repeating: UInt8(left & 0xff), count: 1000))
        return left > 0
    }

    func halfClosed() {
        events.append("halfClosed")
        if name == "Bidi" { call.finish() }
        if name == "Collect" { call.reply(Array("\(messages.reduce(0) { $0 + $1.count })".utf8)) }
    }

    func cancelled() { events.append("cancelled") }

    func writable() {
        events.append("writable")
        if name == "Many" { push() }
    }

    func shuttingDown() { events.append("shuttingDown") }
}

/// Counting bytes, in as many as asked for.
final class TestBody: SlicedBody {
    let length: Int
    var produced = 0
    var largest = 0
    var isCancelled = false

    init(length: Int) { self.length = length }

    func next(maxBytes: Int, into buffer: inout ByteBuffer) -> Bool {
        let count = min(maxBytes, length - produced)
        for offset in 0..<count { buffer.writeInteger(UInt8(truncatingIfNeeded: produced + offset)) }
        produced += count
        largest = max(largest, count)
        return produced < length
    }

    func cancelled() { isCancelled = true }
}

/// Answers what it is asked for: `/echo` the body, `/later` when told, everything else its own path.
final class TestResponder: HTTPResponder {
    var later: [HTTPReply] = []

    func respond(to request: HTTPRequest, reply: HTTPReply) {
        switch request.path {
        case "/echo": reply.send(HTTPResponse(status: 200, body: request.body))
        case "/later": later.append(reply)
        case "/drop": break
        case "/parts":
            reply.start(HTTPResponse(status: 200, headers: [("content-type", "text/plain")]))
            reply.write(ByteBuffer(string: "one"))
            reply.write(ByteBuffer(string: "two"))
            reply.end()
        default:
            reply.send(HTTPResponse(status: 200, text: "\(request.method) \(request.path)?\(request.query)\n"))
        }
    }
}

/// One server connection on an embedded channel: bytes in, bytes out, time as told.
final class EmbeddedServer {
    let channel = EmbeddedChannel()
    let dispatcher = TestDispatcher()
    let responder = TestResponder()
    let loop: ServerLoop
    private var written: [UInt8] = []
    /// All that was ever written.
    var everything: [UInt8] { written }

    init(
        _ configuration: ServerConfiguration = ServerConfiguration(), isGRPCEnabled: Bool = true,
        hasResponder: Bool = true, security: PipelineSecurity? = nil
    ) throws {
        let (dispatcher, responder) = (dispatcher, responder)
        let boxed = NIOLoopBound(responder, eventLoop: channel.eventLoop)
        loop = ServerLoop(
            eventLoop: channel.eventLoop, dispatcher: dispatcher, configuration: configuration,
            responders: { _, _ in hasResponder ? boxed.value : nil })
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        let listener = GRPCServer.Listener(
            address: .tcp(host: "", port: 0), name: "test", security: security, isGRPCEnabled: isGRPCEnabled)
        try channel.pipeline.syncOperations.addHandler(HTTPConnectionHandler(loop: loop, listener: listener))
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

    /// The HTTP/2 side, once the preface has come.
    var http2: ServerConnection? {
        (try? channel.pipeline.syncOperations.handler(type: HTTPConnectionHandler.self))?.http2
    }

    var isOpen: Bool { channel.isActive }

    /// Gives `bytes` as one read.
    func send(_ bytes: [UInt8]) {
        guard channel.isActive else { return }
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        channel.embeddedEventLoop.run()
    }

    /// All that was written since the last call.
    func output() -> [UInt8] {
        channel.embeddedEventLoop.run()
        var bytes: [UInt8] = []
        while let buffer = try? channel.readOutbound(as: ByteBuffer.self) { bytes += Array(buffer.readableBytesView) }
        written += bytes
        return bytes
    }

    /// The streams of the DATA frames written so far, in order.
    func frameOrder(streams: [UInt32]) -> [UInt32] {
        RawFrames.parse(written).filter { $0.type == 0 && streams.contains($0.stream) }.map(\.stream)
    }

    func disconnect() {
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
    }

    func advance(_ time: TimeAmount) { channel.embeddedEventLoop.advanceTime(by: time) }
}

/// A client without opinions: sends whatever headers and bytes it is told to, remembers all that comes back.
final class Probe: HTTP2Session {
    struct Answer {
        var headers: [(name: String, value: String)] = []
        var data: [UInt8] = []
        var isEnded = false
        var closedWith: HTTP2ErrorCode?

        func header(_ name: String) -> String? { headers.last { $0.name == name }?.value }
        var status: Int? { header("grpc-status").flatMap { Int($0) } }
        var message: String {
            header("grpc-message").map { text in Array(text.utf8).withUnsafeBytes { PercentEncoding.decode($0) } } ?? ""
        }
        /// The payloads of the messages; nil when they are not whole.
        var messages: [[UInt8]]? {
            var rest = data[...]
            var list: [[UInt8]] = []
            while !rest.isEmpty {
                guard rest.count >= 5 else { return nil }
                let length = rest.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
                guard rest.count >= 5 + length else { return nil }
                list.append(Array(rest.dropFirst(5).prefix(length)))
                rest = rest.dropFirst(5 + length)
            }
            return list
        }
    }

    let server: EmbeddedServer
    var answers: [Int32: Answer] = [:]
    var goAway: (code: HTTP2ErrorCode, debug: String)?
    var pongs = 0
    var pings = 0
    var consumes = true
    private var current: Int32 = 0

    init(_ server: EmbeddedServer, window: Int32 = 1 << 20) {
        self.server = server
        var limits = HTTP2Limits()
        limits.streamWindowBytes = window
        super.init(
            limits: limits, isServer: false, output: OutputBuffer(allocator: ByteBufferAllocator()), now: .now())
        exchange()
    }

    /// Moves bytes both ways until neither side has any.
    func exchange() {
        while true {
            _ = drain(upTo: 1 << 20)
            let out = Array(output.bytes.readableBytesView)
            output.bytes.clear()
            if !out.isEmpty { server.send(out) }
            let answer = server.output()
            if !answer.isEmpty { _ = answer.withUnsafeBytes { receive($0) } }
            if out.isEmpty, answer.isEmpty { return }
        }
    }

    static let grpc: [(name: String, value: String)] = [
        (":method", "POST"), (":scheme", "http"), (":authority", "a"), ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]

    /// Opens a stream with raw `body` bytes.
    @discardableResult
    func open(
        _ path: String, headers: [(name: String, value: String)] = Probe.grpc,
        more: [(name: String, value: String)] = [], body: [UInt8] = [], end: Bool = true, exchanging: Bool = true
    ) -> Int32 {
        let pseudo = headers.filter { $0.name.hasPrefix(":") } + [(name: ":path", value: path)]
        let list = pseudo + headers.filter { !$0.name.hasPrefix(":") } + more
        let stream = ProbeStream()
        body.withUnsafeBytes { stream.outbound.append($0) }
        stream.outboundClosed = end
        var provider = nghttp2_data_provider()
        let pointer = Unmanaged.passUnretained(stream as HTTP2Stream).toOpaque()
        provider.source.ptr = pointer
        provider.read_callback = readData
        let id = withHeaderFields(list) { nghttp2_submit_request(session, nil, $0, $1, &provider, pointer) }
        adopt(stream, id: id)
        outboundBufferedBytes += body.count
        answers[id] = Answer()
        if exchanging { exchange() }
        return id
    }

    func write(_ id: Int32, _ bytes: [UInt8], end: Bool = false) {
        guard let stream = stream(id) else { return }
        bytes.withUnsafeBytes { stream.outbound.append($0) }
        outboundBufferedBytes += bytes.count
        stream.outboundClosed = end
        resume(stream)
        exchange()
    }

    /// A unary call: one message, the whole answer.
    func call(
        _ path: String, _ message: [UInt8], more: [(name: String, value: String)] = []
    ) -> Answer { answers[open(path, more: more, body: frame(message))]! }

    override func headersBegan(streamID: Int32, category: nghttp2_headers_category) -> Bool { true }

    override func header(streamID: Int32, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        answers[streamID, default: Answer()].headers.append(
            (String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
    }

    override func headersEnded(streamID: Int32, category: nghttp2_headers_category, endStream: Bool) {
        if endStream { answers[streamID]?.isEnded = true }
    }

    override func dataReceived(streamID: Int32, bytes: UnsafeRawBufferPointer) {
        answers[streamID]?.data += Array(bytes)
        if consumes { giveBack(bytes.count, streamID: streamID) }
    }

    override func dataFrameEnded(streamID: Int32, length: Int, endStream: Bool) {
        if endStream { answers[streamID]?.isEnded = true }
    }

    override func streamClosed(streamID: Int32, code: HTTP2ErrorCode) {
        answers[streamID]?.closedWith = code
        if let position = stream(streamID)?.position { _ = removeStream(at: position) }
    }

    override func pingReceived(acknowledgement: Bool, payload: UInt64) {
        if acknowledgement { pongs += 1 } else { pings += 1 }
    }

    override func goAwayReceived(lastStreamID: Int32, code: HTTP2ErrorCode, debug: UnsafeRawBufferPointer) {
        goAway = (code, String(decoding: debug, as: UTF8.self))
    }
}

final class ProbeStream: HTTP2Stream {}

/// `message` with gRPC's prefix.
func frame(_ message: [UInt8], compressed: Bool = false) -> [UInt8] {
    let count = UInt32(message.count)
    return [compressed ? 1 : 0] + withUnsafeBytes(of: count.bigEndian) { Array($0) } + message
}

func text(_ string: String) -> [UInt8] { Array(string.utf8) }

/// HTTP/2 frames by hand, for what no library would send.
enum RawFrames {
    static let preface = text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        let count = payload.count
        return [UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff), type, flags]
            + withUnsafeBytes(of: stream.bigEndian) { Array($0) } + payload
    }

    static let start = preface + frame(4)

    /// Literal fields, not indexed, not compressed.
    static func fields(_ list: [(name: String, value: String)]) -> [UInt8] {
        list.flatMap { field in
            [0] + integer(field.name.utf8.count) + text(field.name) + integer(field.value.utf8.count)
                + text(field.value)
        }
    }

    static func integer(_ value: Int) -> [UInt8] {
        guard value >= 127 else { return [UInt8(value)] }
        var bytes: [UInt8] = [127]
        var rest = value - 127
        while rest >= 128 {
            bytes.append(UInt8(rest & 0x7f | 0x80))
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    static func headers(stream: UInt32, path: String = "/test.T/Echo", end: Bool = false) -> [UInt8] {
        frame(1, flags: end ? 5 : 4, stream: stream, fields(request(path)))
    }

    static func request(_ path: String) -> [(name: String, value: String)] {
        [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ]
    }

    static func data(stream: UInt32, _ bytes: [UInt8], end: Bool = true) -> [UInt8] {
        frame(0, flags: end ? 1 : 0, stream: stream, bytes)
    }

    /// The frames of `bytes`: type, flags, stream, payload.
    static func parse(_ bytes: [UInt8]) -> [(type: UInt8, flags: UInt8, stream: UInt32, payload: [UInt8])] {
        var rest = bytes[...]
        var list: [(type: UInt8, flags: UInt8, stream: UInt32, payload: [UInt8])] = []
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let stream = UInt32(head[5]) << 24 | UInt32(head[6]) << 16 | UInt32(head[7]) << 8 | UInt32(head[8])
            list.append((head[3], head[4], stream, Array(rest.dropFirst(9).prefix(length))))
            rest = rest.dropFirst(9 + length)
        }
        return list
    }

    /// The last GOAWAY among `bytes`.
    static func goAway(_ bytes: [UInt8]) -> (code: UInt32, debug: String)? {
        parse(bytes).last { $0.type == 7 }.map { frame in
            (
                frame.payload[4..<8].reduce(0) { $0 << 8 | UInt32($1) },
                String(decoding: frame.payload.dropFirst(8), as: UTF8.self)
            )
        }
    }
}
