import COpenSSL

/// One immutable SSL_CTX: certificate, key, CAs, revoked serial numbers and options, all loaded and checked.
///
/// Every connection keeps the context it began with. `@unchecked Sendable`: nothing here changes after `init`; OpenSSL
/// counts references to an SSL_CTX with atomics and takes its own locks for what it caches inside.
package final class TLSContext: @unchecked Sendable {
    package let configuration: TLSConfiguration
    /// Our own certificate; nil for a client without one.
    package let certificate: PeerCertificate?
    let pointer: OpaquePointer
    let policy: PeerPolicy
    /// ALPN in wire form: each name after its length.
    let protocolList: [UInt8]
    private let protocolMemory: UnsafeMutablePointer<ProtocolList>

    /// What OpenSSL's ALPN callback is given: memory that lives as long as this object.
    struct ProtocolList {
        var names: [[UInt8]]
    }

    /// Reads every file of `configuration`. Throws `configuration`, `file`, `certificate`, `key` or `library`.
    package init(_ configuration: TLSConfiguration) throws(TLSError) {
        try configuration.validate()
        let isServer = configuration.role == .server
        guard let pointer = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
            throw .fromLibrary(.library, "cannot make a TLS context")
        }
        do throws(TLSError) {
            try Self.setOptions(pointer, configuration)
            certificate = try Self.loadIdentity(pointer, configuration)
            try Self.loadAuthorities(pointer, configuration)
            policy = PeerPolicy(
                expectedHost: configuration.serverName, allowedHostnames: configuration.allowedHostnames,
                allowedCommonNames: configuration.allowedCommonNames,
                revokedSerials: try Self.loadRevoked(configuration.revocationListFile))
        } catch {
            SSL_CTX_free(pointer)
            throw error
        }
        self.pointer = pointer
        self.configuration = configuration
        let names = configuration.applicationProtocols.map { Array($0.utf8) }
        protocolList = names.flatMap { [UInt8($0.count)] + $0 }
        protocolMemory = .allocate(capacity: 1)
        protocolMemory.initialize(to: ProtocolList(names: names))
        if isServer, !names.isEmpty {
            SSL_CTX_set_alpn_select_cb(pointer, Self.selectProtocol, protocolMemory)
        }
    }

    deinit {
        SSL_CTX_free(pointer)
        protocolMemory.deinitialize(count: 1)
        protocolMemory.deallocate()
    }

    private static func setOptions(_ context: OpaquePointer, _ configuration: TLSConfiguration) throws(TLSError) {
        let suites = try CipherSuites(goNames: configuration.cipherSuites)
        // With suites of TLS 1.3 only, TLS 1.2 has none left: it is not offered.
        let minimum = suites.tls12 == nil ? .tls13 : configuration.minimumVersion
        let maximum = configuration.maximumVersion ?? .tls13
        guard martlet_ctx_set_versions(context, minimum.number, maximum.number) == 1 else {
            throw .fromLibrary(.configuration, "this OpenSSL refuses the TLS versions")
        }
        if let list = suites.tls12, SSL_CTX_set_cipher_list(context, list) != 1 {
            throw .fromLibrary(.configuration, "this OpenSSL refuses the cipher suites \(list)")
        }
        if SSL_CTX_set_ciphersuites(context, suites.tls13) != 1 {
            throw .fromLibrary(.configuration, "this OpenSSL refuses the cipher suites \(suites.tls13)")
        }
        martlet_ctx_set_defaults(context)
        var mode = SSL_VERIFY_NONE
        if configuration.verifiesPeer { mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT }
        SSL_CTX_set_verify(context, mode, PeerVerifier.callback)
        if let parameters = SSL_CTX_get0_param(context) {
            // As Go: a CA file may name an intermediate CA, whose own issuer is then not asked for.
            X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        }
    }

    /// Chooses the first of our protocols that the client offers too.
    private static let selectProtocol:
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
            UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
        ) -> Int32 = { _, chosen, chosenCount, offered, offeredCount, argument in
            guard let argument, let offered, let chosen, let chosenCount else { return SSL_TLSEXT_ERR_ALERT_FATAL }
            let ours = argument.assumingMemoryBound(to: ProtocolList.self).pointee.names
            let theirs = UnsafeBufferPointer(start: offered, count: Int(offeredCount))
            for name in ours {
                var index = 0
                while index < theirs.count {
                    let start = index + 1
                    let end = start + Int(theirs[index])
                    if end > theirs.count { return SSL_TLSEXT_ERR_ALERT_FATAL }
                    if theirs[start..<end].elementsEqual(name) {
                        chosen.pointee = offered + start
                        chosenCount.pointee = UInt8(end - start)
                        return SSL_TLSEXT_ERR_OK
                    }
                    index = end
                }
            }
            return SSL_TLSEXT_ERR_ALERT_FATAL
        }
}
