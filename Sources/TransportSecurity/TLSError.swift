import COpenSSL

/// Why something about TLS failed: the one error type of this module.
package struct TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Equatable {
        /// The configuration contradicts itself or names something unknown (cipher suite, version).
        case configuration
        /// A file cannot be read or is too large.
        case file
        /// A certificate, CA or revocation file does not parse or holds nothing.
        case certificate
        /// A private key does not parse, is encrypted, or does not belong to the certificate.
        case key
        /// OpenSSL could not make an object: memory, or a library without a needed part.
        case library
        /// The other side broke off, or the two have no version, cipher or protocol in common.
        case handshake
        /// The handshake took longer than `TLSLimits.handshakeTimeoutMilliseconds`.
        case handshakeTimeout
        /// The connection ended before the handshake did: a port scan, a TCP health check or a lost peer.
        case closedDuringHandshake
        /// The peer's certificate is missing, expired, revoked, of an unknown CA or of another name.
        case peerCertificate
        /// The peer told us, by an alert, why it refused.
        case alert
        /// The first bytes are no TLS record: the peer speaks plain text to a TLS port, or the other way round.
        case plaintext
        /// Bytes that are no valid record, after the handshake: corruption or an attack.
        case record
        /// The connection ended without close_notify: what came before may have been cut short.
        case truncated
        /// A bound of `TLSLimits` was reached.
        case limit
    }

    package var code: Code
    /// A sentence for the log, with the file or the certificate it is about.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "TLS: \(message)" }

    /// Whether this is a peer's doing that any scanner can cause, so that a log should not shout about it.
    package var isRoutine: Bool { code == .closedDuringHandshake || code == .truncated }

    /// Takes the oldest error off this thread's OpenSSL queue, empties it, and says it in words.
    static func takeReason() -> (text: String, alert: Int32) {
        let error = ERR_get_error()
        ERR_clear_error()
        if error == 0 { return ("no reason given", 0) }
        let alert = martlet_error_alert(error)
        if alert != 0 { return (alertText(alert), alert) }
        if let text = ERR_reason_error_string(error) { return (String(cString: text), 0) }
        return ("error \(martlet_error_reason(error)) of library \(martlet_error_library(error))", 0)
    }

    /// An alert in words (RFC 8446, section 6). OpenSSL's table does not have the newer ones.
    private static func alertText(_ alert: Int32) -> String {
        switch alert & 0xff {
        case 109: return "missing extension"
        case 116: return "certificate required"
        case 120: return "no application protocol"
        default: return SSL_alert_desc_string_long(alert).map { String(cString: $0) } ?? "\(alert)"
        }
    }

    /// An error of `code` whose message is `message`, a colon and OpenSSL's reason.
    static func fromLibrary(_ code: Code, _ message: String) -> TLSError {
        TLSError(code, "\(message): \(takeReason().text)")
    }
}
