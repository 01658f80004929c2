/// What the `--peer-*` flags say about TLS between members. Source: etcd-behaviour, sections 6 and 8.
package struct PeerTLSFlags: Sendable {
    /// Serves, and dials unless another certificate is named for that.
    package var certificateFile = ""
    package var keyFile = ""
    package var clientCertificateFile = ""
    package var clientKeyFile = ""
    package var trustedCAFile = ""
    package var clientCertificateAuth = false
    package var revocationListFile = ""
    /// A self-signed certificate is made; nobody verifies anybody.
    package var isAutomatic = false
    package var allowedCommonNames: [String] = []
    package var allowedHostnames: [String] = []
    package var skipsClientSANVerification = false

    package init() {}

    /// - Parameter isNeeded: a peer URL is https.
    func validate(isNeeded: Bool) throws(ConfigurationError) {
        if certificateFile.isEmpty != keyFile.isEmpty {
            throw ConfigurationError("--peer-cert-file and --peer-key-file go together: one of them is missing")
        }
        if clientCertificateFile.isEmpty != clientKeyFile.isEmpty {
            throw ConfigurationError(
                "--peer-client-cert-file and --peer-client-key-file go together: one of them is missing")
        }
        if isNeeded, certificateFile.isEmpty, !isAutomatic {
            throw ConfigurationError("an https peer URL needs --peer-cert-file and --peer-key-file, or --peer-auto-tls")
        }
        if clientCertificateAuth, trustedCAFile.isEmpty {
            throw ConfigurationError("--peer-client-cert-auth needs --peer-trusted-ca-file")
        }
        if !allowedCommonNames.isEmpty, !allowedHostnames.isEmpty {
            throw ConfigurationError("--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other")
        }
    }
}
