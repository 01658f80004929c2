import COpenSSL
import NIOCore

/// One TLS connection without its socket: ciphertext in, plaintext out, and the other way round.
///
/// A state machine over OpenSSL with a BIO that reads from and writes into the callers' buffers; it does no I/O, knows
/// no time, and calls nobody. Owner: the event loop of its channel.
///
///     handshaking -> open -> (close_notify received and/or sent)      any -> failed
///
/// Invariants: OpenSSL sees lent memory only during one call. All input of a call is consumed, unless the session ends;
/// an incomplete record stays inside OpenSSL (at most one, `TLSLimits.recordBytesMax` and its overhead). After `failed`
/// OpenSSL is not called again.
struct TLSSession: ~Copyable {
    enum Phase: Equatable {
        case handshaking
        case open
        case failed
    }

    /// What one call of `receive` brought about, beside bytes. At most one of the ends.
    enum Event: Equatable {
        case none
        /// The peer has said that it sends no more.
        case closeNotify
        /// The connection is lost; an alert may have been appended to the output.
        case failed(TLSError)
    }

    private(set) var phase = Phase.handshaking
    private(set) var hasReceivedCloseNotify = false
    private(set) var hasSentCloseNotify = false

    private let role: TLSRole
    private let ssl: OpaquePointer
    private let io: UnsafeMutablePointer<martlet_tls_io>
    /// Room for what OpenSSL writes while nobody lends it an output: `TLSLimits.controlRoomBytes`.
    private let controlRoom: UnsafeMutablePointer<UInt8>
    /// OpenSSL's pointers lead to these two.
    private let context: TLSContext
    private let verifier: PeerVerifier

    /// Unsafe only to the compiler: a method table is never changed after it has been made.
    private nonisolated(unsafe) static let bioMethod: OpaquePointer? = martlet_bio_method()

    /// Begins a connection. `serverName` (clients) overrides the configuration's. Throws `library`, or `configuration`
    /// for a client that verifies but knows no name to verify.
    init(context: TLSContext, serverName: String? = nil) throws(TLSError) {
        let role = context.configuration.role
        var policy = context.policy
        policy.expectedHost = role == .server ? nil : serverName ?? policy.expectedHost
        if role == .client, context.configuration.verifiesPeer, policy.expectedHost == nil {
            throw TLSError(.configuration, "a TLS client needs the server's name to verify its certificate")
        }
        guard let method = Self.bioMethod, let ssl = SSL_new(context.pointer) else {
            throw .fromLibrary(.library, "cannot make a TLS connection")
        }
        guard let bio = BIO_new(method) else {
            SSL_free(ssl)
            throw .fromLibrary(.library, "cannot make a BIO")
        }
        if role == .client, let failure = Self.prepareClient(ssl, context, host: policy.expectedHost) {
            SSL_free(ssl)
            BIO_free(bio)
            throw failure
        }
        self.role = role
        self.ssl = ssl
        self.context = context
        verifier = PeerVerifier(policy: policy)
        io = .allocate(capacity: 1)
        io.initialize(to: martlet_tls_io())
        controlRoom = .allocate(capacity: TLSLimits.controlRoomBytes)
        BIO_set_data(bio, io)
        // One reference serves reading and writing; the SSL frees it.
        SSL_set_bio(ssl, bio, bio)
        martlet_ssl_set_owner(ssl, Unmanaged.passUnretained(verifier).toOpaque())
        if role == .server { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit {
        SSL_free(ssl)
        io.deinitialize(count: 1)
        io.deallocate()
        controlRoom.deallocate()
    }

    private static func prepareClient(_ ssl: OpaquePointer, _ context: TLSContext, host: String?) -> TLSError? {
        // RFC 6066, 3: a server name is a DNS name without a trailing dot, never an address.
        if let host, HostName.address(host) == nil {
            let name = host.utf8.last == UInt8(ascii: ".") ? String(host.dropLast()) : host
            if martlet_ssl_set_server_name(ssl, name) != 1 {
                return .fromLibrary(.configuration, "\"\(host)\" cannot be a server name")
            }
        }
        if !context.protocolList.isEmpty,
            SSL_set_alpn_protos(ssl, context.protocolList, UInt32(context.protocolList.count)) != 0
        {
            return .fromLibrary(.configuration, "the ALPN names cannot be used")
        }
        return nil
    }

    /// Produces the first bytes of a client; a server has none.
    mutating func start(into output: inout ByteBuffer) -> Event {
        role == .client ? advanceHandshake(into: &output) : .none
    }

    /// Takes all of `input`; appends what it decrypts to `plaintext` and what must be sent to `output`. After the call
    /// look at `phase` (the handshake may have completed) and at the result.
    mutating func receive(
        _ input: inout ByteBuffer, plaintext: inout ByteBuffer, output: inout ByteBuffer
    ) -> Event {
        if phase == .failed || hasReceivedCloseNotify {
            input.moveReaderIndex(to: input.writerIndex)
            return .none
        }
        var event = Event.none
        let count = input.readableBytes
        // The view of the input must outlive every call below, so they all happen inside it.
        input.withUnsafeReadableBytes { memory in
            io.pointee.input = memory.bindMemory(to: UInt8.self).baseAddress
            io.pointee.input_count = memory.count
            if phase == .handshaking { event = advanceHandshake(into: &output) }
            if phase == .open, event == .none { event = decrypt(into: &plaintext, output: &output) }
            io.pointee.input = nil
            io.pointee.input_count = 0
        }
        input.moveReaderIndex(forwardBy: count)
        return event
    }

    private mutating func advanceHandshake(into output: inout ByteBuffer) -> Event {
        let (ssl, io) = (self.ssl, self.io)
        while true {
            var status: Int32 = 0
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: TLSLimits.flightRoomBytes) { room in
                Self.lend(room, to: io)
                status = martlet_ssl_handshake(ssl)
                return io.pointee.output_count
            }
            lendControlRoom()
            switch status {
            case SSL_ERROR_NONE:
                phase = .open
                return .none
            case SSL_ERROR_WANT_READ: return .none
            case SSL_ERROR_WANT_WRITE: continue
            default: return fail()
            }
        }
    }

    private mutating func decrypt(into plaintext: inout ByteBuffer, output: inout ByteBuffer) -> Event {
        let (ssl, io) = (self.ssl, self.io)
        lendControlRoom()
        while true {
            var status: Int32 = 0
            let wanted = min(max(io.pointee.input_count, 256), TLSLimits.recordBytesMax)
            plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { room in
                var count = 0
                status = martlet_ssl_read(ssl, room.baseAddress, room.count, &count)
                return status == SSL_ERROR_NONE ? count : 0
            }
            if io.pointee.output_count > 0 { takeControl(into: &output) }
            switch status {
            case SSL_ERROR_NONE:
                // Saves the call that would only say "no more": nothing lent is left and nothing decrypted waits.
                if io.pointee.input_count == 0, SSL_pending(ssl) == 0 { return .none }
            case SSL_ERROR_WANT_READ: return .none
            case SSL_ERROR_WANT_WRITE: continue
            case SSL_ERROR_ZERO_RETURN:
                hasReceivedCloseNotify = true
                return .closeNotify
            default:
                let event = fail()
                takeControl(into: &output)
                return event
            }
        }
    }

    /// Encrypts all of `plaintext` and appends the records to `output`. Returns the error that ends the session.
    mutating func seal(_ plaintext: UnsafeRawBufferPointer, into output: inout ByteBuffer) -> TLSError? {
        guard phase == .open, !hasSentCloseNotify else { return TLSError(.record, "write on a closed TLS connection") }
        if plaintext.count == 0 { return nil }
        let (ssl, io) = (self.ssl, self.io)
        let records = plaintext.count / TLSLimits.recordBytesMax + 1
        let room = plaintext.count + records * TLSLimits.recordOverheadBytesMax
        while true {
            var status: Int32 = 0
            var count = 0
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { room in
                Self.lend(room, to: io)
                status = martlet_ssl_write(ssl, plaintext.baseAddress, plaintext.count, &count)
                return io.pointee.output_count
            }
            lendControlRoom()
            switch status {
            case SSL_ERROR_NONE: return nil
            case SSL_ERROR_WANT_WRITE: continue
            default:
                guard case .failed(let error) = fail() else { return nil }
                return error
            }
        }
    }

    /// Appends close_notify to `output`, once; does nothing before the handshake is done or after a failure.
    mutating func close(into output: inout ByteBuffer) {
        guard phase == .open, !hasSentCloseNotify else { return }
        hasSentCloseNotify = true
        lendControlRoom()
        _ = martlet_ssl_shutdown(ssl)
        takeControl(into: &output)
        ERR_clear_error()
    }

    /// What the handshake has agreed on. Call it only when `phase` is `open`.
    func summary() -> TLSHandshakeCompleted {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &start, &count)
        let name = UnsafeBufferPointer(start: start, count: Int(count))
        let cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)).map { String(cString: $0) } ?? ""
        return TLSHandshakeCompleted(
            negotiatedProtocol: name.isEmpty ? nil : String(decoding: name, as: UTF8.self),
            version: TLSVersion(number: SSL_version(ssl)) ?? .tls12,
            cipher: cipher,
            peer: SSL_get0_peer_certificate(ssl).flatMap { try? PeerCertificate($0) })
    }

    // MARK: - Lending memory

    private static func lend(_ room: UnsafeMutableRawBufferPointer, to io: UnsafeMutablePointer<martlet_tls_io>) {
        io.pointee.output = room.bindMemory(to: UInt8.self).baseAddress
        io.pointee.output_count = 0
        io.pointee.output_capacity = room.count
    }

    private func lendControlRoom() {
        io.pointee.output = controlRoom
        io.pointee.output_count = 0
        io.pointee.output_capacity = TLSLimits.controlRoomBytes
    }

    private func takeControl(into output: inout ByteBuffer) {
        output.writeBytes(UnsafeRawBufferPointer(start: controlRoom, count: io.pointee.output_count))
        io.pointee.output_count = 0
    }

    // MARK: - Failure

    /// Ends the session and says why, from the verifier's refusal, the peer's alert or OpenSSL's queue.
    private mutating func fail() -> Event {
        let wasHandshaking = phase == .handshaking
        phase = .failed
        let (text, alert) = TLSError.takeReason()
        if let refusal = verifier.refusal { return .failed(TLSError(.peerCertificate, refusal)) }
        if alert != 0 { return .failed(TLSError(.alert, "the peer sent the alert \"\(text)\"")) }
        if !wasHandshaking { return .failed(TLSError(.record, "bad record: \(text)")) }
        if role == .server, context.configuration.verifiesPeer, SSL_get0_peer_certificate(ssl) == nil,
            text == "peer did not return a certificate"
        {
            return .failed(TLSError(.peerCertificate, "the client gave no certificate"))
        }
        return .failed(TLSError(.handshake, "handshake failed: \(text)"))
    }
}
