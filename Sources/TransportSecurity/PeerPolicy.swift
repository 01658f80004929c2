import COpenSSL

/// What a peer's certificate must satisfy beyond its chain. A value, so that it can be tested without a handshake.
struct PeerPolicy: Sendable {
    /// For clients: the host that was dialled.
    var expectedHost: String?
    var allowedHostnames: [String] = []
    var allowedCommonNames: [String] = []
    /// Serial numbers, big-endian without leading zeros. Any issuer's: as etcd, the number alone decides.
    var revokedSerials: Set<[UInt8]> = []

    /// The X509_V_ERR code that refuses one certificate of the chain, and the reason; nil when it is fine.
    /// `isLeaf`: the peer's own certificate, the only one that the names are asked of.
    func refusal(of certificate: OpaquePointer, isLeaf: Bool) -> (code: Int32, message: String)? {
        if !revokedSerials.isEmpty, revokedSerials.contains(PeerCertificate.serialNumber(of: certificate)) {
            let name = (try? PeerCertificate(certificate))?.commonName ?? ""
            return (X509_V_ERR_CERT_REVOKED, "the certificate of \"\(name)\" is revoked")
        }
        if !isLeaf || (expectedHost == nil && allowedHostnames.isEmpty && allowedCommonNames.isEmpty) { return nil }
        let leaf: PeerCertificate
        do {
            leaf = try PeerCertificate(certificate)
        } catch {
            return (X509_V_ERR_UNSPECIFIED, error.message)
        }
        if let expectedHost, !leaf.isValid(for: expectedHost) {
            let names = (leaf.dnsNames + leaf.addresses).joined(separator: ", ")
            return (
                X509_V_ERR_HOSTNAME_MISMATCH,
                "the certificate of \"\(leaf.commonName)\" is valid for \(names.isEmpty ? "no host" : names), "
                    + "not for \(expectedHost)"
            )
        }
        return leaf.refusal(allowedHostnames: allowedHostnames, allowedCommonNames: allowedCommonNames)
            .map { (X509_V_ERR_APPLICATION_VERIFICATION, $0) }
    }
}

extension PeerCertificate {
    /// Why the certificate has none of the names that are allowed; nil when it has one. An empty list allows every name.
    package func refusal(allowedHostnames: [String], allowedCommonNames: [String]) -> String? {
        if !allowedHostnames.isEmpty, !allowedHostnames.contains(where: isValid(for:)) {
            return "the certificate of \"\(commonName)\" is valid for none of the allowed host names"
        }
        if !allowedCommonNames.isEmpty, !allowedCommonNames.contains(commonName) {
            return "the common name \"\(commonName)\" is none of the allowed ones"
        }
        return nil
    }
}

/// What one SSL object points back to while it verifies. Owner: the session, on its event loop.
final class PeerVerifier {
    let policy: PeerPolicy
    /// The first refusal, in words.
    private(set) var refusal: String?

    init(policy: PeerPolicy) { self.policy = policy }

    /// OpenSSL's verify callback: called for each certificate of the chain, from the root to the peer's own, with what
    /// OpenSSL thinks of it. Nothing that OpenSSL refuses is accepted here.
    static let callback: @convention(c) (Int32, OpaquePointer?) -> Int32 = { accepted, store in
        guard let store, let ssl = martlet_store_ctx_ssl(store), let owner = martlet_ssl_owner(ssl) else { return 0 }
        let verifier = Unmanaged<PeerVerifier>.fromOpaque(owner).takeUnretainedValue()
        return verifier.check(store, accepted: accepted == 1) ? 1 : 0
    }

    private func check(_ store: OpaquePointer, accepted: Bool) -> Bool {
        let certificate = X509_STORE_CTX_get_current_cert(store)
        if !accepted {
            let text = X509_verify_cert_error_string(Int(X509_STORE_CTX_get_error(store)))
            let reason = text.map { String(cString: $0) } ?? "unknown reason"
            let name = certificate.flatMap { try? PeerCertificate($0) }?.commonName ?? ""
            refuse("the certificate of \"\(name)\" was refused: \(reason)")
            return false
        }
        guard let certificate else { return true }
        let isLeaf = X509_STORE_CTX_get_error_depth(store) == 0
        guard let refusal = policy.refusal(of: certificate, isLeaf: isLeaf) else { return true }
        X509_STORE_CTX_set_error(store, refusal.code)
        refuse(refusal.message)
        return false
    }

    private func refuse(_ message: String) {
        if refusal == nil { refusal = message }
    }
}
