import NIOCore

/// Looks at the first bytes of a connection before OpenSSL does, to tell plain text from TLS and say so plainly.
///
/// The first byte alone decides: a TLS connection begins with a handshake record (22), or, towards a client, with an
/// alert (21). Only when it is neither are up to five bytes held, to recognise HTTP.
struct PlaintextDetector {
    enum Verdict: Equatable {
        case tls
        /// Not TLS; wait for the rest of the first five bytes.
        case undecided
        case plaintext(TLSError, answer: String?)
    }

    private let role: TLSRole
    private var held: [UInt8] = []

    private static let alertRecord: UInt8 = 21
    private static let handshakeRecord: UInt8 = 22
    private static let heldBytes = 5

    init(role: TLSRole) { self.role = role }

    /// Judges the bytes so far; `bytes` is not consumed. After `undecided` the same bytes must not be given again.
    mutating func inspect(_ bytes: ByteBuffer) -> Verdict {
        if held.isEmpty {
            guard let first = bytes.readableBytesView.first else { return .undecided }
            if first == Self.handshakeRecord || (role == .client && first == Self.alertRecord) { return .tls }
        }
        held.append(contentsOf: bytes.readableBytesView.prefix(Self.heldBytes - held.count))
        return held.count < Self.heldBytes ? .undecided : verdict()
    }

    /// The verdict when no more bytes will come; nil when nothing has been held.
    func atEnd() -> TLSError? {
        guard !held.isEmpty, case .plaintext(let error, _) = verdict() else { return nil }
        return error
    }

    private func verdict() -> Verdict {
        let text = String(decoding: held.map { $0 >= 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
        if role == .client {
            let what = text.hasPrefix("HTTP/") ? "the server answered in plain HTTP" : "the server does not speak TLS"
            return .plaintext(
                TLSError(.plaintext, "first record does not look like a TLS handshake: \(what) (\"\(text)\")"),
                answer: nil)
        }
        // The methods and the answer that Go's net/http has for this mistake.
        if ["GET /", "HEAD ", "POST ", "PUT /", "OPTIO"].contains(text) {
            return .plaintext(
                TLSError(.plaintext, "client sent an HTTP request to an HTTPS server"),
                answer: "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        }
        let what = text.hasPrefix("PRI *") ? "the client speaks HTTP/2 without TLS" : "the client does not speak TLS"
        return .plaintext(
            TLSError(.plaintext, "first record does not look like a TLS handshake: \(what) (\"\(text)\")"),
            answer: nil)
    }
}
