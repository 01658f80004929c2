import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import RaftCore
import Transport

/// The snapshot that comes in: one at a time, over as many connections as its sender needs.
///
/// Owner: its own thread, where the sink's work is done; the streams' loops hand their events over in order. Between
/// two connections the half-done snapshot is kept for a while, and so is the outcome of one that is done, in case its
/// sender did not hear of it.
final class SnapshotReceiving: @unchecked Sendable {
    // `@unchecked`: `session` belongs to `thread`; the rest does not change.

    private struct Session {
        var id: UInt64
        var message: Message
        var sender: MemberID
        /// Nil once the snapshot is finished.
        var sink: (any SnapshotSink)?
        /// Bytes that the sink has taken.
        var consumed: UInt64 = 0
        /// The stream it comes on; nil between two.
        var stream: SnapshotStream?
        /// Counts the times that `stream` went away, so that only the last one's timer ends the session.
        var detachments = 0

        var isFinished: Bool { sink == nil }
    }

    private let core: PeerCore
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let timers: any EventLoop
    private var session: Session?

    init(core: PeerCore, timers: any EventLoop) {
        self.core = core
        self.timers = timers
        thread.start()
    }

    /// Aborts what there is, and returns when the thread has ended.
    func stop() async {
        await withCheckedContinuation { continuation in
            thread.submit { _ in
                self.drop(PeerProtocol.stopping)
                continuation.resume()
            }
        }
        try? await thread.shutdownGracefully()
    }

    // MARK: From the streams' loops

    func begin(_ stream: SnapshotStream, id: UInt64, offset: UInt64, message: Message) {
        submit(stream) { self.accept(stream, id: id, offset: offset, message: message) }
    }

    func data(_ stream: SnapshotStream, offset: UInt64, bytes: Bytes) {
        submit(stream) { self.take(stream, offset: offset, bytes: bytes) }
    }

    func end(_ stream: SnapshotStream, offset: UInt64) {
        submit(stream) { self.finish(stream, offset: offset) }
    }

    func gone(_ stream: SnapshotStream) {
        submit(stream) { self.detach(stream) }
    }

    private func submit(_ stream: SnapshotStream, _ body: @escaping @Sendable () -> Void) {
        thread.submit { state in
            if state == .active { body() } else { stream.fail(PeerProtocol.stopping) }
        }
    }

    // MARK: On the thread

    private func accept(_ stream: SnapshotStream, id: UInt64, offset: UInt64, message: Message) {
        if var current = session, current.id == id, current.sender == stream.member {
            // The sender comes back; its earlier stream may not have noticed.
            current.stream?.fail(PeerProtocol.replaced)
            guard offset <= current.consumed else {
                session = current
                drop(RPCStatus(.aborted, "the sender is ahead"))
                return stream.fail(RPCStatus(.aborted, "bytes \(current.consumed)..<\(offset) are missing"))
            }
            current.stream = stream
            session = current
            stream.accepted(consumed: current.consumed)
            if current.isFinished { stream.finished(consumed: current.consumed) }
            return
        }
        // Before anything else: who lost the last word about a snapshot that was installed goes on with it, and is told.
        if let delegate = core.delegate, !core.isStopping, !delegate.needsSnapshot(message, from: stream.member) {
            log(.info, "a snapshot that is offered is not needed", stream.member, message, [:])
            return stream.finished(consumed: offset)
        }
        if let current = session, !current.isFinished, !isSuperseded(current, by: stream, message) {
            return stream.fail(
                RPCStatus(
                    .resourceExhausted,
                    "busy: a snapshot from \(PeerProtocol.hex(current.sender)) is being received"))
        }
        guard offset == 0 else {
            return stream.fail(RPCStatus(.aborted, "nothing is known of the snapshot that is to be continued"))
        }
        drop(PeerProtocol.replaced)
        do {
            guard let delegate = core.delegate, !core.isStopping else { throw PeerProtocol.stopping }
            let sink = try delegate.beginSnapshot(message, from: stream.member)
            session = Session(id: id, message: message, sender: stream.member, sink: sink, stream: stream)
            log(.info, "receiving a snapshot", stream.member, message, [:])
            stream.accepted(consumed: 0)
        } catch {
            log(.warning, "refused a snapshot", stream.member, message, ["reason": "\(error)"])
            stream.fail((error as? RPCStatus) ?? RPCStatus(.internal, "the snapshot was refused: \(error)"))
        }
    }

    /// Whether a session that is not finished gives way to another: its sender has given it up, or leads no more.
    private func isSuperseded(_ session: Session, by stream: SnapshotStream, _ message: Message) -> Bool {
        if message.term > session.message.term { return true }
        return session.stream == nil && session.sender == stream.member
    }

    private func take(_ stream: SnapshotStream, offset: UInt64, bytes: Bytes) {
        guard let sink = current(stream) else { return }
        guard let session, offset == session.consumed else {
            return failed(RPCStatus(.internal, "bytes at \(offset) came where others were expected"))
        }
        do {
            try sink.append(bytes)
        } catch { return failed(RPCStatus(.dataLoss, "\(error)")) }
        let consumed = session.consumed + UInt64(bytes.count)
        self.session?.consumed = consumed
        core.link(stream.member)?.note { $0.bytesReceived += UInt64(bytes.count) }
        stream.consumed(consumed, count: bytes.count)
    }

    private func finish(_ stream: SnapshotStream, offset: UInt64) {
        guard let sink = current(stream), let session else { return }
        guard offset == session.consumed else {
            return failed(RPCStatus(.dataLoss, "the snapshot ends at \(offset), but \(session.consumed) bytes came"))
        }
        do { try sink.finish() } catch { return failed(RPCStatus(.dataLoss, "\(error)")) }
        self.session?.sink = nil
        core.link(stream.member)?.note { $0.snapshotsReceived += 1 }
        log(.info, "received a snapshot", stream.member, session.message, ["bytes": "\(session.consumed)"])
        stream.finished(consumed: session.consumed)
    }

    /// The sink, if `stream` is the one of an unfinished session.
    private func current(_ stream: SnapshotStream) -> (any SnapshotSink)? {
        guard let session, session.stream === stream else { return nil }
        return session.sink
    }

    private func detach(_ stream: SnapshotStream) {
        guard session?.stream === stream else { return }
        session?.stream = nil
        session?.detachments += 1
        guard let id = session?.id, let detachments = session?.detachments else { return }
        timers.scheduleTask(in: core.limits.snapshotKeepTime) {
            self.thread.submit { _ in
                guard let session = self.session, session.id == id, session.stream == nil,
                    session.detachments == detachments
                else { return }
                self.drop(PeerProtocol.stopping)
            }
        }
    }

    /// The snapshot cannot be what was sent, or the sink has failed.
    private func failed(_ status: RPCStatus) {
        guard let session else { return }
        log(.warning, "receiving a snapshot failed", session.sender, session.message, ["reason": "\(status.message)"])
        drop(status)
    }

    /// Forgets the session; an unfinished one is aborted. Its sender hears of it when nothing of it is left: it may come
    /// again at once.
    private func drop(_ status: RPCStatus) {
        guard let last = session else { return }
        session = nil
        if let sink = last.sink {
            sink.abort()
            core.link(last.sender)?.note { $0.snapshotsReceiveFailed += 1 }
        }
        last.stream?.fail(status)
    }

    private func log(
        _ level: Logger.Level, _ text: Logger.Message, _ sender: MemberID, _ message: Message,
        _ more: Logger.Metadata
    ) {
        var metadata = more
        metadata["peer"] = "\(PeerProtocol.hex(sender))"
        metadata["index"] = "\(message.snapshot?.index.rawValue ?? 0)"
        core.logger.log(level: level, text, metadata: metadata)
    }
}

/// One connection's stream of a snapshot to us. Owner: the connection's loop; what the receiving thread calls hops.
final class SnapshotStream: RPCStreamHandler, @unchecked Sendable {
    // `@unchecked`: see the owner above.

    let member: MemberID
    private let call: RPCCall
    private let core: PeerCore
    private let receiving: SnapshotReceiving
    private var hasBegun = false
    private var hasEnded = false
    /// Handed to the thread and not consumed.
    private var pendingBytes = 0
    private var isPaused = false

    init(call: RPCCall, member: MemberID, core: PeerCore, receiving: SnapshotReceiving) {
        self.call = call
        self.member = member
        self.core = core
        self.receiving = receiving
    }

    // MARK: On the loop

    func received(message: UnsafeRawBufferPointer) {
        do {
            let part = try SnapshotPart(decoding: message)
            if !hasBegun {
                hasBegun = true
                var message = try part.message.withUnsafeBytes { try core.configuration.decode($0) }
                message.to = core.configuration.memberID
                guard message.type == .snapshot, part.id != 0 else { throw PeerProtocol.Malformed() }
                // Nothing more is taken before the receiver has agreed.
                pause()
                receiving.begin(self, id: part.id, offset: part.offset, message: message)
            } else if part.isEnd, !hasEnded {
                hasEnded = true
                receiving.end(self, offset: part.offset)
            } else {
                guard !hasEnded, !part.data.isEmpty else { throw PeerProtocol.Malformed() }
                pendingBytes += part.data.count
                // A sender with the same limits stops by itself before: what it sees is how fast the link is, not the sink.
                if pendingBytes > 2 * core.limits.snapshotWindowBytes { pause() }
                receiving.data(self, offset: part.offset, bytes: part.data)
            }
        } catch {
            receiving.gone(self)
            call.fail(RPCStatus(.invalidArgument, "a malformed part of a snapshot"))
        }
    }

    func halfClosed() {
        guard !hasEnded else { return }
        receiving.gone(self)
        call.fail(RPCStatus(.invalidArgument, "the snapshot's stream ended before the snapshot"))
    }

    func cancelled() { receiving.gone(self) }

    func shuttingDown() {
        receiving.gone(self)
        call.fail(PeerProtocol.stopping)
    }

    private func pause() {
        guard !isPaused else { return }
        isPaused = true
        call.pauseReceiving()
    }

    private func resume() {
        guard isPaused else { return }
        isPaused = false
        call.resumeReceiving()
    }

    private func send(_ answer: SnapshotAcknowledgement) {
        call.send(size: answer.encodedSize) { PeerProtocol.write(answer, to: $0) }
    }

    // MARK: From the receiving thread

    func accepted(consumed: UInt64) {
        call.eventLoop.execute {
            self.send(SnapshotAcknowledgement(consumed: consumed))
            self.resume()
        }
    }

    func consumed(_ consumed: UInt64, count: Int) {
        call.eventLoop.execute {
            self.pendingBytes -= count
            self.send(SnapshotAcknowledgement(consumed: consumed))
            if self.pendingBytes <= self.core.limits.snapshotWindowBytes { self.resume() }
        }
    }

    func finished(consumed: UInt64) {
        call.eventLoop.execute {
            self.send(SnapshotAcknowledgement(consumed: consumed, isDone: true))
            self.call.finish()
        }
    }

    func fail(_ status: RPCStatus) {
        call.eventLoop.execute { self.call.fail(status) }
    }
}
