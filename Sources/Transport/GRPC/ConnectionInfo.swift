package import NIOCore

/// What is known of a connection before its first byte of HTTP.
package struct ConnectionSecurity: Sendable {
    /// The ALPN result (`h2`, `http/1.1`), nil when none was negotiated: then the first bytes decide.
    package var applicationProtocol: String?
    /// The verified peer, in the security layer's own type; nil without a client certificate.
    package var peerIdentity: (any Sendable)?

    package init(applicationProtocol: String?, peerIdentity: (any Sendable)?) {
        self.applicationProtocol = applicationProtocol
        self.peerIdentity = peerIdentity
    }
}

/// How a connection is secured, without this target knowing by what. All of it runs on the connection's loop.
package struct PipelineSecurity: Sendable {
    /// Adds the security handlers to an empty pipeline; the HTTP handler is added after them.
    package let install: @Sendable (any Channel) throws -> Void
    /// Recognises the user inbound event that ends the handshake; nil for every other event. Nothing is read before it.
    package let inspect: @Sendable (Any) -> ConnectionSecurity?

    package init(
        install: @escaping @Sendable (any Channel) throws -> Void,
        inspect: @escaping @Sendable (Any) -> ConnectionSecurity?
    ) {
        self.install = install
        self.inspect = inspect
    }
}

/// One connection, as calls and HTTP requests see it. Immutable.
package final class ConnectionInfo: Sendable {
    package let remoteAddress: SocketAddress?
    package let localAddress: SocketAddress?
    /// Whether a security layer is installed.
    package let isSecure: Bool
    /// See `ConnectionSecurity.peerIdentity`.
    package let peerIdentity: (any Sendable)?
    /// The name the listener was bound under.
    package let listener: String

    init(
        remoteAddress: SocketAddress?, localAddress: SocketAddress?, isSecure: Bool, peerIdentity: (any Sendable)?,
        listener: String
    ) {
        self.remoteAddress = remoteAddress
        self.localAddress = localAddress
        self.isSecure = isSecure
        self.peerIdentity = peerIdentity
        self.listener = listener
    }
}
