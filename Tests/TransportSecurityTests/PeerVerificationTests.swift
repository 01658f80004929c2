import Foundation
import NIOCore
import NIOEmbedded
import Testing
import TransportSecurity

/// Who is let in: each refusal must be a `TLSError` on the side that refuses, an alert on the other, and no plaintext.
@Suite struct PeerVerificationTests {
    static let versions = TLSVersion.allCases

    /// Runs a handshake and one message from the client; returns both sides when nothing moves any more.
    static func run(_ server: TLSConfiguration, _ client: TLSConfiguration, host: String? = nil) throws -> Pair {
        let pair = try Pair(server, client, serverName: host)
        pair.client.channel.writeAndFlush(ByteBuffer(string: "secret"), promise: nil)
        try pair.exchange()
        return pair
    }

    static func expectAccepted(_ pair: Pair) {
        #expect(pair.server.recorder.errors == [])
        #expect(pair.client.recorder.errors == [])
        #expect(String(buffer: pair.server.recorder.bytes) == "secret")
    }

    static func expectServerRefuses(_ pair: Pair, _ code: TLSError.Code, _ text: String) {
        #expect(pair.server.recorder.errors.map(\.code) == [code])
        let message = pair.server.recorder.errors.first?.message ?? ""
        #expect(message.contains(text), "\(message)")
        #expect(pair.server.recorder.bytes.readableBytes == 0)
        #expect(pair.server.recorder.handshakes == [])
        #expect(pair.client.recorder.errors.map(\.code) == [.alert])
        #expect(!pair.server.isOpen && !pair.client.isOpen)
    }

    static func expectClientRefuses(_ pair: Pair, _ text: String) {
        #expect(pair.client.recorder.errors.map(\.code) == [.peerCertificate])
        let message = pair.client.recorder.errors.first?.message ?? ""
        #expect(message.contains(text), "\(message)")
        #expect(pair.client.recorder.handshakes == [])
        #expect(pair.server.recorder.errors.map(\.code) == [.alert])
        #expect(pair.server.recorder.bytes.readableBytes == 0)
        #expect(!pair.server.isOpen && !pair.client.isOpen)
    }

    static func mutual(_ files: Certificates, _ version: TLSVersion) -> (TLSConfiguration, TLSConfiguration) {
        var server = files.serverConfiguration(mutual: true)
        server.maximumVersion = version
        return (server, files.clientConfiguration(mutual: true))
    }

    @Test(arguments: versions) func clientCertificateIsAccepted(version: TLSVersion) throws {
        let started = Int64(time(nil))
        let files = try Certificates()
        let (server, client) = Self.mutual(files, version)
        let pair = try Self.run(server, client)
        Self.expectAccepted(pair)
        let peer = try #require(pair.server.recorder.handshakes.first?.peer)
        #expect(peer.commonName == "alice")
        #expect(peer.dnsNames == ["client.test"])
        #expect(peer.serialText == files.client.certificate.serialText)
        #expect(peer.notAfter >= started + 3600)
    }

    @Test(arguments: versions) func missingClientCertificate(version: TLSVersion) throws {
        let files = try Certificates()
        let (server, _) = Self.mutual(files, version)
        let pair = try Self.run(server, files.clientConfiguration())
        Self.expectServerRefuses(pair, .peerCertificate, "no certificate")
    }

    @Test(arguments: versions) func clientCertificateOfAnotherAuthority(version: TLSVersion) throws {
        let files = try Certificates()
        let stranger = try CertificateAuthority(commonName: "test CA")
        try files.write(
            stranger.issue(CertificateRequest(commonName: "mallory", validitySeconds: 3600)), as: "client")
        let (server, client) = Self.mutual(files, version)
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "mallory")
    }

    @Test(arguments: versions) func expiredClientCertificate(version: TLSVersion) throws {
        let files = try Certificates()
        var request = CertificateRequest(commonName: "late", validitySeconds: 3600)
        request.notAfter = request.notBefore + 10
        try files.write(files.authority.issue(request), as: "client")
        let (server, client) = Self.mutual(files, version)
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "expired")
    }

    @Test func serverCertificateUsedByAClient() throws {
        let files = try Certificates()
        var request = CertificateRequest(commonName: "only server", validitySeconds: 3600)
        request.isForClients = false
        try files.write(files.authority.issue(request), as: "client")
        let (server, client) = Self.mutual(files, .tls13)
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "purpose")
    }

    @Test(arguments: versions) func revokedClientCertificate(version: TLSVersion) throws {
        let files = try Certificates()
        try files.write(files.authority.revocationList(of: [files.client.certificate]), "crl.pem")
        var (server, client) = Self.mutual(files, version)
        server.revocationListFile = files.path("crl.pem")
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "revoked")

        try files.write(files.authority.revocationList(of: [files.server.certificate]), "crl.pem")
        Self.expectAccepted(try Self.run(server, client))
    }

    @Test func revocationListInDERAndEmpty() throws {
        let files = try Certificates()
        let list = try files.authority.revocationList(of: [files.client.certificate])
        let base64 = String(decoding: list, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("-") }
        try files.write(Array(try #require(Data(base64Encoded: base64.joined()))), "crl.der")
        var (server, client) = Self.mutual(files, .tls13)
        server.revocationListFile = files.path("crl.der")
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "revoked")

        try files.write(files.authority.revocationList(of: []), "crl.pem")
        server.revocationListFile = files.path("crl.pem")
        Self.expectAccepted(try Self.run(server, client))
    }

    @Test func allowedNamesOfClients() throws {
        let files = try Certificates()
        var (server, client) = Self.mutual(files, .tls13)
        server.allowedCommonNames = ["bob", "alice"]
        Self.expectAccepted(try Self.run(server, client))
        server.allowedCommonNames = ["bob"]
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "alice")
        server.allowedCommonNames = []
        server.allowedHostnames = ["other.test", "CLIENT.test"]
        Self.expectAccepted(try Self.run(server, client))
        // The common name is no host name.
        server.allowedHostnames = ["alice"]
        Self.expectServerRefuses(try Self.run(server, client), .peerCertificate, "allowed host names")
    }

    @Test(arguments: versions) func serverNames(version: TLSVersion) throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.maximumVersion = version
        let client = files.clientConfiguration()
        for host in ["localhost", "LocalHost", "localhost.", "a.wild.test", "127.0.0.1", "::1", "[::1]"] {
            Self.expectAccepted(try Self.run(server, client, host: host))
        }
        let refused = ["server", "example.test", "wild.test", "a.b.wild.test", "127.0.0.2", "::2", "localhost.test"]
        for host in refused {
            Self.expectClientRefuses(try Self.run(server, client, host: host), "not for \(host)")
        }
    }

    @Test(arguments: versions) func serverCertificateRefused(version: TLSVersion) throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.maximumVersion = version
        var request = Certificates.serverRequest()
        request.notAfter = request.notBefore + 10
        try files.replaceServer(request)
        Self.expectClientRefuses(try Self.run(server, files.clientConfiguration()), "expired")

        try files.replaceServer()
        try files.write(CertificateAuthority(commonName: "other").certificatePEM, "ca.pem")
        Self.expectClientRefuses(try Self.run(server, files.clientConfiguration()), "refused")

        var client = files.clientConfiguration()
        client.insecureSkipVerify = true
        Self.expectAccepted(try Self.run(server, client, host: "whatever.test"))
    }

    @Test func clientsAskForAName() throws {
        let files = try Certificates()
        var client = files.clientConfiguration()
        client.serverName = nil
        let pair = try Pair(files.serverConfiguration(), client)
        #expect(pair.client.recorder.errors.map(\.code) == [.configuration])
        #expect(!pair.client.isOpen)
    }

    @Test func nothingInCommon() throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        var client = files.clientConfiguration()
        server.minimumVersion = .tls13
        client.maximumVersion = .tls12
        Self.expectServerRefuses(try Self.run(server, client), .handshake, "protocol")
        server.minimumVersion = .tls12
        server.applicationProtocols = ["h2"]
        client.applicationProtocols = ["spdy/3"]
        Self.expectServerRefuses(try Self.run(server, client), .handshake, "application protocol")
        client.applicationProtocols = ["http/1.1", "h2"]
        #expect(try Self.run(server, client).client.recorder.handshakes.first?.negotiatedProtocol == "h2")
        client.applicationProtocols = []
        #expect(try Self.run(server, client).server.recorder.handshakes.map(\.negotiatedProtocol) == [nil])
        server.cipherSuites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
        client.cipherSuites = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        Self.expectServerRefuses(try Self.run(server, client), .handshake, "no shared cipher")
    }
}
