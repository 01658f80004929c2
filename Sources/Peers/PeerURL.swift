/// A peer URL: `http://host:port` or `https://host:port`, IPv6 addresses in brackets. Source: etcd-behaviour.md
/// section 6, `--listen-peer-urls`.
package struct PeerURL: Sendable, Hashable, CustomStringConvertible {
    package let isSecure: Bool
    /// Name or address, without brackets.
    package let host: String
    package let port: Int

    /// Throws `configuration` for anything but the forms above.
    package init(_ text: String) throws(PeerError) {
        var rest = text[...]
        if rest.hasPrefix("https://") {
            isSecure = true
            rest = rest.dropFirst(8)
        } else if rest.hasPrefix("http://") {
            isSecure = false
            rest = rest.dropFirst(7)
        } else {
            throw PeerError(.configuration, "a peer URL begins with http:// or https://: \(text)")
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let malformed = PeerError(.configuration, "a peer URL has the form http://host:port: \(text)")
        guard let colon = rest.lastIndex(of: ":") else { throw malformed }
        let digits = rest[rest.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(digits) else {
            throw malformed
        }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw malformed
        }
        guard !host.isEmpty, !host.contains(where: { "[]/@?# ".contains($0) }) else { throw malformed }
        self.host = String(host)
        self.port = Int(port)
    }

    /// The URL, as it is advertised.
    package var description: String {
        "\(isSecure ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
