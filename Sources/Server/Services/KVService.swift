import MVCC
import NIOCore
import Primitives
import StateMachine
import Synchronization
import Transport
import Wire

/// `etcdserverpb.KV`. Owner: the event loop. Reads are answered here; writes are checked and proposed.
struct KVService {
    /// An answer up to this size is produced at once; a larger one slice by slice, as the client takes it.
    static let wholeBytesMax = 128 << 10

    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    // MARK: Reads

    func range(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            let request = try RequestChecks.range(message)
            if request.serializable || context.servesReadsLocally.load(ordering: .acquiring) {
                return answer(call, request)
            }
            let copy = Bytes(copying: message)
            state.linearize { [self] error in
                if let error { return call.fail(RPCStatus(error)) }
                copy.withUnsafeBytes { bytes in
                    guard let request = try? RangeRequestView(decoding: bytes) else { return }
                    answer(call, request)
                }
            }
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    private func answer(_ call: RPCCall, _ request: RangeRequestView) {
        do throws(RequestError) {
            var plan = try plan(request)
            let header = state.header(revision: plan.headerRevision)
            let prefixSize = RangeResponseCodec.prefixSize(header: header)
            let rowBytes = plan.rowBytes
            let trailerSize = RangeResponseCodec.trailerSize(more: plan.more, count: plan.count)
            let size = prefixSize + rowBytes + trailerSize
            guard size <= Self.wholeBytesMax else {
                let body = RangeBody(plan: plan, header: header, length: size, stop: context.stopReading)
                return call.reply(length: size, body: body)
            }
            var failure: StoreError?
            let (more, count) = (plan.more, plan.count)
            call.reply(size: size) { target in
                var writer = ProtoWriter(target)
                RangeResponseCodec.writePrefix(to: &writer, header: header)
                let rows = UnsafeMutableRawBufferPointer(rebasing: target[prefixSize..<prefixSize + rowBytes])
                do throws(StoreError) { try plan.writeAll(into: rows) } catch { failure = error }
                var end = ProtoWriter(UnsafeMutableRawBufferPointer(rebasing: target[(prefixSize + rowBytes)...]))
                RangeResponseCodec.writeTrailer(to: &end, more: more, count: count)
            }
            if let failure { context.stopReading(failure) }
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    /// Plans a range, sorting the store's errors into refusals and the end of the process.
    func plan(_ request: RangeRequestView) throws(RequestError) -> RangePlan {
        // The alarm may have come while the read waited for its index.
        if context.isCorrupt.load(ordering: .relaxed) { throw .corrupt }
        context.metrics.rangeTotal.add()
        do throws(StoreError) {
            return try state.reader.plan(RangeQuery(request))
        } catch {
            switch error {
            case .compacted: throw .compacted
            case .futureRevision: throw .futureRevision
            default: context.stopReading(error)
            }
        }
    }

    func rangeStream(_ call: RPCCall) -> (any RPCStreamHandler)? { RangeStreamCall(call: call, service: self) }

    // MARK: Writes

    func put(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            let request = try RequestChecks.put(message)
            try Admission.admit(
                growth: SpaceQuota.cost(request), context: context)
            state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.put, body: message)
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    func deleteRange(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            try RequestChecks.deleteRange(message)
            state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.deleteRange, body: message)
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    func txn(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            let request = try RequestChecks.txn(message, operationsMax: context.configuration.maxTxnOperations)
            if request.isReadOnly {
                let copy = Bytes(copying: message)
                if request.isSerializable { return state.readOnly(call, request: copy) }
                return state.linearize { [state] error in
                    if let error { return call.fail(RPCStatus(error)) }
                    state.readOnly(call, request: copy)
                }
            }
            try Admission.admit(growth: SpaceQuota.cost(request), context: context)
            state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.txn, body: message)
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    func compact(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? CompactionRequest(decoding: message) else {
            return call.fail(RPCStatus(.malformed))
        }
        guard request.physical else {
            return state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.compaction, body: message)
        }
        state.propose(
            fieldNumber: InternalRaftRequest.FieldNumber.compaction, body: Bytes(copying: message)
        ) { [state] result in
            switch result {
            case .success(let response): state.whenSwept(request.revision, call, response: response)
            case .failure(let error): call.fail(RPCStatus(error))
            }
        }
    }
}

extension ServerContext {
    /// Ends the process: the store cannot be read.
    func stopReading(_ error: StoreError) -> Never { stopProcess("reading the store: \(error)") }
}

/// A large range's answer, produced as the client takes it, at one revision, with memory for one slice.
final class RangeBody: SlicedBody {
    private static let sliceBytes = 64 << 10

    private var plan: RangePlan?
    private let more: Bool
    private let count: Int64
    private let header: ResponseHeader
    private let stop: (StoreError) -> Never
    /// Bytes made and not yet taken: a slice that was larger than what was asked for.
    private var staged = ByteBuffer()
    private var hasPrefix = false
    private var hasRows = true
    /// Bytes of the answer that have not been handed over.
    private var left: Int

    /// - Parameter length: of the whole answer.
    init(plan: consuming RangePlan, header: ResponseHeader, length: Int, stop: @escaping (StoreError) -> Never) {
        left = length
        more = plan.more
        count = plan.count
        self.plan = consume plan
        self.header = header
        self.stop = stop
    }

    func next(maxBytes: Int, into buffer: inout ByteBuffer) -> Bool {
        var room = min(maxBytes, left)
        left -= room
        while room > 0 {
            if staged.readableBytes > 0, let part = staged.readSlice(length: min(room, staged.readableBytes)) {
                buffer.writeImmutableBuffer(part)
                room -= part.readableBytes
                continue
            }
            staged.clear()
            guard fill(room: room, into: &buffer, &room) else { return false }
        }
        return left > 0
    }

    /// Produces the next piece, into `buffer` when it fits and else into `staged`. False: the answer is complete.
    private func fill(room: Int, into buffer: inout ByteBuffer, _ left: inout Int) -> Bool {
        guard hasPrefix else {
            hasPrefix = true
            stage(RangeResponseCodec.prefixSize(header: header)) { writer in
                RangeResponseCodec.writePrefix(to: &writer, header: header)
            }
            return true
        }
        guard hasRows else { return false }
        let size = plan!.prepareSlice(maxBytes: min(room, Self.sliceBytes))
        guard size > 0 else {
            hasRows = false
            stage(RangeResponseCodec.trailerSize(more: more, count: count)) { writer in
                RangeResponseCodec.writeTrailer(to: &writer, more: more, count: count)
            }
            plan = nil
            return staged.readableBytes > 0
        }
        if size <= room {
            write(size, into: &buffer)
            left -= size
        } else {
            write(size, into: &staged)
        }
        return true
    }

    private func write(_ size: Int, into buffer: inout ByteBuffer) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { target in
            do throws(StoreError) {
                try plan!.writeSlice(into: UnsafeMutableRawBufferPointer(rebasing: target[..<size]))
            } catch { stop(error) }
            return size
        }
    }

    private func stage(_ size: Int, _ body: (inout ProtoWriter) -> Void) {
        staged.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { target in
            var writer = ProtoWriter(UnsafeMutableRawBufferPointer(rebasing: target[..<size]))
            body(&writer)
            return size
        }
    }

    func cancelled() { plan = nil }
}
