/// A URL a listener binds or a member advertises: scheme, host and port, or a unix socket path.
package struct ListenURL: Sendable, Equatable {
    package enum Scheme: String, Sendable { case http, https, unix, unixs }

    package let scheme: Scheme
    /// Host name or address without brackets; the socket path for `unix` and `unixs`.
    package let host: String
    /// 0 for unix sockets.
    package let port: Int

    package var isSecure: Bool { scheme == .https || scheme == .unixs }
    package var isUnix: Bool { scheme == .unix || scheme == .unixs }

    /// The URL as it is advertised.
    package var text: String {
        if isUnix { return "\(scheme.rawValue)://\(host)" }
        return "\(scheme.rawValue)://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }

    package static let defaultClient = ListenURL(scheme: .http, host: "localhost", port: 2379)
    package static let defaultPeer = ListenURL(scheme: .http, host: "localhost", port: 2380)

    private init(scheme: Scheme, host: String, port: Int) {
        self.scheme = scheme
        self.host = host
        self.port = port
    }

    /// Parses one URL in the form etcd takes: `http://host:port`, without a path.
    package init(parsing text: String) throws(ConfigurationError) {
        guard let separator = text.range(of: "://"),
            let scheme = Scheme(rawValue: text[..<separator.lowerBound].lowercased())
        else {
            throw ConfigurationError("URL scheme must be http, https, unix, or unixs: \(text)")
        }
        let rest = String(text[separator.upperBound...])
        if scheme == .unix || scheme == .unixs {
            guard !rest.isEmpty else { throw ConfigurationError("URL has no socket path: \(text)") }
            self.init(scheme: scheme, host: rest, port: 0)
            return
        }
        let authority = rest.hasSuffix("/") ? String(rest.dropLast()) : rest
        guard !authority.contains("/") else { throw ConfigurationError("URL must not contain a path: \(text)") }
        let malformed = ConfigurationError("URL address does not have the form \"host:port\": \(text)")
        guard let colon = authority.lastIndex(of: ":") else { throw malformed }
        let digits = authority[authority.index(after: colon)...]
        // A sign is no part of a port.
        guard digits.allSatisfy(\.isNumber), let port = Int(digits), port <= 65535 else { throw malformed }
        var host = String(authority[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            // An IPv6 address stands in brackets, else its end cannot be told from a port.
            throw malformed
        }
        guard !host.contains(where: { "[]@?# ".contains($0) }) else { throw malformed }
        self.init(scheme: scheme, host: host.isEmpty ? "0.0.0.0" : host, port: port)
    }

    /// Parses a comma-separated list; empty gives an empty list.
    package static func list(parsing text: String) throws(ConfigurationError) -> [ListenURL] {
        var urls: [ListenURL] = []
        for part in text.split(separator: ",") { urls.append(try ListenURL(parsing: part.trimmed)) }
        return urls
    }
}

/// `--initial-cluster`: names with their peer URLs, in the order given.
package struct InitialCluster: Sendable {
    private var members: [(name: String, urls: [String])] = []

    package var names: [String] { members.map(\.name) }

    /// Parses `name=url,name=url`; a name may stand several times, once for each of its URLs.
    package init(parsing text: String) throws(ConfigurationError) {
        for part in text.split(separator: ",") {
            guard let equals = part.firstIndex(of: "=") else {
                throw ConfigurationError("--initial-cluster takes name=url,name=url; got \"\(part)\"")
            }
            let name = part[..<equals].trimmed
            let url: String
            do throws(ConfigurationError) {
                url = try ListenURL(parsing: part[part.index(after: equals)...].trimmed).text
            } catch { throw ConfigurationError("--initial-cluster: \(error.description)") }
            if let position = members.firstIndex(where: { $0.name == name }) {
                members[position].urls.append(url)
            } else {
                members.append((name, [url]))
            }
        }
        if members.isEmpty { throw ConfigurationError("--initial-cluster names no member") }
    }

    /// The member alone, as it advertises itself.
    package init(alone configuration: ServerConfiguration) {
        members = [(configuration.name, configuration.initialAdvertisePeerURLs.map(\.text))]
    }

    package func urls(of name: String) -> [String]? { members.first { $0.name == name }?.urls }
}

extension StringProtocol {
    /// Without spaces and tabs at both ends.
    var trimmed: String {
        var view = self[...]
        while let first = view.first, first == " " || first == "\t" { view = view.dropFirst() }
        while let last = view.last, last == " " || last == "\t" { view = view.dropLast() }
        return String(view)
    }

    /// The first place of `needle`.
    func range(of needle: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
            start = index(after: start)
        }
        return nil
    }
}
