import Foundation
import Testing
import TransportSecurity

@Suite struct ConfigurationTests {
    static func error(_ configuration: TLSConfiguration) -> TLSError? {
        do {
            _ = try TLSContext(configuration)
            return nil
        } catch {
            return error
        }
    }

    @Test func cipherSuites() throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.cipherSuites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]
        #expect(Self.error(server) == nil)
        server.cipherSuites = ["TLS_NO_SUCH", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
        let unknown = try #require(Self.error(server))
        #expect(unknown.code == .configuration)
        #expect(unknown.message.contains("\"TLS_NO_SUCH\", \"ECDHE-RSA-AES128-GCM-SHA256\""))
        server.cipherSuites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        server.minimumVersion = .tls13
        #expect(Self.error(server)?.message == "cipher suites cannot be configured when only TLS1.3 is enabled")
        server.cipherSuites = []
        #expect(Self.error(server) == nil)
        server.maximumVersion = .tls12
        #expect(Self.error(server)?.message == "min version (TLS1.3) is greater than max version (TLS1.2)")
    }

    @Test(arguments: [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ])
    func chosenSuite(goName: String, used: String) throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.maximumVersion = .tls12
        server.cipherSuites = [goName]
        var client = files.clientConfiguration()
        client.cipherSuites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", goName]
        let pair = try PeerVerificationTests.run(server, client)
        #expect(pair.client.recorder.handshakes.first?.cipher == used)
        PeerVerificationTests.expectAccepted(pair)
    }

    @Test func suitesOfTLS13Only() throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.cipherSuites = ["TLS_AES_256_GCM_SHA384"]
        let pair = try PeerVerificationTests.run(server, files.clientConfiguration())
        #expect(pair.client.recorder.handshakes.first?.cipher == "TLS_AES_256_GCM_SHA384")
        var old = files.clientConfiguration()
        old.maximumVersion = .tls12
        #expect(try PeerVerificationTests.run(server, old).server.recorder.errors.map(\.code) == [.handshake])
    }

    @Test func contradictions() throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.keyFile = nil
        #expect(Self.error(server)?.message.contains("KeyFile and CertFile must both be present") == true)
        server.certificateFile = nil
        #expect(Self.error(server)?.code == .configuration)
        server = files.serverConfiguration()
        server.verification = .requireClientCertificate
        #expect(Self.error(server)?.code == .configuration)
        server = files.serverConfiguration(mutual: true)
        #expect(server.verification == .requireClientCertificate)
        server.allowedHostnames = ["a"]
        server.allowedCommonNames = ["b"]
        #expect(Self.error(server)?.message.contains("mutually exclusive") == true)
        server = files.serverConfiguration()
        server.applicationProtocols = [""]
        #expect(Self.error(server)?.code == .configuration)
    }

    @Test func badFilesAreNamed() throws {
        let files = try Certificates()
        let other = try files.authority.issue(Certificates.serverRequest())
        try files.write(other.keyPEM, "other-key.pem")
        try files.write(Array("no PEM at all".utf8), "garbage.pem")
        try files.write([], "empty.pem")
        try files.write(Array(files.authority.certificatePEM.dropLast(80)), "cut.pem")
        try files.write(
            files.server.certificatePEM
                + Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8), "half.pem")

        var server = files.serverConfiguration(mutual: true)
        server.keyFile = files.path("other-key.pem")
        let mismatch = try #require(Self.error(server))
        #expect(mismatch.code == .key)
        #expect(mismatch.message.contains("other-key.pem") && mismatch.message.contains("server.pem"))
        server.keyFile = files.path("garbage.pem")
        #expect(Self.error(server)?.code == .key)

        for name in ["garbage.pem", "empty.pem", "cut.pem", "half.pem", "missing.pem"] {
            let code: TLSError.Code = name == "missing.pem" ? .file : .certificate
            for field in [\TLSConfiguration.certificateFile, \.trustedCAFile, \.revocationListFile] {
                var server = files.serverConfiguration(mutual: true)
                server[keyPath: field] = files.path(name)
                let error = try #require(Self.error(server), "\(name) \(field)")
                #expect(error.code == code)
                #expect(error.message.contains(name))
            }
        }
    }

    @Test func directoryInsteadOfAFile() throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.certificateFile = files.directory
        #expect(Self.error(server)?.code == .file)
    }

    @Test func chainIsSent() throws {
        // Leaf and CA in one file; the client trusts the CA, and the chain must load without error.
        let files = try Certificates()
        try files.write(files.server.certificatePEM + files.authority.certificatePEM, "server.pem")
        let pair = try PeerVerificationTests.run(files.serverConfiguration(), files.clientConfiguration())
        PeerVerificationTests.expectAccepted(pair)
    }
}
