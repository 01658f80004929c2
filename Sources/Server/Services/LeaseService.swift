import IOInterfaces
import Leasing
import NIOCore
import Primitives
import StateMachine
import Synchronization
import Transport
import Wire

/// `etcdserverpb.Lease`. Owner: the event loop. Grants and revocations go through the log; keep-alives and questions are
/// answered by the leader's lessor, here or over the peers.
struct LeaseService {
    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    func grant(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            guard var request = try? LeaseGrantRequest(decoding: message) else { throw .malformed }
            try Admission.admit(growth: SpaceQuota.leaseCostBytes, context: context)
            if request.id == 0 {
                // Every member must grant the same lease, so the identity is drawn before the request goes into the log.
                request.id = Int64(bitPattern: context.internalRequestID() & 0x7fff_ffff_ffff_ffff)
            }
            request.encoded().withUnsafeBytes {
                state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.leaseGrant, body: $0)
            }
        } catch {
            call.fail(RPCStatus(error))
        }
    }

    func revoke(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.leaseRevoke, body: message)
    }

    func timeToLive(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        state.atLeader(.leaseTimeToLive, Bytes(copying: message)) { call.end($0) }
    }

    func leases(_ call: RPCCall) { state.atLeader(.leaseLeases, Bytes()) { call.end($0) } }

    func keepAlive(_ call: RPCCall) -> any RPCStreamHandler { KeepAliveCall(call: call, state: state) }
}

extension RPCCall {
    /// Ends a unary call with an answer's bytes, or with why there is none.
    func end(_ result: Result<Bytes, RPCStatus>) {
        switch result {
        case .success(let bytes):
            reply(size: bytes.count) { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
        case .failure(let status): fail(status)
        }
    }
}

/// One `Lease.LeaseKeepAlive` stream. Answers come in the order of the requests; those that arrive while others are being
/// answered go to the leader together. Owner: the event loop.
private final class KeepAliveCall: RPCStreamHandler {
    /// How soon a renewal that must wait is tried again.
    private static let retryMilliseconds: Int64 = 50
    /// Requests held while one waits; beyond, the stream's window is not given back.
    private static let waitingMax = 1024

    private let call: RPCCall
    private let state: LoopState
    private var waiting: [Int64] = []
    private var isAsking = false
    private var isHalfClosed = false

    init(call: RPCCall, state: LoopState) {
        self.call = call
        self.state = state
    }

    func received(message: UnsafeRawBufferPointer) {
        guard let request = try? LeaseKeepAliveRequest(decoding: message) else {
            return call.fail(RPCStatus(.malformed))
        }
        waiting.append(request.id)
        if waiting.count >= Self.waitingMax { call.pauseReceiving() }
        ask()
    }

    private func ask() {
        guard !isAsking, !waiting.isEmpty, call.isLive else { return }
        isAsking = true
        let ids = waiting
        state.atLeader(.leaseRenew, LeaderRequest.pack(ids)) { [self] result in
            isAsking = false
            guard call.isLive else { return }
            switch result {
            case .failure(let status): call.fail(status)
            case .success(let bytes): answer(ids, LeaderRequest.unpack(bytes) ?? [])
            }
        }
    }

    private func answer(_ ids: [Int64], _ answers: [Int64]) {
        var answered = 0
        for (id, seconds) in zip(ids, answers) {
            if seconds == LeaderRequest.pendingRenewal { break }
            answered += 1
            let response = LeaseKeepAliveResponse(header: state.currentHeader, id: id, timeToLiveSeconds: seconds)
            call.send(response.encoded().array)
        }
        waiting.removeFirst(answered)
        if waiting.count < Self.waitingMax, call.isReceivingPaused { call.resumeReceiving() }
        if waiting.isEmpty {
            if isHalfClosed { call.finish() }
        } else if answered == ids.count {
            ask()
        } else {
            state.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.retryMilliseconds)) { [self] in ask() }
        }
    }

    func halfClosed() {
        isHalfClosed = true
        if waiting.isEmpty { call.finish() }
    }

    func cancelled() { waiting = [] }
    func shuttingDown() { call.fail(RPCStatus(.stopped)) }
}
