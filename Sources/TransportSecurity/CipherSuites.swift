import COpenSSL

/// The cipher suites of one context: Go's names, which etcd's flag and its users' files are written in, and OpenSSL's.
struct CipherSuites: Sendable, Equatable {
    /// OpenSSL's colon-separated list for TLS 1.2; nil when only suites of TLS 1.3 were named.
    var tls12: String?
    /// OpenSSL's colon-separated list for TLS 1.3.
    var tls13: String

    /// Forward secrecy and AEAD only; AES-128 first because it is the faster one and strong enough (Go's order too).
    private static let defaultsTLS12 = [
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    ]

    private static let namesTLS13 = [
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    ]

    /// Go's names (crypto/tls, CipherSuites and InsecureCipherSuites, and the two old aliases) to OpenSSL's.
    private static let openSSLNames: [String: String] = [
        "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    ]

    /// Translates Go's names, all of them or none. Throws `configuration` with every name that is unknown, or that this
    /// OpenSSL was built without (RC4, 3DES).
    init(goNames: [String]) throws(TLSError) {
        let unknown = goNames.filter { !Self.namesTLS13.contains($0) && Self.openSSLNames[$0] == nil }
        if !unknown.isEmpty {
            let names = unknown.map { "\"\($0)\"" }.joined(separator: ", ")
            throw TLSError(.configuration, "unexpected TLS cipher suite \(names)")
        }
        let missing = goNames.filter { name in Self.openSSLNames[name].map { !Self.isOffered($0) } ?? false }
        if !missing.isEmpty {
            let names = missing.joined(separator: ", ")
            throw TLSError(.configuration, "this OpenSSL does not offer the cipher suite \(names)")
        }
        let named12 = goNames.compactMap { Self.openSSLNames[$0] }
        let named13 = goNames.filter { Self.namesTLS13.contains($0) }
        tls13 = (named13.isEmpty ? Self.namesTLS13 : named13).joined(separator: ":")
        if goNames.isEmpty {
            tls12 = Self.defaultsTLS12.joined(separator: ":")
        } else {
            tls12 = named12.isEmpty ? nil : named12.joined(separator: ":")
        }
    }

    /// OpenSSL ignores unknown names in a list as long as one is known; asked one by one it does not.
    private static func isOffered(_ name: String) -> Bool {
        guard let context = SSL_CTX_new(TLS_method()) else { return false }
        defer {
            SSL_CTX_free(context)
            ERR_clear_error()
        }
        return SSL_CTX_set_cipher_list(context, name) == 1
    }
}
