package import NIOCore

/// Encrypts one channel: `ByteBuffer`s of ciphertext below, of plaintext above.
///
/// Owner: the channel's event loop; one handler serves one connection. Above it everything is as without TLS, except
/// that writes wait for the handshake, and that `TLSHandshakeCompleted` is fired as a user inbound event before the
/// first plaintext. Every failure is fired as a `TLSError` through `errorCaught`, once, before the channel closes; a
/// peer's close_notify closes the channel, or, with `allowsHalfClosure`, is fired as `ChannelEvent.inputClosed`.
///
/// Bounds: `TLSLimits`. Plaintext read is never held back; what is written is held until the next flush, at most
/// `unsealedBytesMax`, and `handshakePendingBytesMax` while the handshake runs.
package final class TLSHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    /// Where the connection is. `closing` waits for the last bytes to leave.
    enum Phase: Equatable {
        case idle
        case handshaking
        case open
        case closing
        case closed
    }

    struct PendingWrite {
        var bytes: ByteBuffer
        var promise: EventLoopPromise<Void>?
    }

    let source: TLSContextSource
    let serverName: String?
    let limits: TLSLimits
    let allowsHalfClosure: Bool

    var phase = Phase.idle
    var session: TLSSession?
    var detector: PlaintextDetector?
    var pending: [PendingWrite] = []
    var pendingBytes = 0
    var flushAfterHandshake = false
    var isOutputClosed = false
    /// Completed when the channel has closed.
    var closePromises: [EventLoopPromise<Void>] = []
    var deadline: Scheduled<Void>?
    /// Whether this read cycle brought anything for the handlers above; if not, the channel is asked to read again.
    private var hasDelivered = false
    private var unwritableControlBytes = 0

    // Kept from call to call when small: a ByteBuffer that nobody else holds any more is used again without allocation.
    private var plaintext = ByteBuffer()
    private var ciphertext = ByteBuffer()
    private var gathered = ByteBuffer()

    /// A handler for one connection of either side, as `source.configuration.role` says. `serverName` (clients): the
    /// host that is dialled, for SNI and verification; nil means the configuration's. `allowsHalfClosure`: whether the
    /// connection stays open for writing after the peer's close_notify.
    package init(
        source: TLSContextSource, serverName: String? = nil, limits: TLSLimits = TLSLimits(),
        allowsHalfClosure: Bool = false
    ) {
        self.source = source
        self.serverName = serverName
        self.limits = limits
        self.allowsHalfClosure = allowsHalfClosure
    }

    // MARK: - Beginning

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { start(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    private func start(_ context: ChannelHandlerContext) {
        if phase != .idle { return }
        phase = .handshaking
        detector = PlaintextDetector(role: source.configuration.role)
        deadline = schedule(context, milliseconds: limits.handshakeTimeoutMilliseconds) { handler, context in
            if handler.phase != .handshaking { return }
            let error = handler.detector?.atEnd()
            let seconds = Double(handler.limits.handshakeTimeoutMilliseconds) / 1000
            handler.fail(context, error ?? TLSError(.handshakeTimeout, "no handshake within \(seconds) s"))
        }
        var output = ByteBuffer()
        do throws(TLSError) {
            session = try TLSSession(context: source.current(), serverName: serverName)
            if case .failed(let error)? = session?.start(into: &output) { throw error }
        } catch {
            return fail(context, error)
        }
        if output.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(output), promise: nil) }
    }

    // MARK: - Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard phase == .handshaking || phase == .open else { return }
        var input = unwrapInboundIn(data)
        if detector != nil, !passesDetector(context, input) { return }
        plaintext.clear(minimumCapacity: input.readableBytes)
        var output = ByteBuffer()
        let wasHandshaking = phase == .handshaking
        guard let event = session?.receive(&input, plaintext: &plaintext, output: &output) else { return }

        if case .failed(let error) = event {
            if wasHandshaking, session?.phase == .open { complete(context) }
            deliver(context)
            return fail(context, error, lastBytes: output)
        }
        if output.readableBytes > 0, !sendControl(context, output, isHandshake: wasHandshaking) { return }
        if wasHandshaking, session?.phase == .open { complete(context) }
        deliver(context)
        if event == .closeNotify { receivedCloseNotify(context) }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        // With autoRead off, a read that brought only a part of a record must not leave the asker without an answer.
        if !hasDelivered, phase == .handshaking || phase == .open { context.read() }
        hasDelivered = false
        context.fireChannelReadComplete()
    }

    /// Whether the bytes are for OpenSSL; if not, the detector holds them or has ended the connection.
    private func passesDetector(_ context: ChannelHandlerContext, _ input: ByteBuffer) -> Bool {
        switch detector?.inspect(input) {
        case .tls?, nil:
            detector = nil
            return true
        case .undecided?: return false
        case .plaintext(let error, let answer)?:
            fail(context, error, lastBytes: answer.map { ByteBuffer(string: $0) } ?? ByteBuffer())
            return false
        }
    }

    private func deliver(_ context: ChannelHandlerContext) {
        if plaintext.readableBytes == 0 || phase != .open { return }
        hasDelivered = true
        let bytes = plaintext
        if bytes.capacity > TLSLimits.keptBufferBytesMax { plaintext = ByteBuffer() }
        context.fireChannelRead(wrapInboundOut(bytes))
    }

    /// Sends what OpenSSL answered by itself. False when the peer makes us answer without reading the answers.
    private func sendControl(_ context: ChannelHandlerContext, _ output: ByteBuffer, isHandshake: Bool) -> Bool {
        if !isHandshake, !context.channel.isWritable {
            unwritableControlBytes += output.readableBytes
            if unwritableControlBytes > limits.controlBytesMax {
                fail(context, TLSError(.limit, "the peer asks for key updates faster than it reads them"))
                return false
            }
        } else {
            unwritableControlBytes = 0
        }
        context.writeAndFlush(wrapOutboundOut(output), promise: nil)
        return true
    }

    private func complete(_ context: ChannelHandlerContext) {
        guard let summary = session?.summary() else { return }
        phase = .open
        deadline?.cancel()
        deadline = nil
        context.fireUserInboundEventTriggered(summary)
        if flushAfterHandshake, phase == .open {
            sealPending(context)
            context.flush()
        }
        flushAfterHandshake = false
    }

    private func receivedCloseNotify(_ context: ChannelHandlerContext) {
        guard phase == .open else { return }
        if allowsHalfClosure, !isOutputClosed {
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        } else {
            beginClosing(context, promise: nil)
        }
    }

    // MARK: - Writing

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard phase != .closing, phase != .closed, !isOutputClosed else {
            promise?.fail(isOutputClosed ? ChannelError.outputClosed : ChannelError.ioOnClosedChannel)
            return
        }
        let bytes = unwrapOutboundIn(data)
        pending.append(PendingWrite(bytes: bytes, promise: promise))
        pendingBytes += bytes.readableBytes
        if phase == .open {
            if pendingBytes >= limits.unsealedBytesMax { sealPending(context) }
        } else if pendingBytes > limits.handshakePendingBytesMax {
            fail(context, TLSError(.limit, "more than \(limits.handshakePendingBytesMax) bytes wait for the handshake"))
        }
    }

    package func flush(context: ChannelHandlerContext) {
        if phase == .open {
            sealPending(context)
        } else if phase != .closed {
            flushAfterHandshake = true
        }
        context.flush()
    }

    /// Encrypts every pending write and hands the records to the channel, normally in one buffer.
    func sealPending(_ context: ChannelHandlerContext) {
        if pending.isEmpty { return }
        ciphertext.clear()
        if pending.count == 1 {
            let write = pending.removeLast()
            pendingBytes = 0
            let error = sealWhole(context, write.bytes)
            return finishSealing(context, error, promise: write.promise)
        }
        let writes = pending
        pending.removeAll(keepingCapacity: writes.count <= 64)
        pendingBytes = 0
        var error: TLSError?
        gathered.clear()
        for (index, write) in writes.enumerated() where error == nil {
            error = gather(context, write.bytes, isLast: index == writes.count - 1)
        }
        if gathered.capacity > TLSLimits.recordBytesMax { gathered = ByteBuffer() }
        finishSealing(context, error, promise: combined(context, writes))
    }

    /// Encrypts one buffer in steps, so that the ciphertext of a huge one is not a second huge one.
    private func sealWhole(_ context: ChannelHandlerContext, _ bytes: ByteBuffer) -> TLSError? {
        bytes.withUnsafeReadableBytes { memory in
            var rest = UnsafeRawBufferPointer(memory)
            while !rest.isEmpty {
                if ciphertext.readableBytes >= limits.sealedBatchBytesMax { passCiphertext(context, promise: nil) }
                let step = UnsafeRawBufferPointer(rebasing: rest.prefix(limits.sealedBatchBytesMax))
                if let error = session?.seal(step, into: &ciphertext) { return error }
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(step.count))
            }
            return nil
        }
    }

    /// Collects small writes into full records: a record costs more than copying a few hundred bytes.
    private func gather(_ context: ChannelHandlerContext, _ bytes: ByteBuffer, isLast: Bool) -> TLSError? {
        var bytes = bytes
        while bytes.readableBytes > 0 {
            if gathered.readableBytes == 0, isLast || bytes.readableBytes >= TLSLimits.recordBytesMax {
                let whole = bytes.readableBytes / TLSLimits.recordBytesMax * TLSLimits.recordBytesMax
                let count = isLast ? bytes.readableBytes : whole
                guard let direct = bytes.readSlice(length: count) else { return nil }
                if let error = sealWhole(context, direct) { return error }
                continue
            }
            let count = min(TLSLimits.recordBytesMax - gathered.readableBytes, bytes.readableBytes)
            guard var part = bytes.readSlice(length: count) else { return nil }
            gathered.writeBuffer(&part)
            if gathered.readableBytes == TLSLimits.recordBytesMax {
                if let error = sealWhole(context, gathered) { return error }
                gathered.clear()
            }
        }
        if isLast, gathered.readableBytes > 0 { return sealWhole(context, gathered) }
        return nil
    }

    private func finishSealing(_ context: ChannelHandlerContext, _ error: TLSError?, promise: EventLoopPromise<Void>?) {
        if let error {
            promise?.fail(error)
            return fail(context, error)
        }
        passCiphertext(context, promise: promise)
    }

    private func passCiphertext(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        let bytes = ciphertext
        if bytes.capacity > TLSLimits.keptBufferBytesMax { ciphertext = ByteBuffer() }
        context.write(wrapOutboundOut(bytes), promise: promise)
        if bytes.capacity <= TLSLimits.keptBufferBytesMax { ciphertext.clear() }
    }

    /// One promise that completes all of the writes' promises; nil when none of them has one.
    private func combined(_ context: ChannelHandlerContext, _ writes: [PendingWrite]) -> EventLoopPromise<Void>? {
        var first: EventLoopPromise<Void>?
        for case let promise? in writes.map(\.promise) {
            if let first { first.futureResult.cascade(to: promise) } else { first = promise }
        }
        return first
    }
}
