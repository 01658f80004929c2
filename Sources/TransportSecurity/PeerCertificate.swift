import COpenSSL
import Glibc

/// What Martlet needs to know of a certificate, copied out of OpenSSL: identity for authorisation and logs.
package struct PeerCertificate: Sendable, Equatable {
    /// The subject's last common name ("" when it has none): the user name of certificate authentication.
    package var commonName: String
    /// Subject alternative names that are DNS names, in the certificate's order.
    package var dnsNames: [String]
    /// Subject alternative names that are addresses: 4 or 16 bytes each.
    package var addressBytes: [[UInt8]]
    /// The serial number, big-endian without leading zeros.
    package var serialNumber: [UInt8]
    /// First and last second of validity, seconds since 1970.
    package var notBefore: Int64
    package var notAfter: Int64
    /// The certificate itself, DER.
    package var der: [UInt8]

    /// Subject alternative names that are addresses, as text.
    package var addresses: [String] { addressBytes.map(HostName.text) }

    /// The serial number in lower-case hexadecimal.
    package var serialText: String {
        serialNumber.map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }

    /// Whether the certificate is valid for a host name or an IP address, as Go's `VerifyHostname` decides it.
    package func isValid(for host: String) -> Bool {
        if let address = HostName.address(host) {
            return addressBytes.contains { HostName.mapped($0) == address }
        }
        return dnsNames.contains { HostName.matches(pattern: $0, host: host) }
    }

    /// Copies a certificate that OpenSSL owns. Throws `certificate` when it has no readable dates or encoding.
    init(_ certificate: OpaquePointer) throws(TLSError) {
        commonName = Self.commonName(of: certificate)
        (dnsNames, addressBytes) = Self.alternativeNames(of: certificate)
        serialNumber = Self.serialNumber(of: certificate)
        guard let notBefore = Self.seconds(X509_get0_notBefore(certificate)),
            let notAfter = Self.seconds(X509_get0_notAfter(certificate))
        else { throw TLSError(.certificate, "certificate of \"\(commonName)\" has no readable dates") }
        self.notBefore = notBefore
        self.notAfter = notAfter
        let count = i2d_X509(certificate, nil)
        guard count > 0 else { throw .fromLibrary(.certificate, "certificate of \"\(commonName)\" cannot be encoded") }
        der = [UInt8](unsafeUninitializedCapacity: Int(count)) { memory, initialized in
            var cursor = memory.baseAddress
            initialized = Int(max(0, i2d_X509(certificate, &cursor)))
        }
    }

    /// The magnitude of a certificate's serial number, for the revocation list.
    static func serialNumber(of certificate: OpaquePointer) -> [UInt8] {
        guard let number = X509_get0_serialNumber(certificate) else { return [] }
        return bytes(of: number)
    }

    /// The magnitude of a number, big-endian without leading zeros.
    static func bytes(of number: UnsafePointer<ASN1_INTEGER>) -> [UInt8] {
        var start: UnsafePointer<UInt8>?
        let count = martlet_crl_bytes(number, &start)
        return Array(UnsafeBufferPointer(start: start, count: Int(count)).drop { $0 == 0 })
    }

    private static func commonName(of certificate: OpaquePointer) -> String {
        guard let subject = X509_get_subject_name(certificate) else { return "" }
        var found: Int32 = -1
        while true {
            let next = X509_NAME_get_index_by_NID(subject, NID_commonName, found)
            if next < 0 { break }
            found = next
        }
        guard found >= 0, let data = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, found)) else { return "" }
        var text: UnsafeMutablePointer<UInt8>?
        let count = ASN1_STRING_to_UTF8(&text, data)
        guard count >= 0, let text else {
            ERR_clear_error()
            return ""
        }
        defer { CRYPTO_free(text, #fileID, #line) }
        return String(decoding: UnsafeBufferPointer(start: text, count: Int(count)), as: UTF8.self)
    }

    private static func alternativeNames(of certificate: OpaquePointer) -> (names: [String], addresses: [[UInt8]]) {
        guard let found = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return ([], []) }
        let stack = OpaquePointer(found)
        defer { GENERAL_NAMES_free(stack) }
        var names: [String] = []
        var addresses: [[UInt8]] = []
        for index in 0..<max(0, martlet_names_count(stack)) {
            var start: UnsafePointer<UInt8>?
            var count: Int32 = 0
            let type = martlet_names_at(stack, index, &start, &count)
            let bytes = UnsafeBufferPointer(start: start, count: Int(count))
            if type == GEN_DNS { names.append(String(decoding: bytes, as: UTF8.self)) }
            if type == GEN_IPADD, count == 4 || count == 16 { addresses.append(Array(bytes)) }
        }
        return (names, addresses)
    }

    private static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
        var broken = tm()
        guard let time, ASN1_TIME_to_tm(time, &broken) == 1 else { return nil }
        return Int64(timegm(&broken))
    }
}
