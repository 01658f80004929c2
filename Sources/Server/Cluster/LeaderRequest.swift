import IOInterfaces
import Leasing
import NIOCore
import Peers
import Primitives
import StateMachine
import Synchronization
import Transport
import Wire

/// What only the leader can answer: deadlines of leases, and changes of the membership that depend on how far the others
/// are. A follower passes such requests on over its connection to the leader. Raw values go over the wire.
enum LeaderRequest: UInt32, Sendable {
    /// Body: identities of leases, 8 bytes little-endian each. Answer: for each its time to live in seconds likewise, 0
    /// when there is no such lease, `LeaderRequest.pendingRenewal` when it cannot be told yet.
    case leaseRenew = 1
    // Body and answer of the others are the API's messages.
    case leaseTimeToLive = 2
    case leaseLeases = 3
    case memberAdd = 4
    case memberRemove = 5
    case memberUpdate = 6
    case memberPromote = 7

    /// A lease whose renewal waits for the log; to be asked again.
    static let pendingRenewal: Int64 = -2

    /// Whether asking twice does no harm.
    var isRepeatable: Bool {
        switch self {
        case .leaseRenew, .leaseTimeToLive, .leaseLeases: true
        case .memberAdd, .memberRemove, .memberUpdate, .memberPromote: false
        }
    }

    /// Integers as `leaseRenew` has them.
    static func pack(_ values: some Collection<Int64>) -> Bytes {
        Bytes(count: values.count * 8) { buffer in
            for (place, value) in values.enumerated() {
                buffer.storeBytes(of: value.littleEndian, toByteOffset: place * 8, as: Int64.self)
            }
        }
    }

    /// Nil when the count of bytes is no multiple of eight.
    static func unpack(_ bytes: Bytes) -> [Int64]? {
        guard bytes.count % 8 == 0 else { return nil }
        return bytes.withUnsafeBytes { buffer in
            stride(from: 0, to: buffer.count, by: 8).map {
                Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: $0, as: Int64.self))
            }
        }
    }
}

extension LoopState {
    /// How soon a request that found no leader is tried again.
    private static let leaderRetryMilliseconds: Int64 = 50

    /// Has the leader answer: this member, or another by way of the peers. Without a leader it waits for one, as long as a
    /// request may take.
    func atLeader(_ request: LeaderRequest, _ body: Bytes, then action: @escaping (Result<Bytes, RPCStatus>) -> Void) {
        atLeader(request, body, until: .now() + requestTimeout, then: action)
    }

    private func atLeader(
        _ request: LeaderRequest, _ body: Bytes, until deadline: NIODeadline,
        then action: @escaping (Result<Bytes, RPCStatus>) -> Void
    ) {
        let settle: (Result<Bytes, RPCStatus>) -> Void = { [self] result in
            guard case .failure(let status) = result, status == RPCStatus(.notLeader) || status == RPCStatus(.noLeader)
            else { return action(result) }
            guard NIODeadline.now() < deadline else { return action(.failure(RPCStatus(.timeout))) }
            eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.leaderRetryMilliseconds)) { [self] in
                atLeader(request, body, until: deadline, then: action)
            }
        }
        let leader = MemberID(context.leader.load(ordering: .relaxed))
        if leader == context.identity.memberID {
            return LeaderCalls(state: self).run(request, body, then: settle)
        }
        guard leader != .none, let peers = context.peers else { return settle(.failure(RPCStatus(.noLeader))) }
        let loop = eventLoop
        let attempt = LeaderAttempt(settle)
        let answer = NIOLoopBound(attempt, eventLoop: loop)
        peers.call(to: leader, method: request.rawValue, body: body, timeout: requestTimeout) { result in
            loop.execute { answer.value.end(result) }
        }
        if request.isRepeatable { endWhenReplaced(leader, attempt) }
    }

    /// Ends an attempt whose leader leads no more, so that the next one is asked: the old one may hang, and keep its
    /// connection open.
    private func endWhenReplaced(_ leader: MemberID, _ attempt: LeaderAttempt) {
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.leaderRetryMilliseconds)) { [self] in
            guard !attempt.isOver else { return }
            guard context.leader.load(ordering: .relaxed) == leader.rawValue else {
                return attempt.end(.failure(RPCStatus(.notLeader)))
            }
            endWhenReplaced(leader, attempt)
        }
    }
}

/// A request on its way to one leader; the first end of it counts. Owner: the event loop.
private final class LeaderAttempt {
    private var action: ((Result<Bytes, RPCStatus>) -> Void)?

    init(_ action: @escaping (Result<Bytes, RPCStatus>) -> Void) { self.action = action }

    var isOver: Bool { action == nil }

    func end(_ result: Result<Bytes, RPCStatus>) {
        let last = action
        action = nil
        last?(result)
    }
}

/// Answers a `LeaderRequest` on the leader. Owner: the event loop.
struct LeaderCalls {
    let state: LoopState
    private var context: ServerContext { state.context }

    init(state: LoopState) { self.state = state }

    /// - Parameter action: called once, now or later on the same loop; with `.notLeader` when this member does not lead.
    func run(_ request: LeaderRequest, _ body: Bytes, then action: @escaping (Result<Bytes, RPCStatus>) -> Void) {
        // A leader with a wrong state is about to hand over; who leads then knows the leases.
        let isCorrupt = context.isCorrupt.load(ordering: .relaxed)
        switch request {
        case .leaseRenew, .leaseTimeToLive, .leaseLeases:
            if isCorrupt { return action(.failure(RPCStatus(.notLeader))) }
        case .memberAdd, .memberRemove, .memberUpdate, .memberPromote: break
        }
        switch request {
        case .leaseRenew: renew(body, then: action)
        case .leaseTimeToLive: linearized(action) { timeToLive(body) }
        case .leaseLeases:
            linearized(action) {
                let ids = context.lessor.leases().map(\.rawValue)
                return .success(LeaseLeasesResponse(header: state.currentHeader, leases: ids).encoded())
            }
        case .memberAdd, .memberRemove, .memberUpdate, .memberPromote:
            MembershipChange(state: state).run(request, body, then: action)
        }
    }

    private func linearized(
        _ action: @escaping (Result<Bytes, RPCStatus>) -> Void, _ body: @escaping () -> Result<Bytes, RPCStatus>
    ) {
        state.linearize { error in action(error.map { .failure(RPCStatus($0)) } ?? body()) }
    }

    /// Renews leases, and answers once it is confirmed that this member has led all the while. One that slept, or lost the
    /// others, may have been replaced without knowing it; the next one counts the leases' time from its own beginning, and
    /// may know leases that this one never saw.
    private func renew(_ body: Bytes, then action: @escaping (Result<Bytes, RPCStatus>) -> Void) {
        guard let ids = LeaderRequest.unpack(body) else { return action(.failure(RPCStatus(.malformed))) }
        let term = context.term.load(ordering: .relaxed)
        guard let first = renew(ids) else { return action(.failure(RPCStatus(.notLeader))) }
        linearized(action) {
            // A leader of a term that has stepped down does not lead again in that term.
            guard context.lessor.isPrimary, context.term.load(ordering: .relaxed) == term else {
                return .failure(RPCStatus(.notLeader))
            }
            guard first.contains(0) else { return .success(LeaderRequest.pack(first)) }
            // Another member may have applied and acknowledged a grant that this one had not applied: with a slow disk a
            // leader is behind the others. Such a lease is asked for once more, so that its renewal is confirmed, too.
            guard let second = renew(ids) else { return .failure(RPCStatus(.notLeader)) }
            let answers = zip(first, second).map { before, now in
                before == 0 && now != 0 ? LeaderRequest.pendingRenewal : before
            }
            return .success(LeaderRequest.pack(answers))
        }
    }

    /// The answer for each lease; nil on a member that does not lead.
    private func renew(_ ids: [Int64]) -> [Int64]? {
        var answers: [Int64] = []
        answers.reserveCapacity(ids.count)
        let now = context.clock.now()
        for id in ids {
            do throws(LeaseError) {
                switch try context.lessor.renew(id: LeaseID(id), now: now) {
                case .renewed(let seconds): answers.append(seconds)
                case .pending: answers.append(LeaderRequest.pendingRenewal)
                }
            } catch {
                // An unknown lease is answered with 0; a member that does not lead cannot tell.
                guard error == .notFound else { return nil }
                answers.append(0)
            }
        }
        return answers
    }

    private func timeToLive(_ body: Bytes) -> Result<Bytes, RPCStatus> {
        guard
            let request = try? body.withUnsafeBytes({ (bytes) throws(WireError) in
                try LeaseTimeToLiveRequest(decoding: bytes)
            })
        else { return .failure(RPCStatus(.malformed)) }
        let id = LeaseID(request.id)
        var response = LeaseTimeToLiveResponse(
            header: state.currentHeader, id: request.id, timeToLiveSeconds: -1, grantedSeconds: 0, keys: [])
        do throws(LeaseError) {
            let lease = try context.lessor.timeToLive(id: id, now: context.clock.now())
            response.timeToLiveSeconds = lease.remainingSeconds
            response.grantedSeconds = lease.grantedSeconds
            if request.keys { response.keys = context.lessor.keys(of: id) }
        } catch {
            guard error == .notFound else { return .failure(RPCStatus(.notLeader)) }
        }
        return .success(response.encoded())
    }
}
