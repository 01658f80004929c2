import IOInterfaces
import Leasing
import NIOCore
import Primitives
import StateMachine
import Synchronization
import Transport
import Wire

/// `etcdserverpb.Lease`. Owner: the event loop. Grants and revocations go through the log; keep-alives and questions are
/// answered by the leader's lessor.
struct LeaseService {
    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    func grant(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        do throws(RequestError) {
            guard var request = try? LeaseGrantRequest(decoding: message) else { throw .malformed }
            try Admission.admit(growth: Admission.leaseCostBytes, context: context)
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
        guard let request = try? LeaseTimeToLiveRequest(decoding: message) else {
            return call.fail(RPCStatus(.malformed))
        }
        state.linearize { [state] error in
            if let error { return call.fail(RPCStatus(error)) }
            let context = state.context
            let id = LeaseID(request.id)
            var response = LeaseTimeToLiveResponse(
                header: state.currentHeader, id: request.id, timeToLiveSeconds: -1, grantedSeconds: 0, keys: [])
            do throws(LeaseError) {
                let lease = try context.lessor.timeToLive(id: id, now: context.clock.now())
                response.timeToLiveSeconds = lease.remainingSeconds
                response.grantedSeconds = lease.grantedSeconds
                if request.keys { response.keys = context.lessor.keys(of: id) }
            } catch {
                guard error == .notFound else { return call.fail(RPCStatus(RequestError(error))) }
            }
            call.reply(response.encoded().array)
        }
    }

    func leases(_ call: RPCCall) {
        state.linearize { [state] error in
            if let error { return call.fail(RPCStatus(error)) }
            let ids = state.context.lessor.leases().map(\.rawValue)
            call.reply(LeaseLeasesResponse(header: state.currentHeader, leases: ids).encoded().array)
        }
    }

    func keepAlive(_ call: RPCCall) -> any RPCStreamHandler { KeepAliveCall(call: call, state: state) }
}

/// One `Lease.LeaseKeepAlive` stream. Answers come in the order of the requests. Owner: the event loop.
private final class KeepAliveCall: RPCStreamHandler {
    /// How soon a renewal that must wait is tried again.
    private static let retryMilliseconds: Int64 = 50
    /// Requests held while one waits; beyond, the stream's window is not given back.
    private static let waitingMax = 1024

    private let call: RPCCall
    private let state: LoopState
    private var waiting: [LeaseID] = []
    private var isRetryScheduled = false
    private var isHalfClosed = false

    init(call: RPCCall, state: LoopState) {
        self.call = call
        self.state = state
    }

    func received(message: UnsafeRawBufferPointer) {
        guard let request = try? LeaseKeepAliveRequest(decoding: message) else {
            return call.fail(RPCStatus(.malformed))
        }
        waiting.append(LeaseID(request.id))
        if waiting.count >= Self.waitingMax { call.pauseReceiving() }
        drain()
    }

    private func drain() {
        var answered = 0
        for id in waiting {
            guard answer(id) else { break }
            answered += 1
        }
        waiting.removeFirst(answered)
        if waiting.count < Self.waitingMax, call.isReceivingPaused { call.resumeReceiving() }
        if waiting.isEmpty {
            if isHalfClosed { call.finish() }
        } else if !isRetryScheduled {
            isRetryScheduled = true
            state.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.retryMilliseconds)) { [self] in
                isRetryScheduled = false
                if call.isLive { drain() }
            }
        }
    }

    /// Answers one request; false when it has to wait.
    private func answer(_ id: LeaseID) -> Bool {
        let context = state.context
        var seconds: Int64 = 0
        do throws(LeaseError) {
            switch try context.lessor.renew(id: id, now: context.clock.now()) {
            case .renewed(let ttl): seconds = ttl
            case .pending: return false
            }
        } catch {
            // An unknown lease is answered with TTL 0; a member that does not lead cannot tell.
            guard error == .notFound else {
                call.fail(RPCStatus(.noLeader))
                return true
            }
        }
        let response = LeaseKeepAliveResponse(
            header: state.currentHeader, id: id.rawValue, timeToLiveSeconds: seconds)
        call.send(response.encoded().array)
        return true
    }

    func halfClosed() {
        isHalfClosed = true
        if waiting.isEmpty { call.finish() }
    }

    func cancelled() { waiting = [] }
    func shuttingDown() { call.fail(RPCStatus(.stopped)) }
}
