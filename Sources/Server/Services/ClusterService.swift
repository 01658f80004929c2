import Membership
import NIOCore
import Primitives
import RaftCore
import Replica
import StateMachine
import Synchronization
import Transport
import Wire

/// `etcdserverpb.Cluster`, and `Maintenance.MoveLeader`. Owner: the event loop.
struct ClusterService {
    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    func memberList(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? MemberListRequest(decoding: message) else { return call.fail(RPCStatus(.malformed)) }
        let answer = { [state] in
            let members = state.context.stateMachine.published.withLock { $0.members }
            // Answers about members name no revision, as etcd's do not.
            let response = MemberListResponse(
                header: state.header(revision: 0), members: members.map { Wire.Member($0) })
            call.reply(response.encoded().array)
        }
        guard request.linearizable else { return answer() }
        state.linearize { error in
            if let error { return call.fail(RPCStatus(error)) }
            answer()
        }
    }

    /// Adds, removes, updates or promotes a member; the leader looks whether that may be.
    func change(_ call: RPCCall, _ request: LeaderRequest, _ message: UnsafeRawBufferPointer) {
        let own = context.identity.memberID
        let isOwnEnd = request == .memberRemove && (try? MemberRequest.naming(decoding: message))?.id == own.rawValue
        state.atLeader(request, Bytes(copying: message)) { [state] result in
            // Who asks this member next finds the change made here, too. A member that leaves need not wait for that, and
            // a leader has answered when it had applied the change.
            guard case .success = result, !isOwnEnd, state.context.leader.load(ordering: .relaxed) != own.rawValue
            else {
                return call.end(result)
            }
            state.linearize { _ in call.end(result) }
        }
    }

    /// Hands leadership to another member, and answers when that leads.
    func moveLeader(_ call: RPCCall, _ message: UnsafeRawBufferPointer) {
        guard let request = try? MemberRequest.naming(decoding: message) else {
            return call.fail(RPCStatus(.malformed))
        }
        let target = MemberID(request.id)
        let own = context.identity.memberID
        guard context.leader.load(ordering: .relaxed) == own.rawValue else { return call.fail(RPCStatus(.notLeader)) }
        let members = context.stateMachine.published.withLock { $0.members }
        guard members.contains(where: { $0.id == target && !$0.isLearner }) else {
            return call.fail(RPCStatus(.badLeaderTransferee))
        }
        // As in etcd the answer has no header.
        let answer = { call.reply(size: 0) { _ in } }
        // A leader asked to lead does already.
        guard target != own else { return answer() }
        guard context.replicaInbox.push(.transferLeadership(to: target)) else {
            return call.fail(RPCStatus(.tooManyRequests))
        }
        state.whenLeading(target) { error in
            if let error { return call.fail(RPCStatus(error)) }
            answer()
        }
    }
}
