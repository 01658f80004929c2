import Foundation
import Testing
import TransportSecurity

@Suite struct SelfSignedTests {
    static func mode(_ path: String) throws -> Int {
        let value = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
        return try #require(value as? Int)
    }

    @Test func filesAreMadeOnceAndKept() throws {
        let files = try Certificates()
        let directory = files.path("fixtures")
        let started = Int64(time(nil))
        let made = try SelfSigned.ensure(
            directory: directory, hosts: ["localhost", "10.1.2.3", "fd00::1"], validityYears: 2)
        let ended = Int64(time(nil))
        #expect(try Self.mode(directory) == 0o700)
        #expect(try Self.mode(made.keyFile) == 0o600)
        let source = try TLSContextSource(.server(certificateFile: made.certificateFile, keyFile: made.keyFile))
        let certificate = try #require(source.current().certificate)
        #expect(certificate.dnsNames == ["localhost"])
        #expect(certificate.addresses == ["10.1.2.3", "fd00::1"])
        #expect((started...ended).contains(certificate.notAfter - 730 * 86_400))

        _ = try SelfSigned.ensure(directory: directory, hosts: ["localhost"], validityYears: 1)
        #expect(source.reload() == nil)
        #expect(source.current().certificate == certificate)

        // A key that does not belong to the certificate is no pair to keep.
        try files.client.keyPEM.withUnsafeBytes { try Data($0).write(to: URL(fileURLWithPath: made.keyFile)) }
        _ = try SelfSigned.ensure(directory: directory, hosts: ["localhost"], validityYears: 1)
        #expect(source.reload() == nil)
        #expect(source.current().certificate?.serialNumber != certificate.serialNumber)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory).sorted() == ["cert.pem", "key.pem"])
    }

    @Test func expiredPairIsReplaced() throws {
        let files = try Certificates()
        let directory = files.path("fixtures")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        var request = CertificateRequest(commonName: "old", validitySeconds: 60)
        request.notAfter = request.notBefore + 1
        let old = try SelfSigned.make(request)
        try old.write(certificateFile: directory + "/cert.pem", keyFile: directory + "/key.pem")
        let made = try SelfSigned.ensure(directory: directory, hosts: ["localhost"], validityYears: 1)
        let context = try TLSContext(.server(certificateFile: made.certificateFile, keyFile: made.keyFile))
        #expect(context.certificate?.serialNumber != old.certificate.serialNumber)
    }

    @Test func servesClientsThatDoNotVerifyOrThatTrustIt() throws {
        let files = try Certificates()
        let made = try SelfSigned.ensure(directory: files.path("f"), hosts: ["localhost"], validityYears: 1)
        let server = TLSConfiguration.server(certificateFile: made.certificateFile, keyFile: made.keyFile)
        var client = TLSConfiguration.client(trustedCAFile: made.certificateFile, serverName: "localhost")
        PeerVerificationTests.expectAccepted(try PeerVerificationTests.run(server, client))
        client = .client()
        client.insecureSkipVerify = true
        PeerVerificationTests.expectAccepted(try PeerVerificationTests.run(server, client))
    }

    @Test(arguments: ["a,DNS:b", "", "a b", "a\nb", "é.test"])
    func hostsThatAreNone(host: String) throws {
        let request = CertificateRequest(commonName: "x", hosts: [host], validitySeconds: 60)
        #expect(throws: TLSError.self) { try SelfSigned.make(request) }
    }

    @Test func validityMustBePositive() throws {
        let files = try Certificates()
        #expect(throws: TLSError.self) {
            try SelfSigned.ensure(directory: files.path("f"), hosts: [], validityYears: 0)
        }
        #expect(!FileManager.default.fileExists(atPath: files.path("f")))
    }
}
