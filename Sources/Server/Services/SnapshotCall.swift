import COpenSSL
import IOInterfaces
import MVCC
import NIOCore
import Primitives
import Snapshots
import StateMachine
import Synchronization
import Transport
import Wire

/// The snapshot calls of one event loop. Owner: that loop.
final class SnapshotService {
    /// Calls at the same time on one loop: each keeps an image of the store open and 1 MiB of memory busy.
    private static let callsMax = 4

    private let state: LoopState
    private let limits: SnapshotCall.Limits
    private var callCount = 0

    init(state: LoopState, limits: SnapshotCall.Limits = SnapshotCall.Limits()) {
        self.state = state
        self.limits = limits
    }

    /// Begins a call, or refuses it when there are too many.
    func open(_ call: RPCCall) -> (any RPCStreamHandler)? {
        guard callCount < Self.callsMax else {
            call.fail(RPCStatus(.tooManyRequests))
            return nil
        }
        callCount += 1
        return SnapshotCall(call: call, state: state, limits: limits) { [self] in callCount -= 1 }
    }
}

/// One `Maintenance.Snapshot` call: everything applied when it came, as the stream of `Snapshots`, and then the SHA-256 of
/// it, as etcd's clients expect. Source: etcd-behaviour 1.5.
///
/// Owner: the event loop. Reading and compressing is done on the maintenance thread, one chunk a job, so that nothing
/// waits long behind it, and one chunk ahead of the client. The image is let go when the call is over, however it ends.
final class SnapshotCall: RPCStreamHandler, RPCMessageSource {
    /// An open image keeps the pages it sees from being used again: the file grows with every write meanwhile.
    struct Limits {
        /// How long everything applied may take to be persisted.
        var persistTimeout = TimeAmount.seconds(30)
        /// How long a client may take nothing though there is something for it.
        var stallTimeout = TimeAmount.seconds(60)
        /// How long a client may take in all: this...
        var totalTime = TimeAmount.minutes(10)
        /// ...and a second more for each so many bytes that the store has in use.
        var bytesPerSecondMin = 4 << 20
    }

    private enum Phase {
        case waitingForRequest, waitingForPersistence, streaming, ended
    }

    /// Bytes of snapshot in one message.
    private static let blobBytesMax = 256 << 10
    private static let persistPoll = TimeAmount.milliseconds(5)
    private static let watchInterval = TimeAmount.milliseconds(250)

    private let call: RPCCall
    private let state: LoopState
    private let limits: Limits
    private let onEnd: () -> Void
    private var phase = Phase.waitingForRequest
    /// What the snapshot must hold.
    private var appliedIndex = LogIndex.zero
    private var deadline = NIODeadline.distantFuture
    private var startedAt: UInt64 = 0
    private var producer: SnapshotProducer?
    private var isProducing = false
    /// The chunk that is being sent, and how much of it has been.
    private var chunk: SnapshotChunk?
    private var sentBytes = 0
    /// Since when the client could have taken more.
    private var readySince = NIODeadline.now()
    private var watch: RepeatedTask?

    init(call: RPCCall, state: LoopState, limits: Limits, onEnd: @escaping () -> Void) {
        self.call = call
        self.state = state
        self.limits = limits
        self.onEnd = onEnd
    }

    private var context: ServerContext { state.context }

    // MARK: RPCStreamHandler

    /// The request has no fields.
    func received(message: UnsafeRawBufferPointer) {
        guard phase == .waitingForRequest else { return end(RPCStatus(.malformed)) }
        phase = .waitingForPersistence
        appliedIndex = context.store.numbers().appliedIndex
        deadline = .now() + limits.persistTimeout
        waitForPersistence()
    }

    func halfClosed() {
        if phase == .waitingForRequest { end(RPCStatus(.malformed)) }
    }

    func cancelled() { release() }

    // MARK: Before the stream

    /// What only the log and memory have is not in an image yet.
    private func waitForPersistence() {
        guard phase == .waitingForPersistence else { return }
        if context.store.numbers().persistedIndex >= appliedIndex { return begin() }
        if context.isStopping.load(ordering: .relaxed) { return end(RPCStatus(.stopped)) }
        if NIODeadline.now() >= deadline { return end(RPCStatus(.timeout)) }
        context.wantsCommit.store(true, ordering: .releasing)
        context.backendSignal.raise()
        let bound = NIOLoopBound(self, eventLoop: state.eventLoop)
        state.eventLoop.scheduleTask(in: Self.persistPoll) { bound.value.waitForPersistence() }
    }

    private func begin() {
        phase = .streaming
        startedAt = context.clock.now()
        let sizes = context.store.backendSizes
        let seconds = sizes.inUseBytes / limits.bytesPerSecondMin
        deadline = .now() + limits.totalTime + .seconds(Int64(seconds))
        producer = SnapshotProducer(context: context, estimatedBytes: sizes.inUseBytes)
        produce()
        let bound = NIOLoopBound(self, eventLoop: state.eventLoop)
        watch = state.eventLoop.scheduleRepeatedTask(
            initialDelay: Self.watchInterval, delay: Self.watchInterval
        ) { _ in bound.value.check() }
        call.stream(from: self)
    }

    // MARK: The stream

    func nextMessage(_ call: RPCCall) -> Bool {
        guard phase == .streaming else { return false }
        guard let chunk else { return true }
        let end = min(sentBytes + Self.blobBytesMax, chunk.bytes.count)
        let isLast = chunk.isLast && end == chunk.bytes.count
        let left = UInt64(chunk.bytes.count - end) + chunk.remainingBytes
        send(chunk.bytes, sentBytes..<end, remainingBytes: left)
        sentBytes = end
        readySince = .now()
        if isLast {
            context.metrics.snapshotDuration.observe(nanoseconds: context.clock.now() - startedAt)
            release()
            return false
        }
        if end == chunk.bytes.count {
            self.chunk = nil
            produce()
        }
        return true
    }

    private func send(_ bytes: Bytes, _ range: Range<Int>, remainingBytes: UInt64) {
        let version = ProductVersion.storage
        let size =
            ProtoSize.uint64(2, remainingBytes) + ProtoSize.bytes(3, count: range.count) + ProtoSize.string(4, version)
        call.send(size: size) { buffer in
            var writer = ProtoWriter(buffer)
            writer.uint64(2, remainingBytes)
            bytes.withUnsafeBytes { writer.bytes(3, UnsafeRawBufferPointer(rebasing: $0[range])) }
            writer.string(4, version)
        }
    }

    /// Has the next chunk made, unless it is being made or waits already.
    private func produce() {
        guard phase == .streaming, !isProducing, chunk == nil, let producer else { return }
        let bound = NIOLoopBound(self, eventLoop: state.eventLoop)
        let eventLoop = state.eventLoop
        // The maintenance thread has its own reader; a snapshot's image outlives the job.
        let job = MaintenanceJob { _ throws(StoreError) in
            let result = try producer.next()
            eventLoop.execute { bound.value.produced(result) }
        }
        isProducing = context.maintenanceInbox.push(job)
        if !isProducing, context.isStopping.load(ordering: .relaxed) { end(RPCStatus(.stopped)) }
    }

    private func produced(_ result: Result<SnapshotChunk, RPCStatus>) {
        isProducing = false
        guard phase == .streaming else { return }
        switch result {
        case .failure(let status): end(status)
        case .success(let chunk):
            self.chunk = chunk
            sentBytes = 0
            readySince = .now()
            call.bodyReady()
        }
    }

    /// Gives up on a client that is too slow, and asks again for a chunk that the maintenance thread had no room for.
    private func check() {
        guard phase == .streaming else { return }
        let now = NIODeadline.now()
        if chunk != nil, now - readySince >= limits.stallTimeout {
            return end(RPCStatus(.aborted, "etcdserver: snapshot given up: the client has not read for too long"))
        }
        if now >= deadline {
            return end(RPCStatus(.aborted, "etcdserver: snapshot given up: the client reads too slowly"))
        }
        produce()
    }

    // MARK: The end

    private func end(_ status: RPCStatus) {
        guard phase != .ended else { return }
        release()
        call.fail(status)
    }

    private func release() {
        guard phase != .ended else { return }
        phase = .ended
        watch?.cancel()
        watch = nil
        // The image goes with it, at the end of the job if one is running.
        producer = nil
        chunk = nil
        onEnd()
    }
}

/// A part of a snapshot on its way to the client.
private struct SnapshotChunk: Sendable {
    var bytes: Bytes
    /// What is left after it, an estimate; 0 for the last one only, because a client may take it for the end.
    var remainingBytes: UInt64
    var isLast: Bool
}

/// Makes the chunks of one snapshot. Owner: the maintenance thread, one job at a time.
private final class SnapshotProducer: @unchecked Sendable {
    // Used by the one job that is under way; each is started after the one before has brought its result.
    private let context: ServerContext
    private let estimatedBytes: Int
    private var writer: SnapshotWriter?
    private let digest = SHA256Digest()
    /// What was last said to be left, without the digest.
    private var leftBytes: UInt64

    init(context: ServerContext, estimatedBytes: Int) {
        leftBytes = UInt64(estimatedBytes)
        self.context = context
        self.estimatedBytes = estimatedBytes
    }

    /// The next chunk; the last is the digest of the others. Throws what means that the store cannot be trusted.
    func next() throws(StoreError) -> Result<SnapshotChunk, RPCStatus> {
        do throws(SnapshotError) {
            let writer = try openedWriter()
            guard let bytes = try writer.nextChunk() else {
                self.writer = nil
                let chunk = SnapshotChunk(bytes: Bytes(digest.finish()), remainingBytes: 0, isLast: true)
                return .success(chunk)
            }
            bytes.withUnsafeBytes { digest.update($0) }
            return .success(
                SnapshotChunk(bytes: bytes, remainingBytes: remainingBytes(writer, after: bytes.count), isLast: false))
        } catch {
            writer = nil
            guard case .store(let storeError) = error else { return .failure(RPCStatus(.internal, "\(error)")) }
            switch storeError {
            // No room for one more reader: nothing is wrong with the store.
            case .system, .closed: return .failure(RPCStatus(.unavailable, "etcdserver: snapshot: \(storeError)"))
            default: throw storeError
            }
        }
    }

    private func openedWriter() throws(SnapshotError) -> SnapshotWriter {
        if let writer { return writer }
        let reader: any BackendReader
        do throws(StoreError) { reader = try context.store.makeImageReader() } catch { throw .store(error) }
        let opened = try SnapshotWriter(
            reader: reader, clusterID: context.identity.clusterID, memberID: context.identity.memberID)
        writer = opened
        return opened
    }

    /// By the share of the records that has been written, and before that by the size of the store. At least the digest,
    /// and never more than what was said before, as clients show it.
    private func remainingBytes(_ writer: SnapshotWriter, after bytes: Int) -> UInt64 {
        let done = writer.progress
        let estimate = done == 0 ? Double(estimatedBytes) : Double(writer.streamBytes) * (1 - done) / done
        leftBytes = min(UInt64(estimate), leftBytes - min(leftBytes, UInt64(bytes)))
        return UInt64(SnapshotFormat.digestBytes) + leftBytes
    }
}

/// SHA-256 over bytes that come in parts, by OpenSSL.
private final class SHA256Digest {
    private let digestContext: OpaquePointer

    init() {
        guard let made = EVP_MD_CTX_new() else { invariantFailed("OpenSSL has no memory for a digest") }
        digestContext = made
        invariant(EVP_DigestInit_ex(digestContext, EVP_sha256(), nil) == 1, "OpenSSL cannot compute SHA-256")
    }

    deinit { EVP_MD_CTX_free(digestContext) }

    func update(_ bytes: UnsafeRawBufferPointer) {
        invariant(EVP_DigestUpdate(digestContext, bytes.baseAddress, bytes.count) == 1, "SHA-256 failed")
    }

    /// The digest of everything; nothing may be added afterwards.
    func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: SnapshotFormat.digestBytes)
        var count: UInt32 = 0
        let result = EVP_DigestFinal_ex(digestContext, &digest, &count)
        invariant(result == 1 && count == SnapshotFormat.digestBytes, "SHA-256 failed")
        return digest
    }
}
