import Glibc

/// Names and addresses as certificates carry them, compared as Go's `x509.Certificate.VerifyHostname` compares them:
/// an address only against the addresses, a name only against the DNS names (never the common name), a wildcard only
/// as the whole first label and for exactly one label.
enum HostName {
    /// The 16 bytes of an IP address in text (IPv4 mapped into IPv6; brackets allowed), nil when it is none.
    static func address(_ text: String) -> [UInt8]? {
        var text = Substring(text)
        if text.first == "[", text.last == "]" { text = text.dropFirst().dropLast() }
        let string = String(text)
        if string.utf8.contains(0) { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET6, string, &bytes) == 1 { return bytes }
        var short = [UInt8](repeating: 0, count: 4)
        if inet_pton(AF_INET, string, &short) == 1 { return mapped(short) }
        return nil
    }

    /// An address of 4 bytes as one of 16; others unchanged.
    static func mapped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.count == 4 ? [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + bytes : bytes
    }

    /// An address of 4 or 16 bytes as text.
    static func text(_ bytes: [UInt8]) -> String {
        guard bytes.count == 4 || bytes.count == 16 else { return "" }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether `pattern`, a DNS name of a certificate, covers `host`. ASCII letters compare without case.
    static func matches(pattern: String, host: String) -> Bool {
        let host = Array(host.utf8).map(lowercase)
        let pattern = Array(pattern.utf8).map(lowercase)
        guard isValid(host, isPattern: false), isValid(pattern, isPattern: true) else {
            let dot = [UInt8(ascii: ".")]
            return !host.isEmpty && host != dot && host == pattern
        }
        let hostLabels = labels(host.last == UInt8(ascii: ".") ? host.dropLast() : host[...])
        let patternLabels = labels(pattern[...])
        if hostLabels.count != patternLabels.count { return false }
        for (index, label) in patternLabels.enumerated() {
            if index == 0, label.elementsEqual([UInt8(ascii: "*")]) { continue }
            if !label.elementsEqual(hostLabels[index]) { return false }
        }
        return true
    }

    private static func labels(_ name: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    }

    /// Whether every label is made of letters, digits, hyphens (not first) and underscores; a host may end in a dot, a
    /// pattern may begin with the label `*` but not be only that.
    private static func isValid(_ name: [UInt8], isPattern: Bool) -> Bool {
        let name = !isPattern && name.last == UInt8(ascii: ".") ? name.dropLast() : name[...]
        if name.isEmpty || name.elementsEqual([UInt8(ascii: "*")]) { return false }
        for (index, label) in labels(name).enumerated() {
            if label.isEmpty { return false }
            if isPattern, index == 0, label.elementsEqual([UInt8(ascii: "*")]) { continue }
            for (position, byte) in label.enumerated() {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                    continue
                case UInt8(ascii: "-") where position != 0: continue
                default: return false
                }
            }
        }
        return true
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }
}
