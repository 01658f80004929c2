import Client
import Foundation
import NIOCore
import NIOPosix
import Primitives
import SwiftProtobuf
import Synchronization
import Transport
import Wire

/// A gRPC proxy between the suite and a real server that falsifies what goes through.
///
/// Owner: the test; its calls run on the loops of NIO's singleton group.
final class MutationProxy: Sendable {
    let endpoint: Endpoint
    private let server: GRPCServer
    private let upstream: RPCChannel

    private init(endpoint: Endpoint, server: GRPCServer, upstream: RPCChannel) {
        self.endpoint = endpoint
        self.server = server
        self.upstream = upstream
    }

    /// Listens on a free port and forwards to the server on `port`.
    static func start(toPort port: Int, _ mutation: Mutation) async throws -> MutationProxy {
        let group = MultiThreadedEventLoopGroup.singleton
        let upstream = try await RPCChannel.connect(to: .tcp(host: "127.0.0.1", port: port), on: group)
        var configuration = ServerConfiguration()
        configuration.limits.receivedMessageBytesMax = 64 * 1024 * 1024
        let server = try await GRPCServer.make(
            group: group, configuration: configuration,
            dispatcher: { _ in ProxyDispatcher(upstream: upstream, mutation: mutation) })
        let address = try await server.bind(.init(address: .tcp(host: "127.0.0.1", port: 0)))
        guard let endpoint = Endpoint("http://127.0.0.1:\(address.port ?? 0)") else { throw TestFailure("no endpoint") }
        return MutationProxy(endpoint: endpoint, server: server, upstream: upstream)
    }

    func stop() async {
        await server.shutdown(gracePeriod: .milliseconds(0))
        await upstream.close()
    }
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Forwards the calls of one loop.
private final class ProxyDispatcher: RPCDispatcher {
    private static let methods = Wire.RPCMethod.table.map { method in
        (
            path: String(decoding: method.path.array, as: UTF8.self),
            kind: method.streaming == .unary
                ? RPCKind.unary : method.streaming == .serverStreaming ? .serverStreaming : .bidirectional
        )
    }
    private static let table = RPCMethodTable(methods)
    private static let paths = methods.map { RPCPath(immortal: $0.path) }

    private let upstream: RPCChannel
    private let mutation: Mutation

    init(upstream: RPCChannel, mutation: Mutation) {
        self.upstream = upstream
        self.mutation = mutation
    }

    var methodCount: Int { Self.table.count }

    func resolve(path: UnsafeRawBufferPointer) -> Transport.RPCMethod? { Self.table.find(path) }

    func hasService(_ service: String) -> Bool { Self.table.hasService(service) }

    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) {
        let (upstream, mutation) = (upstream, mutation)
        let method = Self.methods[call.method.index].path
        let path = Self.paths[call.method.index]
        let request = mutation.request(method, [UInt8](message))
        let deadline = call.deadline
        Task {
            do throws(RPCStatus) {
                if let answer = mutation.instead(method, request) {
                    call.eventLoop.execute { call.reply(answer) }
                    return
                }
                var reply = try await upstream.unary(path, request, deadline: deadline)
                if mutation.isRepeated(method) { reply = try await upstream.unary(path, request, deadline: deadline) }
                let answer = mutation.reply(method, request, reply)
                call.eventLoop.execute { call.reply(answer) }
            } catch {
                let status = mutation.status(error)
                call.eventLoop.execute { call.fail(status) }
            }
        }
    }

    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? {
        let method = Self.methods[call.method.index].path
        return ProxyStream(call, method, upstream.stream(Self.paths[call.method.index]), mutation)
    }
}

/// Forwards one streaming call: requests in order by one task, answers by another.
private final class ProxyStream: RPCStreamHandler {
    private let requests: AsyncStream<[UInt8]>.Continuation
    private let stream: RPCStream
    private let method: String
    private let mutation: Mutation

    init(_ call: RPCCall, _ method: String, _ stream: RPCStream, _ mutation: Mutation) {
        self.stream = stream
        self.method = method
        self.mutation = mutation
        let (queue, continuation) = AsyncStream.makeStream(of: [UInt8].self)
        requests = continuation
        Task {
            for await request in queue { try? await stream.send(request) }
            stream.finishSending()
        }
        let state = mutation.makeStream(method)
        Task {
            do throws(RPCStatus) {
                while let message = try await stream.next() {
                    let answers = state.answers(message)
                    call.eventLoop.execute { for answer in answers { call.send(answer) } }
                }
                call.eventLoop.execute { call.finish() }
            } catch {
                let status = mutation.status(error)
                call.eventLoop.execute { call.fail(status) }
            }
        }
    }

    func received(message: UnsafeRawBufferPointer) { requests.yield(mutation.request(method, [UInt8](message))) }
    func halfClosed() { requests.finish() }

    func cancelled() {
        requests.finish()
        stream.cancel()
    }
}
