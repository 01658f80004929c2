import IOInterfaces
import MVCC
import NIOCore
import Primitives
import StateMachine
import Synchronization
import Transport
import Wire

/// `etcdserverpb.Maintenance` and `grpc.health.v1.Health`. Owner: the event loop; what may take
/// long runs on the maintenance thread.
struct MaintenanceService {
    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    // MARK: Maintenance

    func status(_ call: RPCCall) {
        let alarms = context.stateMachine.published.withLock { $0.alarms }
        let leader = context.leader.load(ordering: .relaxed)
        var errors = leader == 0 ? ["etcdserver: no leader"] : []
        if context.logDiskFull.load(ordering: .relaxed) { errors.append("the disk of the log is full") }
        if context.storeDiskFull.load(ordering: .relaxed) { errors.append("the disk of the store is full") }
        errors += alarms.map { alarm in
            // etcd prints the message, in which an identity of 0 is not there.
            (alarm.member.rawValue == 0 ? "" : "memberID:\(alarm.member.rawValue) ") + "alarm:\(alarm.kind.name) "
        }
        let sizes = context.store.backendSizes
        // What waits in memory counts as in use already, and never as more than there is.
        let fileBytes = max(sizes.fileBytes, sizes.inUseBytes)
        // A sole voter applies before its replica's thread, which publishes the other number, has looked: what is applied is
        // committed. Read in this order, the one is never behind the other.
        let applied = context.appliedIndex.load(ordering: .acquiring)
        let committed = max(context.commitIndex.load(ordering: .acquiring), applied)
        let response = StatusResponse(
            header: state.currentHeader, version: ProductVersion.api,
            databaseSize: Int64(fileBytes), leader: leader,
            raftIndex: committed,
            raftTerm: context.term.load(ordering: .relaxed),
            raftAppliedIndex: applied, errors: errors,
            databaseSizeInUse: Int64(sizes.inUseBytes), isLearner: context.isLearner.load(ordering: .relaxed),
            storageVersion: ProductVersion.storage, databaseSizeQuota: max(context.configuration.quotaBytes, 0),
            downgradeInfo: DowngradeInfo())
        call.reply(response.encoded().array)
    }

    func alarm(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? AlarmRequest(decoding: message) else { return call.fail(RPCStatus(.malformed)) }
        guard request.action == StateMachine.AlarmAction.get else {
            return state.propose(call, fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: message)
        }
        let alarms = context.stateMachine.published.withLock { $0.alarms }
        let asked = alarms.filter { request.alarm == 0 || $0.kind.rawValue == request.alarm }
        let response = AlarmResponse(
            header: state.currentHeader,
            alarms: asked.map { AlarmMember(memberID: $0.member.rawValue, alarm: $0.kind.rawValue) })
        call.reply(response.encoded().array)
    }

    /// Answered when the disk space of what was removed so far has been given back; nothing waits for it meanwhile.
    func defragment(_ call: RPCCall) {
        let header = NIOLoopBound({ state.currentHeader }, eventLoop: state.eventLoop)
        let request = DefragmentRequest { failure in
            call.eventLoop.execute {
                switch failure {
                case nil: call.reply(DefragmentResponse(header: header.value()).encoded().array)
                case .stopped: call.fail(RPCStatus(.stopped))
                case .disk(let words): call.fail(RPCStatus(.internal, "etcdserver: defragment: \(words)"))
                }
            }
        }
        guard context.defragmentInbox.push(request) else {
            let isStopping = context.isStopping.load(ordering: .relaxed)
            return call.fail(RPCStatus(isStopping ? .stopped : .tooManyRequests))
        }
        context.backendSignal.raise()
    }

    /// There is no earlier version to go back to: every target is refused, in etcd's words.
    func downgrade(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? DowngradeRequest(decoding: message) else { return call.fail(RPCStatus(.malformed)) }
        if request.action == DowngradeRequest.cancel { return call.fail(RPCStatus(.noDowngrade)) }
        let parts = request.version.split(separator: ".", omittingEmptySubsequences: false)
        let isVersion = (2...3).contains(parts.count) && parts.allSatisfy { UInt32($0) != nil }
        call.fail(RPCStatus(isVersion ? .invalidDowngradeTarget : .malformedDowngradeTarget))
    }

    func hash(_ call: RPCCall) {
        run(call, measured: context.metrics.hashDuration) { reader throws(StoreError) in
            try reader.hash()
        } then: { hash in
            HashResponse(header: state.currentHeader, hash: hash).encoded()
        }
    }

    func hashKV(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? HashKVRequest(decoding: message) else { return call.fail(RPCStatus(.malformed)) }
        state.linearize { [self] error in
            if let error { return call.fail(RPCStatus(error)) }
            run(call, measured: context.metrics.hashRevisionDuration) { reader throws(StoreError) in
                try reader.hashKV(revision: request.revision)
            } then: { result in
                HashKVResponse(
                    header: state.currentHeader, hash: result.hash, compactRevision: result.compactRevision,
                    hashRevision: result.hashRevision
                ).encoded()
            }
        }
    }

    /// Runs a long read on the maintenance thread and answers on the loop.
    private func run<T: Sendable>(
        _ call: RPCCall, measured durations: Histogram,
        _ body: @escaping @Sendable (StoreReader) throws(StoreError) -> T,
        then encode: @escaping (T) -> Bytes
    ) {
        let answer = NIOLoopBound(encode, eventLoop: state.eventLoop)
        let clock = context.clock
        let job = MaintenanceJob { reader throws(StoreError) in
            let result: Result<T, RequestError>
            let start = clock.now()
            defer { durations.observe(nanoseconds: clock.now() - start) }
            do throws(StoreError) { result = .success(try body(reader)) } catch {
                switch error {
                case .compacted: result = .failure(.compacted)
                case .futureRevision: result = .failure(.futureRevision)
                default: throw error
                }
            }
            call.eventLoop.execute {
                switch result {
                case .success(let value): call.reply(answer.value(value).array)
                case .failure(let error): call.fail(RPCStatus(error))
                }
            }
        }
        if !context.maintenanceInbox.push(job) { call.fail(RPCStatus(.tooManyRequests)) }
    }

    // MARK: Health

    /// `HealthCheckResponse.ServingStatus`.
    private static let serving: UInt64 = 1
    private static let notServing: UInt64 = 2
    private static let serviceUnknown: UInt64 = 3

    func healthCheck(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard Self.asksForServer(message) else { return call.fail(RPCStatus(.notFound, "unknown service")) }
        sendHealth(call, of: health)
        call.finish()
    }

    func healthWatch(_ call: RPCCall) -> any RPCStreamHandler { HealthWatch(call: call, service: self) }

    private var health: UInt64 {
        let serves =
            context.leader.load(ordering: .relaxed) != 0 && !context.isStopping.load(ordering: .relaxed)
            && !context.isCorrupt.load(ordering: .relaxed)
        return serves ? Self.serving : Self.notServing
    }

    /// Tells a watcher how the service it asked for is. One that is not known may come, so its stream stays open.
    fileprivate func sendHealth(_ call: RPCCall, asked message: Bytes) {
        sendHealth(call, of: message.withUnsafeBytes(Self.asksForServer) ? health : Self.serviceUnknown)
    }

    private func sendHealth(_ call: RPCCall, of status: UInt64) {
        call.send(size: ProtoSize.uint64(1, status)) { buffer in
            var writer = ProtoWriter(buffer)
            writer.uint64(1, status)
        }
    }

    /// Whether a `HealthCheckRequest` names no service: only the server as a whole is known.
    private static func asksForServer(_ message: UnsafeRawBufferPointer) -> Bool {
        var reader = ProtoReader(message)
        while let tag = try? reader.nextField() {
            if tag == .bytes(1) { return (try? reader.bytes())?.count == 0 }
            if (try? reader.skip(tag)) == nil { return false }
        }
        return true
    }
}

/// One `Health.Watch` stream: the state now; the stream stays open until either side ends it.
private final class HealthWatch: RPCStreamHandler {
    private let call: RPCCall
    private let service: MaintenanceService
    private var asked = Bytes()

    init(call: RPCCall, service: MaintenanceService) {
        self.call = call
        self.service = service
    }

    func received(message: UnsafeRawBufferPointer) {
        asked = Bytes(copying: message)
        service.sendHealth(call, asked: asked)
    }

    func halfClosed() {}
    func cancelled() {}
    func shuttingDown() {
        service.sendHealth(call, asked: asked)
        call.finish()
    }
}

extension AlarmKind {
    /// The name in `etcdserverpb.AlarmType`.
    package var name: String {
        switch self {
        case .noSpace: "NOSPACE"
        case .corrupt: "CORRUPT"
        }
    }
}
