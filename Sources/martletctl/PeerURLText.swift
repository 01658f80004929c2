/// Peers' URLs as etcd's client takes them, with its texts.
enum PeerURLText {
    /// Checks one URL: scheme, host and port, no path; gives it without blanks before it.
    static func checked(_ text: Substring) throws(CommandError) -> String {
        let text = text.drop { $0 == " " }
        let schemes = ["http://", "https://", "unix://", "unixs://"]
        guard let scheme = schemes.first(where: { text.hasPrefix($0) }) else {
            throw .failure("URL scheme must be http, https, unix, or unixs: \(text)")
        }
        let rest = text.dropFirst(scheme.count)
        guard !scheme.hasPrefix("unix") else { return String(text) }
        let authority = rest.prefix { $0 != "/" }
        guard let colon = authority.lastIndex(of: ":"), UInt16(authority[authority.index(after: colon)...]) != nil
        else { throw .failure("URL address does not have the form \"host:port\": \(text)") }
        guard authority.endIndex == rest.endIndex else { throw .failure("URL must not contain a path: \(text)") }
        return String(text)
    }

    /// Checks a list with commas; the URLs stay in their order.
    static func list(_ text: String) throws(CommandError) -> [String] {
        var urls: [String] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) { urls.append(try checked(part)) }
        return urls
    }
}
