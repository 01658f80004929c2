/// Where a server listens, as users write it: `host:port`, `http://host:port`, `https://host:port`,
/// `unix://path`. IPv6 addresses stand in brackets. The port is 2379 unless given.
package struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    /// Whether the scheme demands TLS, forbids it, or leaves it to the configuration.
    package enum Security: Sendable, Hashable {
        case configured
        case plaintext
        case tls
    }

    /// How to get there.
    package enum Address: Sendable, Hashable {
        case host(String, port: Int)
        case unixSocket(path: String)
    }

    package let address: Address
    package let security: Security
    /// The endpoint as it was written.
    package let description: String

    /// Nil when `text` is none of the forms above.
    package init?(_ text: String) {
        var rest = text[...]
        description = text
        switch true {
        case Self.drop("https://", from: &rest): security = .tls
        case Self.drop("http://", from: &rest): security = .plaintext
        case Self.drop("unixs://", from: &rest):
            security = .tls
            address = .unixSocket(path: String(rest))
            return
        case Self.drop("unix://", from: &rest):
            security = .plaintext
            address = .unixSocket(path: String(rest))
            return
        default: security = .configured
        }
        if let slash = rest.firstIndex(of: "/") { rest = rest[..<slash] }
        var host = rest
        var port = "2379"[...]
        if rest.hasPrefix("[") {
            guard let bracket = rest.firstIndex(of: "]") else { return nil }
            host = rest[rest.index(after: rest.startIndex)..<bracket]
            let tail = rest[rest.index(after: bracket)...]
            if tail.hasPrefix(":") { port = tail.dropFirst() } else if !tail.isEmpty { return nil }
        } else if let colon = rest.lastIndex(of: ":") {
            host = rest[..<colon]
            port = rest[rest.index(after: colon)...]
            if host.contains(":") { return nil }
        }
        guard !host.isEmpty, let number = UInt16(port) else { return nil }
        address = .host(String(host), port: Int(number))
    }

    private static func drop(_ prefix: String, from text: inout Substring) -> Bool {
        guard text.hasPrefix(prefix) else { return false }
        text = text.dropFirst(prefix.count)
        return true
    }
}
