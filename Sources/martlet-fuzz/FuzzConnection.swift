import NIOCore
import NIOEmbedded

@testable import Transport

/// Gives one server connection the bytes of a client, in pieces; a connection that is open at the end is then cut off.
/// HTTP/2 and gRPC framing, or HTTP/1.1 when the bytes begin like that.
func fuzzConnection(_ bytes: UnsafeRawBufferPointer) {
    guard let pieceBytes = bytes.first.map({ Int($0) + 1 }) else { return }
    let channel = EmbeddedChannel()
    let responder = NIOLoopBound(EchoResponder(), eventLoop: channel.eventLoop)
    let loop = ServerLoop(
        eventLoop: channel.eventLoop, dispatcher: EchoDispatcher(), configuration: ServerConfiguration(),
        responders: { _, _ in responder.value })
    let listener = GRPCServer.Listener(
        address: .tcp(host: "", port: 0), name: "fuzz", security: nil, isGRPCEnabled: true)
    guard let address = try? SocketAddress(ipAddress: "127.0.0.1", port: 1),
        (try? channel.connect(to: address).wait()) != nil,
        (try? channel.pipeline.syncOperations.addHandler(HTTPConnectionHandler(loop: loop, listener: listener)))
            != nil
    else { fatalError("an embedded channel refused its handler") }
    var rest = bytes.dropFirst()
    while !rest.isEmpty, channel.isActive {
        _ = try? channel.writeInbound(ByteBuffer(bytes: rest.prefix(pieceBytes)))
        rest = rest.dropFirst(pieceBytes)
        channel.embeddedEventLoop.run()
        while (try? channel.readOutbound(as: ByteBuffer.self)) != nil {}
    }
    _ = try? channel.finish(acceptAlreadyClosed: true)
    precondition(loop.handlers.isEmpty, "a closed connection is still known")
    precondition(loop.counters.streamsOpened == loop.counters.streamsClosed, "a stream outlives its connection")
}

/// Methods of every kind that send back what they get.
private final class EchoDispatcher: RPCDispatcher {
    private static let table = RPCMethodTable([
        ("/f.F/U", .unary), ("/f.F/S", .serverStreaming), ("/f.F/C", .clientStreaming), ("/f.F/B", .bidirectional),
    ])

    var methodCount: Int { Self.table.count }
    func resolve(path: UnsafeRawBufferPointer) -> RPCMethod? { Self.table.find(path) }
    func hasService(_ service: String) -> Bool { Self.table.hasService(service) }
    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) { call.reply(Array(message)) }
    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? { EchoStream(call) }
}

private final class EchoStream: RPCStreamHandler {
    private let call: RPCCall
    init(_ call: RPCCall) { self.call = call }
    func received(message: UnsafeRawBufferPointer) { call.send(Array(message)) }
    func halfClosed() { call.finish() }
    func cancelled() {}
}

private final class EchoResponder: HTTPResponder {
    func respond(to request: HTTPRequest, reply: HTTPReply) {
        reply.send(HTTPResponse(status: 200, text: "\(request.method) \(request.path)\n"))
    }
}
