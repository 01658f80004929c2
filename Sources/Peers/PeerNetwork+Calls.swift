import Logging
import NIOConcurrencyHelpers
package import NIOCore
package import Primitives
package import Transport

extension PeerNetwork {
    /// Asks another member. `completion` is called exactly once, on an event loop; with UNAVAILABLE when the member
    /// cannot be reached now. Any thread.
    package func call(
        to member: MemberID, method: UInt32, body: Bytes, timeout: TimeAmount,
        completion: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {
        guard body.count <= configuration.limits.callBytesMax else {
            return refuse(RPCStatus(.resourceExhausted, "a call of \(body.count) bytes is too large"), completion)
        }
        guard let link = link(member) else {
            return refuse(RPCStatus(.unavailable, "peer \(PeerProtocol.hex(member)) is not known"), completion)
        }
        let call = PeerCall(method: method, body: body)
        link.eventLoop.execute { link.call(call, timeout: timeout, completion: completion) }
    }

    /// As above, for tasks.
    package func call(
        to member: MemberID, method: UInt32, body: Bytes, timeout: TimeAmount
    ) async throws(RPCStatus) -> Bytes {
        let result = await withCheckedContinuation { continuation in
            call(to: member, method: method, body: body, timeout: timeout) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Cluster and members as told by the first of `urls` that answers. Throws `unreachable` with each URL's reason.
    package static func fetchMembers(
        from urls: [PeerURL], tls: PeerTLS?, timeout: TimeAmount, group: any EventLoopGroup
    ) async throws(PeerError) -> FetchedMembers {
        let silent = Logger(label: "peers", factory: { _ in SwiftLogNoOpLogHandler() })
        var limits = PeerLimits()
        limits.connectTimeout = timeout
        let dialer = PeerDialer(security: try PeerSecurity(tls, logger: silent), limits: limits)
        var reasons: [String] = []
        for url in urls {
            let connection: PeerConnection
            do throws(RPCStatus) { connection = try await dialer.connect(url, on: group.next()) } catch {
                reasons.append("\(url): \(error.message)")
                continue
            }
            do {
                let answer = try await connection.channel.unary(
                    PeerProtocol.membersPath, [], deadline: .now() + timeout)
                connection.close()
                return try answer.withUnsafeBytes { try FetchedMembers(decoding: $0) }
            } catch {
                connection.close()
                reasons.append("\(url): \((error as? RPCStatus).map(connection.reason) ?? "\(error)")")
            }
        }
        throw PeerError(
            .unreachable, "no peer tells its members: \(reasons.isEmpty ? "no URL" : reasons.joined(separator: "; "))")
    }
}

/// What a member says of its cluster.
package struct FetchedMembers: Sendable, Equatable {
    package var clusterID: UInt64
    /// Who answered.
    package var memberID: MemberID
    /// `PeerDelegate.membersBytes()` of who answered.
    package var members: Bytes

    package init(clusterID: UInt64, memberID: MemberID, members: Bytes) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.members = members
    }
}

/// The server of a network, once it is started and until it is stopped. Any thread.
final class StartedServer: Sendable {
    private let server = NIOLockedValueBox<GRPCServer?>(nil)

    func set(_ server: GRPCServer) { self.server.withLockedValue { $0 = server } }

    func take() -> GRPCServer? {
        server.withLockedValue { server in
            defer { server = nil }
            return server
        }
    }
}
