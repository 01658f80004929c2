/// TLS for every connection of Martlet: the system's OpenSSL 3 inside one SwiftNIO handler.
///
/// `TLSConfiguration` says what is wanted, `TLSContextSource` turns it into immutable `TLSContext`s and replaces them
/// when the files change, `TLSHandler` runs one connection, and `TLSSession` is the protocol itself: a struct without
/// I/O that turns ciphertext into plaintext, so that it can be driven byte by byte and fuzzed without a socket.
///
/// Owner thread: a handler and its session belong to the event loop of their channel. A context is immutable; a source
/// may be used from any thread.
///
/// Invariants:
/// - No plaintext is passed up, and none is sent, before the handshake is complete and the peer's certificate has
///   passed every check (chain, purpose, names, revocation); the checks run inside the handshake, so that the peer
///   gets the alert that says why.
/// - No session is resumed: a change of CA, names or revocation list holds for every later connection.
/// - A new context is used only after all its files have been read, parsed and matched; until then the old one serves.
/// - The bytes held for a connection are bounded by `TLSLimits`; what OpenSSL holds is one record each way.

/// The bounds of one TLS connection, each with its unit and what happens when it is reached.
package struct TLSLimits: Sendable, Equatable {
    /// Milliseconds from the start of the connection to the end of the handshake; then it is closed with an error.
    package var handshakeTimeoutMilliseconds: Int64 = 10_000
    /// Milliseconds that a close waits for the last bytes to leave; then the channel is closed without them.
    package var closeTimeoutMilliseconds: Int64 = 5_000
    /// Bytes of plaintext that may wait for the handshake to finish; beyond it the connection is closed with an error.
    package var handshakePendingBytesMax: Int = 4 << 20
    /// Bytes of plaintext after which writes are encrypted and handed to the channel without waiting for a flush, so
    /// that the channel's own watermarks see them.
    package var unsealedBytesMax: Int = 64 << 10
    /// Bytes of ciphertext in one buffer; a larger flush is handed to the channel in several.
    package var sealedBatchBytesMax: Int = 256 << 10
    /// Bytes of answers (key updates) produced while the channel cannot write; beyond it the connection is closed.
    package var controlBytesMax: Int = 64 << 10

    package init() {}

    /// Largest plaintext of one record (RFC 8446, 5.1), bytes.
    static let recordBytesMax = 16 << 10
    /// More than any record adds to its plaintext (header, nonce, tag, padding to a block), bytes.
    static let recordOverheadBytesMax = 128
    /// Room for what OpenSSL writes while it reads (alerts, key updates), bytes.
    static let controlRoomBytes = 512
    /// Room for one flight of the handshake; a longer chain of certificates only takes another turn, bytes.
    static let flightRoomBytes = 8 << 10
    /// Buffers up to this size are kept for the next call, larger ones are given back, bytes.
    static let keptBufferBytesMax = 8 << 10
    /// Largest certificate, key, CA or revocation file that is read, bytes; a larger one is refused.
    static let fileBytesMax = 32 << 20
}

/// The outcome of a handshake, fired as a user inbound event before any plaintext of the connection.
package struct TLSHandshakeCompleted: Sendable, Equatable {
    /// The protocol chosen by ALPN ("h2", "http/1.1"), nil when the peer did not take part in ALPN.
    package var negotiatedProtocol: String?
    package var version: TLSVersion
    /// OpenSSL's name of the cipher, for logs.
    package var cipher: String
    /// The peer's own certificate; nil when it sent none (a server that asks for none never gets one).
    package var peer: PeerCertificate?
}

/// Which side of a connection a configuration or a session is for.
package enum TLSRole: Sendable, Equatable {
    case server
    case client
}
