import Membership
import NIOCore
import Peers
import Primitives
import Replica
import StateMachine
import Synchronization
import Transport
import Wire

/// Changes of the membership, on the leader: looks at the cluster before it proposes. Owner: the event loop.
struct MembershipChange {
    /// How long a member has to have been connected to count as healthy. Source: etcd's health interval.
    private static let healthyTime = TimeAmount.seconds(5)

    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    func run(_ request: LeaderRequest, _ body: Bytes, then answer: @escaping (Result<Bytes, RPCStatus>) -> Void) {
        let action = request == .memberPromote ? countingPromotion(answer) : answer
        guard context.leader.load(ordering: .relaxed) == context.identity.memberID.rawValue else {
            return action(.failure(RPCStatus(.notLeader)))
        }
        // What is in the log and not applied here yet is not seen; the state machine checks once more.
        do throws(RequestError) {
            let change = try change(request, body)
            state.proposeChange(change) { result in action(result.mapError { RPCStatus($0) }) }
        } catch { action(.failure(RPCStatus(error))) }
    }

    private func countingPromotion(
        _ action: @escaping (Result<Bytes, RPCStatus>) -> Void
    ) -> (Result<Bytes, RPCStatus>) -> Void {
        let metrics = context.metrics
        return { result in
            switch result {
            case .success: metrics.learnerPromotions.add()
            case .failure(let status): metrics.learnerPromotionFailures.add(status.message)
            }
            action(result)
        }
    }

    private func change(_ request: LeaderRequest, _ body: Bytes) throws(RequestError) -> MemberTable.Change {
        guard
            let message = try? body.withUnsafeBytes({ (bytes) throws(WireError) in
                try request == .memberAdd ? MemberRequest.add(decoding: bytes) : .naming(decoding: bytes)
            })
        else { throw .malformed }
        let id = MemberID(message.id)
        let situation = situation()
        do throws(MembershipError) {
            switch request {
            case .memberAdd:
                let member = Membership.Member(
                    id: newIdentity(message.peerURLs), name: "", peerURLs: try checked(message.peerURLs),
                    isLearner: message.isLearner)
                try MembershipChecks.add(member, situation)
                return .add(member, learnersMax: situation.learnersMax)
            case .memberRemove:
                try MembershipChecks.remove(id, situation)
                return .remove(id)
            case .memberUpdate:
                // Who is not there comes first, as in etcd.
                let isKnown = situation.table.members.contains { $0.id == id }
                guard isKnown else { throw MembershipError.memberNotFound }
                let urls = try checked(message.peerURLs)
                try MembershipChecks.update(id, peerURLs: urls, situation)
                return .update(id, peerURLs: urls)
            case .memberPromote:
                try MembershipChecks.promote(id, situation)
                return .promote(id)
            case .leaseRenew, .leaseTimeToLive, .leaseLeases: invariantFailed("a lease request changes no membership")
            }
        } catch { throw .membership(error) }
    }

    private func checked(_ urls: [String]) throws(MembershipError) -> [String] {
        guard !urls.isEmpty, urls.allSatisfy({ (try? PeerURL($0)) != nil }) else { throw .badURLs }
        return urls.sorted()
    }

    /// As at a founding, and with the time, so that a member that was removed may come again as another one.
    private func newIdentity(_ urls: [String]) -> MemberID {
        let token = context.configuration.initialClusterToken + "\(WallClock.nanoseconds() / 1_000_000_000)"
        return ClusterIdentity.memberID(peerURLs: urls, token: token, sha1: Digest.sha1)
    }

    private func situation() -> MembershipChecks.Situation {
        let published = context.stateMachine.published.withLock { $0 }
        let own = context.identity.memberID
        var situation = MembershipChecks.Situation(
            table: MemberTable(members: published.members, removed: published.removed), leader: own)
        situation.isStrict = context.configuration.strictReconfigCheck
        situation.learnersMax = context.configuration.learnersMax
        situation.match = context.matchIndexes.withLock { $0 }
        situation.match[own] = LogIndex(context.lastIndex.load(ordering: .relaxed))
        situation.active = [own]
        situation.connected = [own]
        let now = NIODeadline.now()
        for peer in context.peers?.statuses() ?? [] where peer.isConnected {
            situation.active.insert(peer.member)
            if now - peer.changedAt >= Self.healthyTime { situation.connected.insert(peer.member) }
        }
        return situation
    }
}
