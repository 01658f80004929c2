import MVCC
import Primitives
import StateMachine
import Transport
import Wire

/// One `KV.RangeStream` call: the rows of a range in messages of bounded size, all at one revision; header, `more` and
/// `count` come with the last. Owner: the event loop.
final class RangeStreamCall: RPCStreamHandler, RPCMessageSource {
    /// Bytes of rows in one message; a single larger row makes a larger message.
    private static let messageBytes = 256 << 10

    private let call: RPCCall
    private let service: KVService
    private var plan: RangePlan?
    /// What the last message carries; nil before the range has been planned.
    private var ending: (header: ResponseHeader, more: Bool, count: Int64)?
    /// The rows of the message to come: one message ahead, because the last one carries more.
    private var rows: [UInt8] = []

    init(call: RPCCall, service: KVService) {
        self.call = call
        self.service = service
    }

    func received(message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            let request = try RequestChecks.range(message)
            if request.sortOrder != 0 || request.sortTarget != 0 {
                return call.fail(RPCStatus(.unimplemented, "RangeStream does not support custom sort orders"))
            }
            let filters = [
                request.minModRevision, request.maxModRevision, request.minCreateRevision, request.maxCreateRevision,
            ]
            if filters.contains(where: { $0 != 0 }) {
                return call.fail(RPCStatus(.unimplemented, "RangeStream does not support revision filters"))
            }
            if request.serializable { return try begin(request) }
            let copy = Bytes(copying: message)
            service.state.linearize { [self] error in
                if let error { return call.fail(RPCStatus(error)) }
                copy.withUnsafeBytes { bytes in
                    guard let request = try? RangeRequestView(decoding: bytes) else { return }
                    do throws(RequestError) { try begin(request) } catch { call.fail(RPCStatus(error)) }
                }
            }
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    private func begin(_ request: RangeRequestView) throws(RequestError) {
        let plan = try service.plan(request)
        ending = (service.state.header(revision: plan.headerRevision), plan.more, plan.count)
        self.plan = consume plan
        readAhead()
        call.stream(from: self)
    }

    func nextMessage(_ call: RPCCall) -> Bool {
        let current = rows
        readAhead()
        guard rows.isEmpty, let (header, more, count) = ending else {
            send(size: current.count) { writer in current.withUnsafeBytes { writer.raw($0) } }
            return true
        }
        let size =
            RangeResponseCodec.prefixSize(header: header) + current.count
            + RangeResponseCodec.trailerSize(more: more, count: count)
        send(size: size) { writer in
            RangeResponseCodec.writePrefix(to: &writer, header: header)
            current.withUnsafeBytes { writer.raw($0) }
            RangeResponseCodec.writeTrailer(to: &writer, more: more, count: count)
        }
        plan = nil
        return false
    }

    private func readAhead() {
        rows.removeAll(keepingCapacity: true)
        guard plan != nil else { return }
        do throws(StoreError) {
            let size = plan!.prepareSlice(maxBytes: Self.messageBytes)
            guard size > 0 else { return }
            var failure: StoreError?
            rows = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
                do throws(StoreError) {
                    try plan!.writeSlice(
                        into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: buffer[..<size])))
                } catch { failure = error }
                initialized = size
            }
            if let failure { throw failure }
        } catch {
            service.state.context.stopReading(error)
        }
    }

    /// Sends a `RangeStreamResponse` whose range response has `size` bytes.
    private func send(size: Int, _ body: (inout ProtoWriter) -> Void) {
        call.send(size: ProtoSize.message(1, count: size)) { target in
            var writer = ProtoWriter(target)
            writer.messageHeader(1, count: size)
            body(&writer)
        }
    }

    func halfClosed() {}
    func cancelled() { plan = nil }
}
