import COpenSSL

/// A version of the protocol. Older ones than 1.2 are never spoken.
package enum TLSVersion: String, Sendable, Equatable, Comparable, CaseIterable {
    case tls12 = "TLS1.2"
    case tls13 = "TLS1.3"

    package static func < (left: TLSVersion, right: TLSVersion) -> Bool { left.number < right.number }

    /// The number on the wire and in OpenSSL.
    var number: Int32 { self == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION }

    init?(number: Int32) {
        guard let version = TLSVersion.allCases.first(where: { $0.number == number }) else { return nil }
        self = version
    }
}

/// What one listener or one dialling side wants of TLS. A mutual-TLS peer has two: one for each role.
/// Source: etcd-behaviour.md sections 6 (flags) and 8.
package struct TLSConfiguration: Sendable, Equatable {
    package enum PeerVerification: Sendable, Equatable {
        /// A server that asks for no client certificate.
        case none
        /// A server that refuses clients without a certificate of its CA.
        case requireClientCertificate
    }

    package var role: TLSRole
    /// PEM file with our certificate, then its intermediate CAs. Servers need it.
    package var certificateFile: String?
    /// PEM file with the unencrypted private key of `certificateFile`.
    package var keyFile: String?
    /// PEM file with the CAs that may sign the peer's certificate; nil on a client means the system's.
    package var trustedCAFile: String?
    /// Servers only. A client always verifies, unless `insecureSkipVerify`.
    package var verification: PeerVerification
    package var minimumVersion: TLSVersion = .tls12
    /// nil: the newest that OpenSSL speaks.
    package var maximumVersion: TLSVersion?
    /// Go's names, in order of preference; empty: our defaults. Names of TLS 1.3 limit TLS 1.3, the others TLS 1.2.
    package var cipherSuites: [String] = []
    /// ALPN, in order of preference. A peer that offers only others is refused; one that offers none is not.
    package var applicationProtocols: [String] = ["h2", "http/1.1"]
    /// PEM or DER file of revoked serial numbers. Its signature is not checked (as etcd).
    package var revocationListFile: String?
    /// When not empty, the peer's certificate must be valid for one of these names or addresses.
    package var allowedHostnames: [String] = []
    /// When not empty, the peer's certificate must have one of these common names.
    package var allowedCommonNames: [String] = []
    /// Clients only: the name or address that the server's certificate must be valid for, also sent as SNI when it is
    /// a name. A `TLSHandler` may be given another one.
    package var serverName: String?
    /// Clients only: accept any certificate, unchecked.
    package var insecureSkipVerify: Bool = false

    /// A server that, as etcd, requires client certificates as soon as it is given a CA.
    package static func server(
        certificateFile: String, keyFile: String, trustedCAFile: String? = nil
    ) -> TLSConfiguration {
        TLSConfiguration(
            role: .server, certificateFile: certificateFile, keyFile: keyFile, trustedCAFile: trustedCAFile,
            verification: trustedCAFile == nil ? .none : .requireClientCertificate)
    }

    /// A client; certificate and key are for servers that ask for one.
    package static func client(
        trustedCAFile: String? = nil, serverName: String? = nil, certificateFile: String? = nil,
        keyFile: String? = nil
    ) -> TLSConfiguration {
        TLSConfiguration(
            role: .client, certificateFile: certificateFile, keyFile: keyFile, trustedCAFile: trustedCAFile,
            verification: .none, serverName: serverName)
    }

    private init(
        role: TLSRole, certificateFile: String?, keyFile: String?, trustedCAFile: String?,
        verification: PeerVerification, serverName: String? = nil
    ) {
        self.role = role
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.trustedCAFile = trustedCAFile
        self.verification = verification
        self.serverName = serverName
    }

    /// The files whose change makes a new context necessary.
    var files: [String] {
        [certificateFile, keyFile, trustedCAFile, revocationListFile].compactMap { $0 }
    }

    /// Whether a peer's certificate is asked for and checked.
    var verifiesPeer: Bool {
        role == .server ? verification == .requireClientCertificate : !insecureSkipVerify
    }

    /// Checks what can be checked without a file. Throws `configuration` (the texts are etcd's where it has one).
    package func validate() throws(TLSError) {
        if let maximumVersion, maximumVersion < minimumVersion {
            throw TLSError(
                .configuration,
                "min version (\(minimumVersion.rawValue)) is greater than max version (\(maximumVersion.rawValue))")
        }
        if minimumVersion == .tls13, !cipherSuites.isEmpty {
            throw TLSError(.configuration, "cipher suites cannot be configured when only TLS1.3 is enabled")
        }
        if (certificateFile == nil) != (keyFile == nil) {
            throw TLSError(
                .configuration,
                "KeyFile and CertFile must both be present[key: \(keyFile ?? ""), cert: \(certificateFile ?? "")]")
        }
        if role == .server, certificateFile == nil {
            throw TLSError(.configuration, "a TLS server needs a certificate file and a key file")
        }
        if role == .server, verification == .requireClientCertificate, trustedCAFile == nil {
            throw TLSError(.configuration, "client certificates cannot be verified without a trusted CA file")
        }
        if !allowedHostnames.isEmpty, !allowedCommonNames.isEmpty {
            throw TLSError(
                .configuration,
                "AllowedCN and AllowedHostname are mutually exclusive (cn=\(allowedCommonNames), "
                    + "hostname=\(allowedHostnames))")
        }
        for name in applicationProtocols where name.utf8.isEmpty || name.utf8.count > 255 {
            throw TLSError(.configuration, "ALPN name \"\(name)\" is not 1 to 255 bytes long")
        }
        try Self.check(cipherSuites: cipherSuites)
    }

    /// Throws `configuration` for a suite (by its Go name) that is not known or that this OpenSSL does not offer.
    package static func check(cipherSuites: [String]) throws(TLSError) { _ = try CipherSuites(goNames: cipherSuites) }
}
