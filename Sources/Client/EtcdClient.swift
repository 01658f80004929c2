import NIOConcurrencyHelpers
package import NIOCore
import SwiftProtobuf
import Transport
package import TransportSecurity
import Wire

/// A client of an etcd v3 cluster: typed calls over one connection at a time, to the first endpoint that answers.
///
/// Owner thread: none; every method may be called from any task. Connections live on the loops of the group that was
/// passed in.
///
/// Invariants:
/// - A call is sent a second time only when it cannot have been carried out: it never left (no connection could be
///   made), or it only reads and the server was UNAVAILABLE.
/// - Every call ends by its deadline.
package final class EtcdClient: Sendable {
    /// What a client needs to know.
    package struct Configuration: Sendable {
        /// Tried in this order, from the one that answered last. Must not be empty.
        package var endpoints: [Endpoint]
        /// TLS for endpoints with `https`, and for those without a scheme; nil speaks plain text to the latter.
        package var tls: TLSConfiguration?
        /// How long a connection may take.
        package var dialTimeout: TimeAmount = .seconds(2)
        /// How long a unary call may take, with all its attempts.
        package var requestTimeout: TimeAmount = .seconds(5)
        /// The user to authenticate as, before the first call; nil for none.
        package var credentials: Credentials?
        /// Sent with every call as it is, when there are no `credentials`; nil for none.
        package var token: String?
        /// Silence of the server, while a call is open, after which it is pinged; nil never pings. Servers of etcd's
        /// kind close connections that ping more often than every five seconds.
        package var keepaliveTime: TimeAmount?
        /// Silence after such a ping at which the connection is closed and its calls end with UNAVAILABLE.
        package var keepaliveTimeout: TimeAmount = .seconds(20)
        /// The longest request, bytes; a longer one ends with RESOURCE_EXHAUSTED without being sent.
        package var sentMessageBytesMax = Int(Int32.max)
        /// The longest answer, bytes; the call of a longer one ends with RESOURCE_EXHAUSTED.
        package var receivedMessageBytesMax = Int(Int32.max)
        /// Told why an endpoint could not be used; for `--debug`.
        package var onConnectionFailure: @Sendable (Endpoint, ClientError) -> Void = { _, _ in }

        package init(endpoints: [Endpoint]) { self.endpoints = endpoints }

        var transport: ClientConfiguration {
            var transport = ClientConfiguration()
            transport.limits.sentMessageBytesMax = sentMessageBytesMax
            transport.limits.receivedMessageBytesMax = receivedMessageBytesMax
            if let keepaliveTime {
                transport.keepalive.interval = keepaliveTime
                transport.keepalive.timeout = keepaliveTimeout
            }
            return transport
        }
    }

    /// A user of etcd's own authentication.
    package struct Credentials: Sendable {
        package var user: String
        package var password: String

        package init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }

    private struct State {
        var connections: [Int: Connection] = [:]
        var preferred = 0
        var token: String?
        var isClosed = false
    }

    package let configuration: Configuration
    private let group: any EventLoopGroup
    private let state = NIOLockedValueBox(State())

    /// How long to wait before the endpoints are tried again, when none could be used.
    private static let retryDelay = Duration.milliseconds(50)

    /// Makes a client; it connects at the first call.
    package init(_ configuration: Configuration, group: any EventLoopGroup) {
        self.configuration = configuration
        self.group = group
    }

    /// Closes all connections. Calls in flight fail; so does every later one.
    package func close() async {
        let connections = state.withLockedValue { state in
            state.isClosed = true
            defer { state.connections = [:] }
            return Array(state.connections.values)
        }
        for connection in connections { await connection.close() }
    }

    // MARK: Calls

    /// One unary call. `isRead`: it changes nothing and may be repeated at another endpoint.
    func unary<Request: Message, Response: Message>(
        _ path: RPCPath, _ request: Request, isRead: Bool, timeout: TimeAmount? = nil, _: Response.Type = Response.self
    ) async throws(ClientError) -> Response {
        let deadline = NIODeadline.now() + (timeout ?? configuration.requestTimeout)
        let message = try Self.encode(request)
        while true {
            let (connection, index) = try await connection(until: deadline)
            do throws(ClientError) {
                let metadata = try await metadata(connection, until: deadline)
                let reply = try await connection.unary(path, message, metadata: metadata, deadline: deadline)
                return try Self.decode(reply)
            } catch {
                if error.code == .unavailable { await drop(index, connection) }
                if isExpiredToken(error) {
                    state.withLockedValue { $0.token = nil }
                    continue
                }
                guard isRead, error.code == .unavailable, NIODeadline.now() < deadline else { throw error }
                try await pause(until: deadline)
            }
        }
    }

    /// Opens a stream of messages in both directions at the first endpoint that accepts it.
    ///
    /// - Parameter requiresLeader: the stream is to fail when its member has lost the leader for some time, instead of
    ///   staying open and silent.
    func stream(_ path: RPCPath, requiresLeader: Bool = false) async throws(ClientError) -> RPCStream {
        let deadline = NIODeadline.now() + configuration.dialTimeout
        let (connection, _) = try await connection(until: deadline)
        var metadata = try await metadata(connection, until: deadline)
        if requiresLeader { metadata.append(("hasleader", "true")) }
        return connection.stream(path, metadata: metadata)
    }

    static func encode(_ request: some Message) throws(ClientError) -> [UInt8] {
        do { return try request.serializedBytes() } catch {
            throw ClientError(.internal, "the request cannot be encoded: \(error)")
        }
    }

    static func decode<Response: Message>(_ reply: [UInt8]) throws(ClientError) -> Response {
        do { return try Response(serializedBytes: reply) } catch {
            throw ClientError(.internal, "malformed response: \(error)")
        }
    }

    // MARK: Connections

    /// A connection that is open, made now if need be; fails when no endpoint could be reached by `deadline`.
    private func connection(until deadline: NIODeadline) async throws(ClientError) -> (Connection, index: Int) {
        while true {
            let (preferred, isClosed) = state.withLockedValue { ($0.preferred, $0.isClosed) }
            if isClosed { throw ClientError(.cancelled, "the client is closed") }
            for offset in configuration.endpoints.indices {
                let index = (preferred + offset) % configuration.endpoints.count
                if let connection = await open(index, until: deadline) { return (connection, index) }
            }
            try await pause(until: deadline)
        }
    }

    /// The connection to one endpoint, or nil, after saying why, when it cannot be made.
    private func open(_ index: Int, until deadline: NIODeadline) async -> Connection? {
        let known = state.withLockedValue { $0.connections[index] }
        if let known, known.isOpen { return known }
        let endpoint = configuration.endpoints[index]
        do throws(ClientError) {
            let timeout = min(configuration.dialTimeout, max(.nanoseconds(1), deadline - .now()))
            let connection = try await Connection.connect(
                endpoint, tls: configuration.tls, timeout: timeout, transport: configuration.transport, group: group)
            state.withLockedValue { state in
                state.connections[index] = connection
                state.preferred = index
            }
            return connection
        } catch {
            configuration.onConnectionFailure(endpoint, error)
            return nil
        }
    }

    private func drop(_ index: Int, _ connection: Connection) async {
        state.withLockedValue { state in
            if state.connections[index] === connection { state.connections[index] = nil }
            state.preferred = (index + 1) % configuration.endpoints.count
        }
        await connection.close()
    }

    private func pause(until deadline: NIODeadline) async throws(ClientError) {
        if NIODeadline.now() >= deadline { throw ClientError(.deadlineExceeded, "context deadline exceeded") }
        do { try await Task.sleep(for: Self.retryDelay) } catch { throw ClientError(.cancelled, "context canceled") }
    }

    // MARK: Authentication

    /// What goes with every call: the token, once the user is authenticated.
    private func metadata(
        _ connection: Connection, until deadline: NIODeadline
    ) async throws(ClientError) -> [(String, String)] {
        guard let credentials = configuration.credentials else {
            return configuration.token.map { [("token", $0)] } ?? []
        }
        if let token = state.withLockedValue({ $0.token }) { return [("token", token)] }
        var request = Etcdserverpb_AuthenticateRequest()
        request.name = credentials.user
        request.password = credentials.password
        let reply: [UInt8]
        do throws(ClientError) {
            reply = try await connection.unary(
                MethodPath.authenticate, try Self.encode(request), metadata: [], deadline: deadline)
        } catch {
            // A cluster without authentication takes everybody, as etcd's own client does.
            if error.message == "etcdserver: authentication is not enabled" { return [] }
            throw error
        }
        let response: Etcdserverpb_AuthenticateResponse = try Self.decode(reply)
        state.withLockedValue { $0.token = response.token }
        return [("token", response.token)]
    }

    private func isExpiredToken(_ error: ClientError) -> Bool {
        guard configuration.credentials != nil else { return false }
        return error.message == "etcdserver: invalid auth token"
            || error.message == "etcdserver: revision of auth store is old"
    }
}
