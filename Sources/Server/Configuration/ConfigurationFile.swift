import Glibc
import Yams

/// The file that `--config-file` names. Source: etcd-behaviour, section 6, last paragraph.
enum ConfigurationFile {
    /// The flags behind the keys of the nested TLS sections.
    private static let nested: [String: [String: String]] = [
        "client-transport-security": [
            "cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file",
            "client-key-file": "client-key-file", "client-cert-auth": "client-cert-auth",
            "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
            "allowed-hostname": "client-cert-allowed-hostname", "client-crl-file": "client-crl-file",
        ],
        "peer-transport-security": [
            "cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
            "client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
            "trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls",
            "allowed-cn": "peer-cert-allowed-cn",
            "allowed-hostname": "peer-cert-allowed-hostname",
            "skip-client-san-verification": "peer-skip-client-san-verification",
        ],
    ]

    /// Flags whose value is a duration, which the file may give as integer nanoseconds.
    private static let durations: Set<String> = [
        "grpc-keepalive-min-time", "grpc-keepalive-interval", "grpc-keepalive-timeout",
        "watch-progress-notify-interval", "experimental-watch-progress-notify-interval",
    ]

    static func read(_ path: String) throws(ConfigurationError) -> [(name: String, value: String)] {
        let text = try contents(of: path)
        let node: Node?
        do { node = try compose(yaml: text) } catch {
            // The parser shows the place over several lines; a reason not to start is one.
            let lines = "\(error)".split(whereSeparator: \.isNewline).map(\.trimmed)
            throw ConfigurationError("\(path): \(lines.joined(separator: " "))")
        }
        guard let node else { return [] }
        guard let mapping = node.mapping else {
            throw ConfigurationError("\(path): the file is not a mapping of flags")
        }
        var result: [(name: String, value: String)] = []
        for (key, value) in mapping {
            guard let name = key.string else { throw ConfigurationError("\(path): a key is not a text") }
            if let section = nested[name] {
                let isNull = value.scalar.map { ["", "null", "~"].contains($0.string) } ?? false
                guard let settings = value.mapping ?? (isNull ? [:] : nil) else {
                    throw ConfigurationError("\(path): \(name): not a mapping of settings")
                }
                for (key, value) in settings {
                    guard let inner = key.string, let flag = section[inner] else {
                        throw ConfigurationError("\(path): \(name).\(key.string ?? "?"): no such setting")
                    }
                    result.append((flag, try scalar(value, flag, path)))
                }
            } else {
                result.append((name, try scalar(value, name, path)))
            }
        }
        // A null stands for the default, as in etcd's sample file.
        return result.filter { $0.value != "null" && $0.value != "~" && !$0.value.isEmpty }
    }

    private static func scalar(_ node: Node, _ name: String, _ path: String) throws(ConfigurationError) -> String {
        if let sequence = node.sequence {
            return sequence.compactMap { $0.scalar?.string }.joined(separator: ",")
        }
        guard let text = node.scalar?.string else { throw ConfigurationError("\(path): \(name): not a single value") }
        if durations.contains(name), let nanoseconds = Int64(text), nanoseconds != 0 { return "\(nanoseconds)ns" }
        return text
    }

    private static func contents(of path: String) throws(ConfigurationError) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ConfigurationError("\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            guard count >= 0 else { throw ConfigurationError("\(path): \(String(cString: strerror(errno)))") }
            if count == 0 { break }
            bytes += chunk[..<count]
            if bytes.count > 1 << 20 { throw ConfigurationError("\(path): larger than 1 MiB") }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
