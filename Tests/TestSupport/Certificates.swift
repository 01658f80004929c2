import Foundation

/// A certificate authority and what it signed, made by the `openssl` command in a folder.
package struct Certificates: Sendable {
    package let folder: TemporaryFolder
    package var authority: String { folder.path("ca.crt") }

    package init(name: String = "test CA") async throws {
        folder = try TemporaryFolder("tls")
        try await Self.openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", folder.path("ca.key"), "-out", authority, "-subj", "/CN=\(name)",
        ])
    }

    package func certificate(_ name: String) -> String { folder.path(name + ".crt") }
    package func key(_ name: String) -> String { folder.path(name + ".key") }

    /// Makes NAME.crt and NAME.key for 127.0.0.1, for servers and clients alike. An existing pair is replaced.
    package func issue(_ name: String, serial: Int, commonName: String = "localhost") async throws {
        let request = folder.path(name + ".csr")
        let extensions = folder.path(name + ".ext")
        let text = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
        try text.write(toFile: extensions, atomically: true, encoding: .utf8)
        let newKey = folder.path(name + ".newkey")
        let newCertificate = folder.path(name + ".newcrt")
        try await Self.openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", newKey, "-out", request,
            "-subj", "/CN=\(commonName)",
        ])
        try await Self.openssl([
            "x509", "-req", "-in", request, "-CA", authority, "-CAkey", folder.path("ca.key"), "-set_serial",
            String(serial), "-days", "2", "-extfile", extensions, "-out", newCertificate,
        ])
        // As a rotation does: each file is replaced whole.
        guard rename(newKey, key(name)) == 0, rename(newCertificate, certificate(name)) == 0 else {
            throw TestFailure("cannot rename a certificate")
        }
    }

    /// The serial number of the certificate that a server shows, in hexadecimal.
    package static func serial(port: Int, _ files: Certificates, client: String) async throws -> String {
        let shown = try await Shell.run([
            "openssl", "s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", files.authority, "-cert",
            files.certificate(client), "-key", files.key(client), "-alpn", "h2",
        ])
        let parsed = try await Shell.run(["openssl", "x509", "-noout", "-serial"], input: shown.output)
        return parsed.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static func openssl(_ arguments: [String]) async throws {
        let result = try await Shell.run(["openssl"] + arguments)
        guard result.exitStatus == 0 else { throw TestFailure("openssl \(arguments[0]): \(result.errors)") }
    }
}
