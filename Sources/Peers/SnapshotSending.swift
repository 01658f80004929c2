import DequeModule
import Logging
import NIOCore
import NIOPosix
import Primitives
import RaftCore
import Transport

/// One snapshot on its way to one member, over as many connections as it takes.
///
/// The chunk thread opens the image and makes chunks, one at a time and only while fewer than the window's bytes are
/// unacknowledged; those are kept, so that after a broken connection the stream goes on where the receiver is. Whether a
/// chunk is compressed is decided when it is asked for, by how much waits for the link (`FrameCompression`). Owner: the
/// link's event loop, but for `source`, which belongs to the chunk thread.
final class SnapshotSending: @unchecked Sendable {
    // `@unchecked`: see the owner above; methods that are called from elsewhere hop.

    private enum Phase {
        /// The image is being opened.
        case opening
        /// No connection: the dial is under way or waits.
        case dialling
        /// Connected; the receiver has not said where to go on.
        case greeting
        case streaming
        /// All is sent: the receiver verifies.
        case finishing
        case done
    }

    private struct Chunk {
        var offset: UInt64
        var bytes: Bytes
        var end: UInt64 { offset + UInt64(bytes.count) }
    }

    private let link: PeerLink
    private let core: PeerCore
    private let id: UInt64
    private let request: Message
    private let completion: (Bool) -> Void
    /// Chunk thread only, after `opened`.
    private let source = SourceBox()

    private var message = Bytes()
    private var phase = Phase.opening
    /// Counts connections, so that what an earlier one still has to say is not heard.
    private var attempt = 0
    private var connection: PeerConnection?
    private var stream: ClientCall?
    private var urlIndex = 0
    private var failedAttempts = 0
    private var timer: Scheduled<Void>?
    private var watchdog: RepeatedTask?

    /// Made and not acknowledged, in order.
    private var chunks: Deque<Chunk> = []
    private var acknowledged: UInt64 = 0
    private var produced: UInt64 = 0
    private var sent: UInt64 = 0
    private var isProducing = false
    /// The source has no more: `produced` is the whole.
    private var isWhole = false
    private var endSent = false
    /// The receiver has said that it has as much.
    private var isNotNeeded = false
    private var progressAt = NIODeadline.now()
    private var compression: FrameCompression
    /// How many of the chunks made were to be compressed, and how many not.
    private var compressedChunks = 0
    private var storedChunks = 0
    /// Since when there has been no connection that got anywhere.
    private var brokenSince: NIODeadline?
    /// When the bandwidth limit allows the next part.
    private var nextPartAt = NIODeadline.uptimeNanoseconds(0)
    private var isPaced = false

    /// `completion` is called once, on the link's loop.
    init(link: PeerLink, request: Message, id: UInt64, completion: @escaping (Bool) -> Void) {
        self.link = link
        core = link.core
        compression = FrameCompression(windowBytes: link.core.limits.snapshotWindowBytes)
        self.request = request
        self.id = id
        self.completion = completion
    }

    private var limits: PeerLimits { core.limits }
    private var eventLoop: any EventLoop { link.eventLoop }

    // MARK: Opening

    func start() {
        watchdog = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
            self.checkProgress()
        }
        let eventLoop = eventLoop
        core.chunkThread.submit { state in
            let result: Result<Message, any Error>
            do {
                guard state == .active, let delegate = self.core.delegate else { throw PeerProtocol.stopping }
                let snapshot = try delegate.openSnapshot(for: self.request)
                self.source.value = snapshot.source
                result = .success(snapshot.message)
            } catch { result = .failure(error) }
            eventLoop.execute { self.opened(result) }
        }
    }

    private func opened(_ result: Result<Message, any Error>) {
        guard case .opening = phase else { return letSourceGo() }
        switch result {
        case .failure(let error): fail("opening an image: \(error)")
        case .success(var message):
            // Written for whoever receives it, like all messages.
            message.to = .none
            self.message = core.configuration.encode(message)
            progressAt = .now()
            dial()
            produce()
        }
    }

    // MARK: Connections

    private func dial() {
        phase = .dialling
        attempt += 1
        let attempt = attempt
        core.dialer.dial(link.urls[urlIndex % link.urls.count], on: eventLoop) { result in
            guard attempt == self.attempt, case .dialling = self.phase else {
                if case .success(let connection) = result { connection.close() }
                return
            }
            switch result {
            case .success(let connection): self.greet(connection)
            case .failure(let status): self.broken(status.message)
            }
        }
    }

    private func greet(_ connection: PeerConnection) {
        self.connection = connection
        let handler = SnapshotSendingStream(sending: self, attempt: attempt)
        phase = .greeting
        progressAt = .now()
        let stream = connection.channel.connection.stream(
            PeerProtocol.snapshotPath, metadata: link.metadata, handler: handler)
        guard stream.isLive else {
            return broken(
                connection.reason(RPCStatus(.unavailable, "the connection was closed as soon as it was open")))
        }
        self.stream = stream
        var part = SnapshotPart()
        part.id = id
        part.offset = acknowledged
        part.message = message
        send(part)
    }

    /// The connection is of no more use, but the snapshot may be.
    private func broken(_ reason: String) {
        closeConnection()
        let now = NIODeadline.now()
        let since = brokenSince ?? now
        brokenSince = since
        guard now - since < limits.snapshotResumeTime else { return fail(reason) }
        phase = .dialling
        urlIndex += 1
        failedAttempts += 1
        let delay = min(
            limits.backoffMin.nanoseconds << Int64(min(failedAttempts - 1, 4)), limits.backoffMax.nanoseconds)
        timer = eventLoop.scheduleTask(in: .nanoseconds(delay)) { self.dial() }
    }

    private func closeConnection() {
        attempt += 1
        timer?.cancel()
        timer = nil
        let last = connection
        connection = nil
        stream = nil
        last?.close()
    }

    // MARK: What the receiver says

    fileprivate func received(_ bytes: UnsafeRawBufferPointer, attempt: Int) {
        guard attempt == self.attempt, let answer = try? SnapshotAcknowledgement(decoding: bytes) else { return }
        switch phase {
        case .greeting where answer.isDone && answer.consumed == acknowledged && !(isWhole && acknowledged == produced):
            // The receiver has as much already: nothing more is to be sent, as the stream's end will confirm.
            isNotNeeded = true
            phase = .finishing
            return
        case .greeting:
            guard answer.consumed >= acknowledged, answer.consumed <= produced || (answer.isDone && isWhole) else {
                return fail("the receiver wants to go on at byte \(answer.consumed), which is not there")
            }
            sent = answer.consumed
            endSent = false
            phase = answer.isDone ? .finishing : .streaming
        case .streaming, .finishing:
            guard answer.consumed >= acknowledged, answer.consumed <= sent else {
                return fail("the receiver says it has consumed what was not sent")
            }
        case .opening, .dialling, .done: return
        }
        brokenSince = nil
        failedAttempts = 0
        release(through: answer.consumed)
        pump()
        produce()
    }

    fileprivate func ended(_ status: RPCStatus, attempt: Int) {
        guard attempt == self.attempt else { return }
        if status.isOK {
            guard case .finishing = phase, isNotNeeded || (acknowledged == produced && isWhole) else {
                return fail("the receiver ended the stream too early")
            }
            return end(succeeded: true)
        }
        let reason = connection?.reason(status) ?? status.message
        if PeerProtocol.saysRemoved(status) { core.wasRemoved(saidBy: link.member) }
        if status.code == .unavailable { broken(reason) } else { fail(reason) }
    }

    private func release(through offset: UInt64) {
        guard offset > acknowledged else { return }
        acknowledged = offset
        progressAt = .now()
        while let first = chunks.first, first.end <= offset { chunks.removeFirst() }
        link.note { $0.snapshotBytesConsumed = offset }
    }

    // MARK: Sending

    fileprivate func pump() {
        guard case .streaming = phase, let stream else { return }
        while sent < produced, stream.isLive, stream.isWritable {
            if isPaced || mustPace() { return }
            guard let part = nextPart() else { return }
            send(part)
            pace(after: part.data.count)
            sent += UInt64(part.data.count)
            progressAt = .now()
            link.note { $0.bytesSent += UInt64(part.data.count) }
        }
        guard isWhole, sent == produced, !endSent, stream.isLive else { return }
        endSent = true
        var part = SnapshotPart()
        part.offset = produced
        part.isEnd = true
        send(part)
        stream.halfClose()
        phase = .finishing
    }

    /// The part at `sent`.
    private func nextPart() -> SnapshotPart? {
        guard let chunk = chunks.first(where: { $0.end > sent }) else { return nil }
        let start = Int(sent - chunk.offset)
        let count = min(PeerProtocol.snapshotDataBytesMax, chunk.bytes.count - start)
        var part = SnapshotPart()
        part.offset = sent
        if count == chunk.bytes.count {
            // Nearly always: shared, not copied.
            part.data = chunk.bytes
        } else {
            part.data = chunk.bytes.withUnsafeBytes { Bytes(copying: .init(rebasing: $0[start..<start + count])) }
        }
        return part
    }

    /// True when the bandwidth limit says to wait, which is seen to.
    private func mustPace() -> Bool {
        guard core.configuration.snapshotBytesPerSecondMax > 0, nextPartAt > .now() else { return false }
        isPaced = true
        eventLoop.scheduleTask(deadline: nextPartAt) {
            self.isPaced = false
            self.pump()
        }
        return true
    }

    /// Lets the next part wait as long as this one takes under the bandwidth limit.
    private func pace(after bytes: Int) {
        let bytesPerSecond = core.configuration.snapshotBytesPerSecondMax
        guard bytesPerSecond > 0 else { return }
        nextPartAt = .now() + .nanoseconds(Int64(Double(bytes) / Double(bytesPerSecond) * 1e9))
    }

    private func send(_ part: SnapshotPart) {
        stream?.send(size: part.encodedSize) { PeerProtocol.write(part, to: $0) }
    }

    // MARK: Making chunks

    private func produce() {
        guard !isProducing, !isWhole, produced - acknowledged < UInt64(limits.snapshotWindowBytes) else { return }
        switch phase {
        case .done, .opening: return
        case .dialling, .greeting, .streaming, .finishing: break
        }
        isProducing = true
        let compressing = compression.decide(waitingBytes: Int(produced - sent) + (stream?.bufferedBytes ?? 0))
        let (eventLoop, source) = (eventLoop, source)
        core.chunkThread.submit { state in
            let result: Result<Bytes?, any Error>
            do {
                guard state == .active else { throw PeerProtocol.stopping }
                result = .success(try source.value?.nextChunk(compressing: compressing))
            } catch { result = .failure(error) }
            eventLoop.execute { self.produced(result, compressing) }
        }
    }

    private func produced(_ result: Result<Bytes?, any Error>, _ compressing: Bool) {
        isProducing = false
        if case .done = phase { return letSourceGo() }
        switch result {
        case .failure(let error): return fail("reading the image: \(error)")
        case .success(nil):
            isWhole = true
            letSourceGo()
        case .success(let bytes?):
            countChunk(isCompressed: compressing)
            chunks.append(Chunk(offset: produced, bytes: bytes))
            produced += UInt64(bytes.count)
        }
        pump()
        produce()
    }

    private func countChunk(isCompressed: Bool) {
        if isCompressed { compressedChunks += 1 } else { storedChunks += 1 }
        link.note { status in
            if isCompressed {
                status.snapshotChunksCompressed += 1
            } else {
                status.snapshotChunksStored += 1
            }
        }
    }

    private func letSourceGo() {
        let source = source
        core.chunkThread.submit { _ in source.value = nil }
    }

    // MARK: Ending

    private func checkProgress() {
        let now = NIODeadline.now()
        switch phase {
        case .streaming, .greeting:
            if now - progressAt > limits.snapshotStallTime { fail("nothing of the snapshot is consumed") }
        case .finishing:
            if now - progressAt > limits.snapshotFinishTime { fail("the receiver does not finish") }
        case .dialling:
            if let brokenSince, now - brokenSince > limits.snapshotResumeTime { fail("the receiver cannot be reached") }
        case .opening, .done: break
        }
    }

    func fail(_ reason: String) {
        if case .done = phase { return }
        if !core.isStopping {
            core.logger.warning(
                "sending a snapshot failed",
                metadata: [
                    "peer": "\(link.name)", "index": "\(request.snapshot?.index.rawValue ?? 0)",
                    "consumed-bytes": "\(acknowledged)", "reason": "\(reason)",
                ])
        }
        end(succeeded: false)
    }

    private func end(succeeded: Bool) {
        if case .opening = phase {} else if !isProducing { letSourceGo() }
        phase = .done
        watchdog?.cancel()
        watchdog = nil
        chunks = []
        closeConnection()
        if succeeded {
            core.logger.info(
                isNotNeeded ? "a snapshot is not needed" : "sent a snapshot",
                metadata: [
                    "peer": "\(link.name)", "bytes": "\(produced)", "compressed-chunks": "\(compressedChunks)",
                    "stored-chunks": "\(storedChunks)",
                ])
        }
        completion(succeeded)
    }
}

/// Holds a source for the chunk thread.
private final class SourceBox: @unchecked Sendable {
    // Chunk thread only.
    var value: (any SnapshotSource)?
}

/// The stream on one connection. Owner: the link's loop.
private final class SnapshotSendingStream: RPCClientStreamHandler {
    private let sending: SnapshotSending
    private let attempt: Int

    init(sending: SnapshotSending, attempt: Int) {
        self.sending = sending
        self.attempt = attempt
    }

    func received(message: UnsafeRawBufferPointer) { sending.received(message, attempt: attempt) }
    func ended(status: RPCStatus) { sending.ended(status, attempt: attempt) }
    func writable() { sending.pump() }
}
