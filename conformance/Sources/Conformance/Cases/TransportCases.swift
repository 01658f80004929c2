import Client
import Foundation
import NIOCore
import NIOPosix
import SwiftProtobuf
import Transport
import Wire

/// gRPC over HTTP/2 as it is when things go wrong.
/// Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
enum TransportCases {
    static let all: [Case] = [
        Case(
            "transport", "stream-deadline",
            doc: "A stream ends with DEADLINE_EXCEEDED when its deadline has passed [gRPC deadlines]"
        ) { context in
            let channel = try await context.connect()
            let stream = MessageStream(channel.stream(Paths.watch, deadline: .now() + .milliseconds(400)))
            // Its watch is created before that, usually.
            try? await WatchReader(stream).send(context.watchRequest("a"))
            var item = await stream.next(within: .seconds(5).patient)
            if case .message(let bytes)? = item {
                let answer = try Etcdserverpb_WatchResponse(serializedBytes: bytes)
                try context.expect(answer.created && !answer.canceled, "the watch was not created")
                item = await stream.next(within: .seconds(5).patient)
            }
            guard case .end(let status)? = item else { throw CaseFailure("the stream goes on after its deadline") }
            // The client's clock and the server's race; etcd's own answer has Go's text and no code.
            let isServers = status.code == .unknown && status.message == "context deadline exceeded"
            try context.expect(status.code == .deadlineExceeded || isServers, "the stream ended with \(status)")
        },
        Case(
            "transport", "cancellation",
            doc: "A cancelled stream is gone; others on its connection go on [gRPC cancellation]"
        ) { context in
            let channel = try await context.connect()
            let kept = try await context.watch("a", on: channel)
            for _ in 0..<50 {
                let stream = try await context.watch("a", on: channel)
                stream.stream.cancel()
            }
            try await context.put("a", "1")
            try context.expectEqual(try await kept.events(1).count, 1, "events of the stream that was kept")
        },
        Case(
            "transport", "cancelled-call-leaves-no-trace",
            doc: "Calls that are given up do not harm those that follow [gRPC cancellation]"
        ) { context in
            let request: [UInt8] = try context.listRequest("none").serializedBytes()
            let channel = try await context.connect()
            for _ in 0..<100 {
                let call = Task { try await channel.unary(Paths.range, request) }
                call.cancel()
                _ = try? await call.value
            }
            _ = try await channel.unary(Paths.range, request, deadline: .now() + .seconds(5).patient)
        },
        Case(
            "transport", "malformed-message",
            doc: "A message that is no protobuf is refused, INTERNAL, and the connection goes on [grpc-go]"
        ) { context in
            let channel = try await context.connect()
            for bytes: [UInt8] in [[0xff, 0xff, 0xff], [0x0a, 0x7f, 0x00], [0x08]] {
                try await context.expectError(.internal, nil, "a malformed message") {
                    _ = try await channel.unary(Paths.put, bytes)
                }
            }
            _ = try await channel.unary(Paths.range, try context.listRequest("none").serializedBytes())
        },
        Case(
            "transport", "unknown-fields",
            doc: "Fields that the server does not know are passed over, as newer clients send them [proto3]"
        ) { context in
            var request: [UInt8] = try context.listRequest("none").serializedBytes()
            // Field 1000, a varint; field 1001, five bytes.
            request += [0xc0, 0x3e, 0x01, 0xca, 0x3e, 0x05, 1, 2, 3, 4, 5]
            _ = try await context.target.unary(Paths.range, request, endpoint: context.endpoint)
        },
        Case(
            "transport", "garbage",
            doc: "What is neither HTTP/2 nor HTTP/1 ends its connection, and nobody else's [RFC 9113, section 3.4]"
        ) { context in
            let watch = try await context.watch("a")
            var random = SystemRandomNumberGenerator()
            for size in [1, 24, 100, 10_000] {
                let bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) } + Array("\r\n\r\n".utf8)
                try await send(context, bytes)
                // A good preface, then rubbish.
                try await send(context, Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + bytes)
            }
            try await context.put("a", "1")
            try context.expectEqual(try await watch.events(1).count, 1, "events of another connection")
        },
        Case(
            "transport", "idle-connections",
            doc: "A connection on which nothing was ever sent is no harm [RFC 9113]"
        ) { context in
            for _ in 0..<20 { try await send(context, []) }
            _ = try await context.revision()
        },
        Case(
            "transport", "large-messages-both-ways",
            doc: "Messages far above the flow-control window go through, many at once [RFC 9113, section 5.2]"
        ) { context in
            let value = Data((0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        try await context.put("k\(number)", value, endpoint: number)
                        let row = try await context.get("k\(number)", endpoint: number).kvs.first
                        try context.expect(row?.value == value, "1 MB came back changed")
                    }
                }
                try await group.waitForAll()
            }
        },
        Case(
            "transport", "compressed-request",
            doc: "A gzip-compressed request is understood, or refused with UNIMPLEMENTED naming the encoding "
                + "[gRPC compression]", body: compressed),
        Case(
            "transport", "half-closed-unary",
            doc: "A unary call is answered after the client's last message [gRPC]"
        ) { context in
            let stream = try await context.open(Paths.range)
            try await stream.send(try context.listRequest("none").serializedBytes())
            stream.finish()
            guard case .message? = await stream.next(within: .seconds(5).patient) else {
                throw CaseFailure("no answer")
            }
            guard case .end(let status)? = await stream.next(within: .seconds(5).patient) else {
                throw CaseFailure("no end")
            }
            try context.expectEqual(status.code, .ok, "how the call ended")
        },
        Case(
            "transport", "reconnect",
            doc: "A client whose connection was cut goes on with a new one [gRPC]"
        ) { context in
            for number in 0..<20 {
                let channel = try await context.connect(number)
                let request: [UInt8] = try context.listRequest("none").serializedBytes()
                _ = try await channel.unary(Paths.range, request)
                await channel.close()
            }
        },
    ]

    /// Sends `bytes` on a connection of their own and closes it a moment later.
    private static func send(_ context: CaseContext, _ bytes: [UInt8]) async throws {
        guard case .host(let host, port: let port) = context.target.endpoints[0].address else {
            throw CaseSkip("no TCP endpoint")
        }
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: host, port: port).get()
        if !bytes.isEmpty { try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }
        try await Task.sleep(for: .milliseconds(20))
        try? await channel.close()
    }

    private static let compressed: @Sendable (CaseContext) async throws -> Void = { context in
        guard context.target.tls == nil, case .host(let host, port: let port) = context.target.endpoints[0].address
        else {
            throw CaseSkip("probed over plain TCP only")
        }
        var configuration = ClientConfiguration()
        configuration.compressesRequests = true
        let channel = try await RPCChannel.connect(
            to: .tcp(host: host, port: port), on: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
        var request = Etcdserverpb_PutRequest()
        request.key = context.key("a")
        request.value = Data(repeating: 7, count: 10_000)
        do throws(RPCStatus) {
            let message: [UInt8] = (try? request.serializedBytes()) ?? []
            _ = try await channel.unary(Paths.put, message)
        } catch {
            await channel.close()
            guard error.code == .unimplemented, error.message.contains("gzip") else {
                throw CaseFailure("a compressed request: \(error)")
            }
            return
        }
        await channel.close()
        let row = try await context.get("a").kvs.first
        try context.expect(row?.value == request.value, "the value came otherwise than it was sent")
    }
}
