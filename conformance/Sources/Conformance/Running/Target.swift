package import Client
package import NIOCore
import NIOPosix
package import SwiftProtobuf
import Synchronization
package import Transport
package import TransportSecurity

/// The server or cluster under test: one connection to each endpoint, made when it is first needed and again after it
/// was lost. Any task may use it.
package final class Target: Sendable {
    package let endpoints: [Endpoint]
    package let tls: TLSConfiguration?
    private let channels = Mutex<[Int: RPCChannel]>([:])
    private let lost = Mutex<Set<Int>>([])

    /// How long a call may take unless a case says otherwise.
    package static var callTimeout: TimeAmount { .seconds(15).patient }
    private static var dialTimeout: TimeAmount { .seconds(5).patient }

    /// `endpoints` must not be empty.
    package init(endpoints: [Endpoint], tls: TLSConfiguration? = nil) {
        self.endpoints = endpoints
        self.tls = tls
    }

    /// The shared connection to the endpoint with this number (modulo their count). Throws UNAVAILABLE.
    package func channel(_ number: Int = 0) async throws(RPCStatus) -> RPCChannel {
        let index = number % endpoints.count
        let isLost = lost.withLock { $0.remove(index) != nil }
        if !isLost, let known = channels.withLock({ $0[index] }) { return known }
        let made = try await connect(index)
        channels.withLock { $0[index] = made }
        lost.withLock { _ = $0.remove(index) }
        made.closed.whenComplete { [weak self] _ in self?.forget(index, made) }
        return made
    }

    private func forget(_ index: Int, _ channel: RPCChannel) {
        let isCurrent = channels.withLock { channels in
            guard channels[index] === channel else { return false }
            channels[index] = nil
            return true
        }
        if isCurrent { lost.withLock { _ = $0.insert(index) } }
    }

    /// A connection of its own, which the caller closes. Throws UNAVAILABLE.
    package func connect(_ number: Int = 0, tls other: TLSConfiguration? = nil) async throws(RPCStatus) -> RPCChannel {
        do throws(ClientError) {
            let endpoint = endpoints[number % endpoints.count]
            return try await Dialer(endpoint, tls: other ?? tls, timeout: Self.dialTimeout)
                .connect(on: MultiThreadedEventLoopGroup.singleton)
        } catch { throw RPCStatus(error.code, error.message) }
    }

    /// One unary call with encoded messages.
    package func unary(
        _ path: RPCPath, _ message: [UInt8], endpoint: Int = 0, metadata: [(String, String)] = [],
        timeout: TimeAmount = Target.callTimeout
    ) async throws(RPCStatus) -> [UInt8] {
        let channel = try await channel(endpoint)
        return try await channel.unary(
            path, message, metadata: metadata.map { (name: $0.0, value: $0.1) }, deadline: .now() + timeout)
    }

    /// One unary call.
    package func call<Request: Message, Response: Message>(
        _ path: RPCPath, _ request: Request, endpoint: Int = 0, metadata: [(String, String)] = [],
        timeout: TimeAmount = Target.callTimeout, _: Response.Type = Response.self
    ) async throws(RPCStatus) -> Response {
        let message: [UInt8]
        do { message = try request.serializedBytes() } catch { throw RPCStatus(.internal, "\(error)") }
        let reply = try await unary(path, message, endpoint: endpoint, metadata: metadata, timeout: timeout)
        do { return try Response(serializedBytes: reply) } catch {
            throw RPCStatus(.internal, "the answer cannot be decoded: \(error)")
        }
    }

    /// Closes all shared connections.
    package func close() async {
        let open = channels.withLock { channels in
            defer { channels = [:] }
            return Array(channels.values)
        }
        for channel in open { await channel.close() }
    }
}
