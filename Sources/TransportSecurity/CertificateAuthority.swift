import COpenSSL
import Glibc

/// What one certificate is to say.
package struct CertificateRequest: Sendable {
    package var commonName: String
    package var organization: String = ""
    /// Host names and IP addresses, the subject alternative names.
    package var hosts: [String] = []
    package var isForServers = true
    package var isForClients = true
    /// Seconds since 1970.
    package var notBefore: Int64
    package var notAfter: Int64

    /// `validitySeconds` from five minutes before now (clocks differ) on.
    package init(commonName: String, hosts: [String] = [], validitySeconds: Int64) {
        self.commonName = commonName
        self.hosts = hosts
        let now = Int64(time(nil))
        notBefore = now - 300
        notAfter = now + validitySeconds
    }
}

/// A certificate and its private key, both PEM.
package struct IssuedCertificate: Sendable {
    package var certificatePEM: [UInt8]
    package var keyPEM: [UInt8]
    package var certificate: PeerCertificate

    /// Writes both files whole: the key with mode 0600, the certificate with 0644. Throws `file`.
    package func write(certificateFile: String, keyFile: String) throws(TLSError) {
        try SecretFile.write(keyPEM, to: keyFile, mode: 0o600)
        try SecretFile.write(certificatePEM, to: certificateFile, mode: 0o644)
    }
}

/// A small certificate authority for demonstration clusters and tests: ECDSA P-256, SHA-256. Not thread-safe.
package final class CertificateAuthority {
    /// The authority's own certificate, PEM.
    package let certificatePEM: [UInt8]
    private let certificate: OpaquePointer
    private let key: OpaquePointer

    /// Makes a new key and a self-signed CA certificate. Throws `library`, or `configuration` for a bad name.
    package init(commonName: String, validitySeconds: Int64 = 10 * 365 * 86_400) throws(TLSError) {
        let request = CertificateRequest(commonName: commonName, validitySeconds: validitySeconds)
        let key = try CertificateBuilder.newKey()
        let extensions = [
            (NID_basic_constraints, "critical,CA:TRUE"), (NID_key_usage, "critical,keyCertSign,cRLSign"),
            (NID_subject_key_identifier, "hash"),
        ]
        let certificate: OpaquePointer
        do throws(TLSError) {
            certificate = try CertificateBuilder.make(request, key: key, extensions: extensions, issuer: nil)
        } catch {
            EVP_PKEY_free(key)
            throw error
        }
        self.key = key
        self.certificate = certificate
        certificatePEM = CertificateBuilder.pem { PEM_write_bio_X509($0, certificate) }
    }

    deinit {
        X509_free(certificate)
        EVP_PKEY_free(key)
    }

    /// Makes a new key and a certificate for it, signed by this authority. Throws as `init`.
    package func issue(_ request: CertificateRequest) throws(TLSError) -> IssuedCertificate {
        try CertificateBuilder.issue(request, issuer: (certificate, key))
    }

    /// A signed revocation list of some certificates' serial numbers, PEM. Throws `library`.
    package func revocationList(of revoked: [PeerCertificate]) throws(TLSError) -> [UInt8] {
        guard let list = X509_CRL_new() else { throw .fromLibrary(.library, "cannot make a revocation list") }
        defer { X509_CRL_free(list) }
        let now = ASN1_TIME_set(nil, time(nil) - 60)
        let next = ASN1_TIME_set(nil, time(nil) + 30 * 86_400)
        defer {
            ASN1_STRING_free(now)
            ASN1_STRING_free(next)
        }
        var complete = X509_CRL_set_version(list, 1) == 1
        complete = X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate)) == 1 && complete
        complete = X509_CRL_set1_lastUpdate(list, now) == 1 && X509_CRL_set1_nextUpdate(list, next) == 1 && complete
        for entry in revoked {
            let number = CertificateBuilder.integer(entry.serialNumber)
            defer { ASN1_INTEGER_free(number) }
            let item = X509_REVOKED_new()
            complete = X509_REVOKED_set_serialNumber(item, number) == 1 && complete
            complete = X509_REVOKED_set_revocationDate(item, now) == 1 && complete
            complete = X509_CRL_add0_revoked(list, item) == 1 && complete
        }
        guard complete, X509_CRL_sign(list, key, EVP_sha256()) > 0 else {
            throw .fromLibrary(.library, "cannot make a revocation list")
        }
        return CertificateBuilder.pem { PEM_write_bio_X509_CRL($0, list) }
    }
}

/// The certificates that `--auto-tls` makes for itself. Source: etcd-behaviour.md section 8, "auto-tls".
package enum SelfSigned {
    /// Makes a new key and a certificate signed with it. Throws `library`, or `configuration` for a bad host name.
    package static func make(_ request: CertificateRequest) throws(TLSError) -> IssuedCertificate {
        try CertificateBuilder.issue(request, issuer: nil)
    }

    /// Makes sure that `directory` (created with mode 0700; its parent must exist) holds `cert.pem` and `key.pem` for
    /// `hosts`, and returns their paths. A pair that is there, belongs together and has not expired is kept.
    /// `validityYears` is 1 or more; a year has 365 days, as in etcd. Throws `file`, `library` or `configuration`.
    package static func ensure(
        directory: String, hosts: [String], validityYears: Int
    ) throws(TLSError) -> (certificateFile: String, keyFile: String) {
        guard (1...1000).contains(validityYears) else {
            throw TLSError(.configuration, "selfSignedCertValidity is invalid, it should be greater than 0")
        }
        if mkdir(directory, 0o700) != 0, errno != EEXIST { throw SecretFile.failure("cannot create", directory) }
        let files = (certificateFile: directory + "/cert.pem", keyFile: directory + "/key.pem")
        let present = TLSConfiguration.server(certificateFile: files.certificateFile, keyFile: files.keyFile)
        if let context = try? TLSContext(present), let expiry = context.certificate?.notAfter,
            expiry > Int64(time(nil))
        {
            return files
        }
        var request = CertificateRequest(
            commonName: "", hosts: hosts, validitySeconds: Int64(validityYears) * 365 * 86_400)
        request.organization = "martlet"
        try make(request).write(certificateFile: files.certificateFile, keyFile: files.keyFile)
        return files
    }
}
