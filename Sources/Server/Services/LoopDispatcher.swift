import Primitives
import StateMachine
import Synchronization
package import Transport
import Wire

/// Sends each call to its service. One for each event loop; owner: that loop.
package final class LoopDispatcher: RPCDispatcher {
    /// The transport's table of what `Wire` lists, so that a method's index is its raw value.
    private static let table = RPCMethodTable(
        Wire.RPCMethod.table.map { description in
            let kind: RPCKind =
                switch description.streaming {
                case .unary: .unary
                case .serverStreaming: .serverStreaming
                case .bidirectional: .bidirectional
                }
            return (String(decoding: description.path.array, as: UTF8.self), kind)
        })

    private let state: LoopState
    private let kv: KVService
    private let lease: LeaseService
    private let cluster: ClusterService
    private let watch: WatchService
    private let maintenance: MaintenanceService
    private let snapshot: SnapshotService
    private let auth: AuthService

    package init(state: LoopState) {
        self.state = state
        kv = KVService(state: state)
        lease = LeaseService(state: state)
        cluster = ClusterService(state: state)
        watch = WatchService(state: state)
        maintenance = MaintenanceService(state: state)
        snapshot = SnapshotService(state: state)
        auth = AuthService(state: state)
    }

    package var methodCount: Int { Self.table.count }
    package func resolve(path: UnsafeRawBufferPointer) -> Transport.RPCMethod? { Self.table.find(path) }
    package func hasService(_ service: String) -> Bool { Self.table.hasService(service) }

    package func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) {
        guard let method = Wire.RPCMethod(rawValue: call.method.index) else { return unimplemented(call) }
        if let refusal = refusal(of: method, call, message) { return call.fail(RPCStatus(refusal)) }
        switch method {
        case .range: kv.range(call, message)
        case .put: kv.put(call, message)
        case .deleteRange: kv.deleteRange(call, message)
        case .txn: kv.txn(call, message)
        case .compact: kv.compact(call, message)
        case .leaseGrant: lease.grant(call, message)
        case .leaseRevoke: lease.revoke(call, message)
        case .leaseTimeToLive: lease.timeToLive(call, message)
        case .leaseLeases: lease.leases(call)
        case .memberList: cluster.memberList(call, message)
        case .memberAdd: cluster.change(call, .memberAdd, message)
        case .memberRemove: cluster.change(call, .memberRemove, message)
        case .memberUpdate: cluster.change(call, .memberUpdate, message)
        case .memberPromote: cluster.change(call, .memberPromote, message)
        case .alarm: maintenance.alarm(call, message)
        case .status: maintenance.status(call)
        case .defragment: maintenance.defragment(call)
        case .hash: maintenance.hash(call)
        case .hashKV: maintenance.hashKV(call, message)
        case .downgrade: maintenance.downgrade(call, message)
        case .moveLeader: cluster.moveLeader(call, message)
        case .authStatus: auth.status(call)
        case .authDisable: auth.disable(call)
        case .authenticate: auth.authenticate(call)
        case .healthCheck: maintenance.healthCheck(call, message)
        default: unimplemented(call)
        }
    }

    package func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? {
        let method = Wire.RPCMethod(rawValue: call.method.index)
        if let refusal = refusal(ofStream: method, call) {
            call.fail(RPCStatus(refusal))
            return nil
        }
        switch method {
        case .rangeStream: return kv.rangeStream(call)
        case .watch: return watch.open(call)
        case .leaseKeepAlive: return lease.keepAlive(call)
        case .healthWatch: return maintenance.healthWatch(call)
        case .snapshot: return snapshot.open(call)
        default:
            unimplemented(call)
            return nil
        }
    }

    /// Why a unary call cannot be served by this member as it is now, if so.
    private func refusal(
        of method: Wire.RPCMethod, _ call: RPCCall, _ message: UnsafeRawBufferPointer
    ) -> RequestError? {
        let context = state.context
        if context.isJoining { return .noLeader }
        if context.isLearner.load(ordering: .relaxed) {
            switch method {
            case .status, .healthCheck: break
            case .range where (try? RangeRequestView(decoding: message))?.serializable == true: break
            default: return .notSupportedForLearner
            }
        }
        if context.isCorrupt.load(ordering: .relaxed) {
            // Alarms and members stay manageable, and leases are the leader's, who is another.
            switch method {
            case .range, .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke: return .corrupt
            default: break
            }
        }
        guard context.leader.load(ordering: .relaxed) == 0, call.requiresLeader else { return nil }
        return .noLeader
    }

    /// The same for a stream. One that requires a leader is watched from now on.
    private func refusal(ofStream method: Wire.RPCMethod?, _ call: RPCCall) -> RequestError? {
        let context = state.context
        if context.isJoining { return .noLeader }
        if context.isLearner.load(ordering: .relaxed), method != .snapshot, method != .healthWatch {
            return .notSupportedForLearner
        }
        if context.isCorrupt.load(ordering: .relaxed), method == .watch || method == .rangeStream { return .corrupt }
        guard call.requiresLeader else { return nil }
        if context.leader.load(ordering: .relaxed) == 0 { return .noLeader }
        state.leaderStreams.append(call)
        return nil
    }

    /// A method that the API has and this version does not.
    private func unimplemented(_ call: RPCCall) {
        let description = Wire.RPCMethod(rawValue: call.method.index)?.description
        let name = description.map { "\($0.name)" } ?? "?"
        call.fail(RPCStatus(.unimplemented, "method \(name) not implemented"))
    }
}

extension RPCCall {
    /// The client would rather fail than wait without a leader. Source: etcd-behaviour, section 1.
    fileprivate var requiresLeader: Bool { metadata("hasleader") == "true" }
}
