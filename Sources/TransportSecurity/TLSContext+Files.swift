import COpenSSL

/// Loading: each function reads one file whole, so that what is checked is what is used.
extension TLSContext {
    /// Loads certificate, chain and key and checks that they belong together; nil when there are none.
    static func loadIdentity(
        _ context: OpaquePointer, _ configuration: TLSConfiguration
    ) throws(TLSError) -> PeerCertificate? {
        guard let certificateFile = configuration.certificateFile, let keyFile = configuration.keyFile else {
            return nil
        }
        let chain = try certificates(inFile: certificateFile)
        defer { chain.forEach { X509_free($0) } }
        if SSL_CTX_use_certificate(context, chain[0]) != 1 {
            throw .fromLibrary(.certificate, "\(certificateFile) cannot be used")
        }
        for authority in chain.dropFirst() {
            X509_up_ref(authority)
            if martlet_ctx_add_chain_certificate(context, authority) != 1 {
                X509_free(authority)
                throw .fromLibrary(.certificate, "\(certificateFile): a certificate of the chain cannot be used")
            }
        }
        let key = try privateKey(inFile: keyFile)
        defer { EVP_PKEY_free(key) }
        if X509_check_private_key(chain[0], key) != 1 {
            ERR_clear_error()
            throw TLSError(.key, "the key in \(keyFile) does not belong to the certificate in \(certificateFile)")
        }
        if SSL_CTX_use_PrivateKey(context, key) != 1 { throw .fromLibrary(.key, "\(keyFile) cannot be used") }
        return try PeerCertificate(chain[0])
    }

    /// Loads the CAs that may sign the peer's certificate, or the system's for a client without a CA file.
    static func loadAuthorities(_ context: OpaquePointer, _ configuration: TLSConfiguration) throws(TLSError) {
        guard let file = configuration.trustedCAFile else {
            if configuration.role == .client, configuration.verifiesPeer,
                SSL_CTX_set_default_verify_paths(context) != 1
            {
                throw .fromLibrary(.certificate, "the system's CA certificates cannot be loaded")
            }
            return
        }
        let authorities = try certificates(inFile: file)
        defer { authorities.forEach { X509_free($0) } }
        for authority in authorities {
            if X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) != 1 {
                throw .fromLibrary(.certificate, "\(file): a certificate cannot be trusted")
            }
            if configuration.role == .server, martlet_ctx_add_client_ca(context, authority) != 1 {
                throw .fromLibrary(.certificate, "\(file): a certificate cannot be announced to clients")
            }
        }
    }

    /// The revoked serial numbers of every list in a PEM file, or of the one list of a DER file.
    static func loadRevoked(_ file: String?) throws(TLSError) -> Set<[UInt8]> {
        guard let file else { return [] }
        let content = try SecretFile.read(file)
        let lists = try SecretFile.withBIO(content) { (bio) throws(TLSError) -> [OpaquePointer] in
            var lists: [OpaquePointer] = []
            while let list = PEM_read_bio_X509_CRL(bio, nil, refusePassword, nil) { lists.append(list) }
            if lists.isEmpty || !isEndOfPEM() {
                lists.forEach { X509_CRL_free($0) }
                return []
            }
            return lists
        }
        ERR_clear_error()
        if !lists.isEmpty {
            defer { lists.forEach { X509_CRL_free($0) } }
            return lists.reduce(into: []) { $0.formUnion(serials(of: $1)) }
        }
        let single = try SecretFile.withBIO(content) { (bio) throws(TLSError) -> OpaquePointer? in
            d2i_X509_CRL_bio(bio, nil)
        }
        guard let single else { throw .fromLibrary(.certificate, "\(file) holds no readable revocation list") }
        defer { X509_CRL_free(single) }
        return serials(of: single)
    }

    private static func serials(of list: OpaquePointer) -> Set<[UInt8]> {
        var serials: Set<[UInt8]> = []
        for index in 0..<max(0, martlet_crl_count(list)) {
            guard let number = martlet_crl_serial(list, index) else { continue }
            serials.insert(PeerCertificate.bytes(of: number))
        }
        return serials
    }

    /// Every certificate of a PEM file, at least one; the caller frees them.
    static func certificates(inFile file: String) throws(TLSError) -> [OpaquePointer] {
        let content = try SecretFile.read(file)
        return try SecretFile.withBIO(content) { (bio) throws(TLSError) -> [OpaquePointer] in
            ERR_clear_error()
            var found: [OpaquePointer] = []
            while let certificate = PEM_read_bio_X509(bio, nil, refusePassword, nil) { found.append(certificate) }
            if isEndOfPEM(), !found.isEmpty {
                ERR_clear_error()
                return found
            }
            found.forEach { X509_free($0) }
            throw .fromLibrary(.certificate, "\(file) holds no readable certificate")
        }
    }

    /// The private key of a PEM file; the caller frees it.
    static func privateKey(inFile file: String) throws(TLSError) -> OpaquePointer {
        let content = try SecretFile.read(file)
        return try SecretFile.withBIO(content) { (bio) throws(TLSError) -> OpaquePointer in
            ERR_clear_error()
            guard let key = PEM_read_bio_PrivateKey(bio, nil, refusePassword, nil) else {
                throw .fromLibrary(.key, "\(file) holds no readable, unencrypted private key")
            }
            ERR_clear_error()
            return key
        }
    }

    /// Whether the last reading of PEM stopped because there was no further block, and not because one was bad.
    private static func isEndOfPEM() -> Bool {
        let error = ERR_peek_last_error()
        return martlet_error_library(error) == ERR_LIB_PEM && martlet_error_reason(error) == PEM_R_NO_START_LINE
    }

    /// Without a callback OpenSSL would ask for a password on the terminal and wait.
    private static let refusePassword:
        @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
            _, _, _, _ in -1
        }
}
