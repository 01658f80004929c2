package import SwiftProtobuf
import Transport
package import Wire

/// A call that sends and receives any number of messages. Iterate it in one task; `send` may be called from others.
package struct TypedStream<Request: Message & Sendable, Response: Message & Sendable>: AsyncSequence, Sendable {
    let stream: RPCStream

    /// Sends one message.
    package func send(_ request: Request) async throws(ClientError) {
        let message = try EtcdClient.encode(request)
        do throws(RPCStatus) { try await stream.send(message) } catch { throw ClientError(error) }
    }

    /// Says that no more messages will be sent.
    package func finish() { stream.finishSending() }

    /// Ends the call at once.
    package func cancel() { stream.cancel() }

    package struct AsyncIterator: AsyncIteratorProtocol {
        let stream: RPCStream

        /// The next message; nil after the server ended the call with OK. Throws `ClientError`.
        package mutating func next() async throws -> Response? { try await nextMessage() }

        /// As `next()`, with the error's type.
        package mutating func nextMessage() async throws(ClientError) -> Response? {
            let message: [UInt8]?
            do throws(RPCStatus) { message = try await stream.next() } catch { throw ClientError(error) }
            guard let message else { return nil }
            return try EtcdClient.decode(message) as Response
        }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: stream) }
}

/// The streams of the protocol.
extension EtcdClient {
    package typealias WatchStream = TypedStream<Etcdserverpb_WatchRequest, Etcdserverpb_WatchResponse>
    package typealias KeepAliveStream = TypedStream<
        Etcdserverpb_LeaseKeepAliveRequest, Etcdserverpb_LeaseKeepAliveResponse
    >
    package typealias SnapshotStream = TypedStream<Etcdserverpb_SnapshotRequest, Etcdserverpb_SnapshotResponse>

    /// A stream for watches: send create, cancel and progress requests, receive the answers of all of them.
    ///
    /// - Parameter requiresLeader: as of Kubernetes' watches: fail when the member has had no leader for some time.
    package func watchStream(requiresLeader: Bool = false) async throws(ClientError) -> WatchStream {
        return WatchStream(stream: try await stream(MethodPath.watch, requiresLeader: requiresLeader))
    }

    /// A stream with one watch. The first answer has `created`, or `canceled` with the reason.
    package func watch(
        _ create: Etcdserverpb_WatchCreateRequest, requiresLeader: Bool = false
    ) async throws(ClientError) -> WatchStream {
        let stream = try await watchStream(requiresLeader: requiresLeader)
        var request = Etcdserverpb_WatchRequest()
        request.createRequest = create
        try await stream.send(request)
        return stream
    }

    /// A stream that renews leases: one answer for each request.
    package func leaseKeepAliveStream() async throws(ClientError) -> KeepAliveStream {
        return KeepAliveStream(stream: try await stream(MethodPath.leaseKeepAlive))
    }

    /// The parts of a snapshot of the member's store, in order; the last 32 bytes of all are the SHA-256 of the rest.
    package func snapshot() async throws(ClientError) -> SnapshotStream {
        let stream = SnapshotStream(stream: try await stream(MethodPath.snapshot))
        try await stream.send(Etcdserverpb_SnapshotRequest())
        stream.finish()
        return stream
    }
}
