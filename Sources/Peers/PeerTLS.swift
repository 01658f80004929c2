import IOInterfaces
package import TransportSecurity

/// The `--peer-*` options of TLS, with etcd's meaning. Source: etcd-behaviour.md sections 6 and 8.
package struct PeerTLS: Sendable, Equatable {
    /// `--peer-cert-file`, `--peer-key-file`: what we show, as server and as client.
    package var certificateFile: String?
    package var keyFile: String?
    /// `--peer-client-cert-file`, `--peer-client-key-file`: what we show as client instead.
    package var clientCertificateFile: String?
    package var clientKeyFile: String?
    /// `--peer-trusted-ca-file`: who may sign the others' certificates. With it, as in etcd, a client must have one.
    package var trustedCAFile: String?
    /// `--peer-client-cert-auth`.
    package var requiresClientCertificate = false
    /// `--peer-cert-allowed-cn` and `--peer-cert-allowed-hostname`, asked of both sides; not both.
    package var allowedCommonNames: [String] = []
    package var allowedHostnames: [String] = []
    /// `--peer-crl-file`.
    package var revocationListFile: String?
    /// `--peer-skip-client-san-verification`: do not ask that a client's certificate be valid for its address.
    package var skipsClientSANVerification = false
    /// `--peer-auto-tls`: the others' certificates are not verified.
    package var isAutomatic = false
    package var cipherSuites: [String] = []
    package var minimumVersion = TLSVersion.tls12
    package var maximumVersion: TLSVersion?

    package init() {}

    /// `--peer-auto-tls`: a self-signed pair in `<dataDirectory>/fixtures/peer`, made when missing or expired, for the
    /// hosts of `listenURLs`. Throws `configuration`.
    package static func automatic(
        dataDirectory: String, listenURLs: [PeerURL], validityYears: Int
    ) throws(PeerError) -> PeerTLS {
        do {
            let directory = dataDirectory + "/fixtures"
            try SystemFileSystem().createDirectory(directory)
            let files = try SelfSigned.ensure(
                directory: directory + "/peer", hosts: listenURLs.map(\.host), validityYears: validityYears)
            var tls = PeerTLS()
            tls.certificateFile = files.certificateFile
            tls.keyFile = files.keyFile
            tls.isAutomatic = true
            return tls
        } catch { throw PeerError(.configuration, "--peer-auto-tls: \(error)") }
    }

    /// What the accepting side wants; nil without a certificate.
    var server: TLSConfiguration? {
        guard let certificateFile, let keyFile else { return nil }
        var server = TLSConfiguration.server(
            certificateFile: certificateFile, keyFile: keyFile, trustedCAFile: isAutomatic ? nil : trustedCAFile)
        if requiresClientCertificate, !isAutomatic { server.verification = .requireClientCertificate }
        server.applicationProtocols = ["h2"]
        restrict(&server)
        // Asked after the handshake, so that the other side can be told: see `ClientCertificateCheck`.
        server.allowedCommonNames = []
        server.allowedHostnames = []
        return server
    }

    /// What the dialling side wants.
    var client: TLSConfiguration {
        var client = TLSConfiguration.client(
            trustedCAFile: trustedCAFile, certificateFile: clientCertificateFile ?? certificateFile,
            keyFile: clientKeyFile ?? keyFile)
        client.applicationProtocols = ["h2"]
        client.insecureSkipVerify = isAutomatic
        restrict(&client)
        return client
    }

    private func restrict(_ configuration: inout TLSConfiguration) {
        configuration.minimumVersion = minimumVersion
        configuration.maximumVersion = maximumVersion
        configuration.cipherSuites = cipherSuites
        configuration.revocationListFile = revocationListFile
        configuration.allowedCommonNames = allowedCommonNames
        configuration.allowedHostnames = allowedHostnames
    }
}
