import COpenSSL
import Glibc

/// Makes X.509 certificates with OpenSSL's API; every pointer it returns belongs to the caller.
enum CertificateBuilder {
    typealias Issuer = (certificate: OpaquePointer, key: OpaquePointer)

    static func newKey() throws(TLSError) -> OpaquePointer {
        guard let key = martlet_new_ec_key("P-256") else { throw .fromLibrary(.library, "cannot make a key") }
        return key
    }

    /// A new key and an end-entity certificate for it, signed by `issuer` or by itself.
    static func issue(_ request: CertificateRequest, issuer: Issuer?) throws(TLSError) -> IssuedCertificate {
        let key = try newKey()
        defer { EVP_PKEY_free(key) }
        var usages: [String] = []
        if request.isForServers { usages.append("serverAuth") }
        if request.isForClients { usages.append("clientAuth") }
        var extensions = [
            (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature,keyEncipherment"),
            (NID_subject_key_identifier, "hash"),
        ]
        if !usages.isEmpty { extensions.append((NID_ext_key_usage, usages.joined(separator: ","))) }
        if issuer != nil { extensions.append((NID_authority_key_identifier, "keyid")) }
        if !request.hosts.isEmpty {
            extensions.append((NID_subject_alt_name, try alternativeNames(request.hosts)))
        }
        let certificate = try make(request, key: key, extensions: extensions, issuer: issuer)
        defer { X509_free(certificate) }
        return IssuedCertificate(
            certificatePEM: pem { PEM_write_bio_X509($0, certificate) },
            keyPEM: pem { PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) },
            certificate: try PeerCertificate(certificate))
    }

    /// A certificate with these extensions (in OpenSSL's notation), signed by `issuer` or by `key` itself.
    static func make(
        _ request: CertificateRequest, key: OpaquePointer, extensions: [(Int32, String)], issuer: Issuer?
    ) throws(TLSError) -> OpaquePointer {
        guard let certificate = X509_new() else { throw .fromLibrary(.library, "cannot make a certificate") }
        do throws(TLSError) {
            try fill(certificate, request, key: key, issuer: issuer)
            for (kind, value) in extensions
            where martlet_add_extension(certificate, issuer?.certificate ?? certificate, kind, value) != 1 {
                throw .fromLibrary(.configuration, "cannot add the extension \"\(value)\"")
            }
            guard X509_sign(certificate, issuer?.key ?? key, EVP_sha256()) > 0 else {
                throw .fromLibrary(.library, "cannot sign a certificate")
            }
        } catch {
            X509_free(certificate)
            throw error
        }
        return certificate
    }

    private static func fill(
        _ certificate: OpaquePointer, _ request: CertificateRequest, key: OpaquePointer, issuer: Issuer?
    ) throws(TLSError) {
        var serial = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&serial, Int32(serial.count)) == 1 else { throw .fromLibrary(.library, "no randomness") }
        // Positive and not zero, RFC 5280, 4.1.2.2.
        serial[0] = (serial[0] & 0x7f) | 0x40
        let number = integer(serial)
        defer { ASN1_INTEGER_free(number) }
        let subject = X509_get_subject_name(certificate)
        var complete = X509_set_version(certificate, 2) == 1 && X509_set_serialNumber(certificate, number) == 1
        complete = complete && addEntry(subject, "O", request.organization)
        complete = complete && addEntry(subject, "CN", request.commonName)
        let issuerName = issuer.map { X509_get_subject_name($0.certificate) } ?? subject
        complete = complete && X509_set_issuer_name(certificate, issuerName) == 1
        complete = complete && ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(request.notBefore)) != nil
        complete = complete && ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(request.notAfter)) != nil
        complete = complete && X509_set_pubkey(certificate, key) == 1
        if !complete { throw .fromLibrary(.configuration, "cannot fill in a certificate") }
    }

    private static func addEntry(_ name: OpaquePointer?, _ field: String, _ value: String) -> Bool {
        if value.isEmpty { return true }
        return X509_NAME_add_entry_by_txt(name, field, MBSTRING_FLAG, value, -1, -1, 0) == 1
    }

    /// The hosts in OpenSSL's notation. Throws `configuration` for a host that is neither an address nor made of the
    /// letters of host names (a comma would begin another entry).
    private static func alternativeNames(_ hosts: [String]) throws(TLSError) -> String {
        var entries: [String] = []
        for host in hosts {
            if let address = HostName.address(host) {
                let isShort = address.starts(with: [UInt8](repeating: 0, count: 10) + [0xff, 0xff])
                entries.append("IP:" + HostName.text(isShort ? Array(address.suffix(4)) : address))
            } else if !host.isEmpty, host.utf8.allSatisfy(isHostByte) {
                entries.append("DNS:" + host)
            } else {
                throw TLSError(.configuration, "\"\(host)\" is neither a host name nor an address")
            }
        }
        return entries.joined(separator: ",")
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "*"):
            return true
        default: return false
        }
    }

    /// A number from big-endian bytes.
    static func integer(_ bytes: [UInt8]) -> UnsafeMutablePointer<ASN1_INTEGER>? {
        let number = BN_bin2bn(bytes, Int32(bytes.count), nil)
        defer { BN_free(number) }
        return BN_to_ASN1_INTEGER(number, nil)
    }

    /// What `write` writes into a BIO; empty when it fails, which only want of memory can cause.
    static func pem(_ write: (OpaquePointer) -> Int32) -> [UInt8] {
        guard let bio = BIO_new(BIO_s_mem()) else { return [] }
        defer { BIO_free(bio) }
        if write(bio) != 1 { return [] }
        var start: UnsafeRawPointer?
        let count = martlet_bio_contents(bio, &start)
        return Array(UnsafeRawBufferPointer(start: start, count: count))
    }
}
