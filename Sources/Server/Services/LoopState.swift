import DequeModule
import IOInterfaces
import MVCC
import Membership
import NIOCore
import Primitives
import RaftCore
import Replica
import StateMachine
import Synchronization
import Transport
import Watch
import Wire

/// What one event loop keeps for its clients: its reader of the store, its watch hub, and the requests that wait for an
/// answer from another thread. Owner: the loop.
package final class LoopState {
    /// How long a request may wait for its answer: etcd's 5 s and two election timeouts.
    let requestTimeout: TimeAmount

    let context: ServerContext
    let eventLoop: any EventLoop
    let inbox: LoopInbox
    let reader: StoreReader
    private(set) var hub: WatchHub!
    let index: Int

    private var nextNumber: UInt64
    private var pending: [UInt64: Pending] = [:]
    /// Identities in the order they were given, with the moment each has to be answered by.
    private var timeouts = Deque<(id: UInt64, deadline: NIODeadline)>()
    private lazy var backlog = ProposalBacklog(loopCount: context.loopInboxes.count)
    /// Streams that are to fail when there is no leader for three election timeouts.
    var leaderStreams: [RPCCall] = []
    /// Ends each open watch stream with a status, by the stream's object.
    var watchCalls: [ObjectIdentifier: (RPCStatus) -> Void] = [:]
    /// Requests whose time ends by then have been looked at for `ServerMetrics.slowReadIndexes`.
    private var slowReadsCountedTo = NIODeadline.uptimeNanoseconds(0)
    private var lastLeader = MemberID.none
    /// Who waits for a certain member to lead, and until when.
    private var leaderWaiters: [LeaderWaiter] = []

    private struct LeaderWaiter {
        let member: MemberID
        let deadline: NIODeadline
        let action: (RequestError?) -> Void
    }

    /// Compactions that answer once their physical work is done.
    private var sweepWaiters: [(revision: Int64, call: RPCCall, response: Bytes)] = []

    /// What to do with an answer.
    enum Pending {
        /// Pass the response message on.
        case call(RPCCall)
        /// A read's index has come; the replica asks again whenever the leader changes.
        case read((RequestError?) -> Void)
        /// Anything else; nil stands for "nothing came in time" and the like, with the reason.
        case action((Result<Bytes, RequestError>) -> Void)
    }

    init(context: ServerContext, inbox: LoopInbox, index: Int, random: PRNG, startNumber: UInt64) throws(StoreError) {
        self.context = context
        self.inbox = inbox
        self.index = index
        eventLoop = inbox.eventLoop
        reader = try context.store.makeReader()
        let watchReader = try context.store.makeReader()
        nextNumber = startNumber
        requestTimeout = .milliseconds(5000 + 2 * Int64(context.configuration.electionMilliseconds))
        var watches = WatchConfiguration()
        watches.progressIntervalNanoseconds = UInt64(context.configuration.watchProgressNotifySeconds * 1e9)
        watches.fragmentBytesMax = context.configuration.maxRequestBytes + (512 << 10)
        let identity = context.identity
        let source = StoreWatchSource(store: context.store, reader: watchReader) { [context] in
            WatchIdentity(
                clusterID: identity.clusterID, memberID: identity.memberID.rawValue,
                raftTerm: context.term.load(ordering: .relaxed))
        }
        hub = WatchHub(source: source, configuration: watches, random: random) { [unowned self] in
            self.eventLoop.execute(self.turnTask)
        }
        inbox.whenFilled { [unowned self] in self.receive() }
        let interval = min(max(context.configuration.watchProgressNotifySeconds / 10, 0.02), 1)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleRepeatedTask(
            initialDelay: .milliseconds(100), delay: .nanoseconds(Int64(min(interval, 0.25) * 1e9))
        ) { _ in bound.value.tick() }
    }

    /// One turn of the hub; made once, so that scheduling it allocates nothing.
    private lazy var turnTask: @Sendable () -> Void = {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        return {
            do throws(StoreError) { try bound.value.hub.turn() } catch {
                bound.value.context.stopProcess("reading history: \(error)")
            }
        }
    }()

    // MARK: Requests that wait

    /// Proposes a request for a call that gets the response as it is.
    func propose(_ call: RPCCall, fieldNumber: UInt32, body: UnsafeRawBufferPointer) {
        guard let id = submit(fieldNumber: fieldNumber, body: body, { call.fail(RPCStatus($0)) }) else { return }
        pending[id] = .call(call)
    }

    /// Proposes a request whose answer needs more than to be passed on.
    func propose(
        fieldNumber: UInt32, body: Bytes, then action: @escaping (Result<Bytes, RequestError>) -> Void
    ) {
        let id = body.withUnsafeBytes { submit(fieldNumber: fieldNumber, body: $0) { action(.failure($0)) } }
        if let id { pending[id] = .action(action) }
    }

    private func submit(
        fieldNumber: UInt32, body: UnsafeRawBufferPointer, _ refuse: (RequestError) -> Void
    ) -> UInt64? {
        let id = makeID()
        let payload = InternalRaftRequest.encode(id: id, fieldNumber: fieldNumber, body: body)
        if payload.count > context.configuration.maxRequestBytes {
            refuse(.requestTooLarge)
            return nil
        }
        let proposal = Proposal(id: id, payload: payload)
        if context.store.isTailFull || !backlog.hasRoom(for: payload.count) {
            guard !context.isStopping.load(ordering: .relaxed), backlog.append(proposal) else {
                refuse(context.isStopping.load(ordering: .relaxed) ? .stopped : .tooManyRequests)
                return nil
            }
            if backlog.count == 1 { lookAfterBacklog() }
        } else if context.replicaInbox.push(.propose(proposal)) {
            backlog.proposed(proposal)
        } else {
            refuse(context.isStopping.load(ordering: .relaxed) ? .stopped : .tooManyRequests)
            return nil
        }
        wait(for: id)
        return id
    }

    /// Proposes what waited for room, in its order, and looks again soon while something waits.
    private func lookAfterBacklog() {
        eventLoop.assumeIsolated().scheduleTask(in: ProposalBacklog.pollInterval) { [self] in
            while !context.store.isTailFull, let proposal = backlog.popFirst() {
                // Whose caller was told that its time is over is not proposed any more.
                guard pending[proposal.id] != nil else { continue }
                if context.replicaInbox.push(.propose(proposal)) {
                    backlog.proposed(proposal)
                } else {
                    settle(proposal.id, .failure(.tooManyRequests))
                }
            }
            if !backlog.isEmpty { lookAfterBacklog() }
        }
    }

    /// Runs `action` at a moment from which the published view holds everything acknowledged before this call.
    func linearize(then action: @escaping (RequestError?) -> Void) {
        if context.servesReadsLocally.load(ordering: .acquiring) { return action(nil) }
        let id = makeID()
        guard context.replicaInbox.push(.read(context: id)) else { return action(.tooManyRequests) }
        wait(for: id)
        pending[id] = .read(action)
    }

    /// Proposes a change of the membership; the answer is the API's response.
    func proposeChange(_ change: MemberTable.Change, then action: @escaping (Result<Bytes, RequestError>) -> Void) {
        let id = makeID()
        let request = MemberChange(requestID: id, change)
        let event = ReplicaEvent.proposeChange(
            id: id, change: request.configurationChange, kind: .configurationChangeV2, payload: request.encoded())
        guard context.replicaInbox.push(event) else { return action(.failure(.tooManyRequests)) }
        wait(for: id)
        pending[id] = .action(action)
    }

    /// Runs `action` once `member` leads, or with `.timeout` when it does not in time.
    func whenLeading(_ member: MemberID, then action: @escaping (RequestError?) -> Void) {
        leaderWaiters.append(LeaderWaiter(member: member, deadline: .now() + requestTimeout, action: action))
        releaseLeaderWaiters()
    }

    /// Looks who leads now. What another leader was asked for and has not brought about soon after a new one is known, it
    /// probably never will: its caller is told so, long before the request's time is over.
    private func leaderChanged() {
        releaseLeaderWaiters()
        let leader = MemberID(context.leader.load(ordering: .relaxed))
        guard leader != .none, leader != lastLeader else { return }
        let hadLeader = lastLeader != .none
        lastLeader = leader
        let asked = nextNumber
        guard hadLeader, !pending.isEmpty else { return }
        let patience = TimeAmount.milliseconds(2 * Int64(context.configuration.heartbeatMilliseconds))
        eventLoop.assumeIsolated().scheduleTask(in: patience) { [self] in failProposals(through: asked) }
    }

    /// Fails the proposals with numbers up to `number` that still wait.
    private func failProposals(through number: UInt64) {
        let last = RequestID.make(member: context.identity.memberID, loop: index, number: number)
        let lost = pending.filter { id, waiting in
            if case .read = waiting { false } else { id <= last }
        }
        for id in lost.keys.sorted() { settle(id, .failure(.leaderFailed)) }
    }

    private func releaseLeaderWaiters() {
        guard !leaderWaiters.isEmpty else { return }
        let leader = MemberID(context.leader.load(ordering: .relaxed))
        let now = NIODeadline.now()
        let waiters = leaderWaiters
        leaderWaiters.removeAll { $0.member == leader || $0.deadline <= now }
        for waiter in waiters {
            if waiter.member == leader {
                waiter.action(nil)
            } else if waiter.deadline <= now {
                waiter.action(.timeout)
            }
        }
    }

    /// Ends streams that require a leader, when there has been none for three election timeouts. Source: etcd-behaviour,
    /// section 1.
    private func endLeaderStreams() {
        leaderStreams.removeAll { !$0.isLive }
        let since = context.leaderlessSince.load(ordering: .relaxed)
        let patience = 3 * UInt64(context.configuration.electionMilliseconds) * 1_000_000
        guard !leaderStreams.isEmpty, since != 0, context.clock.now() > since + patience else { return }
        let streams = leaderStreams
        leaderStreams = []
        for call in streams { call.fail(RPCStatus(.noLeader)) }
    }

    /// Ends all watches once this member's state is known to differ from the others': clients go elsewhere.
    private func endWatchesIfCorrupt() {
        guard !watchCalls.isEmpty, context.isCorrupt.load(ordering: .relaxed) else { return }
        for end in Array(watchCalls.values) { end(RPCStatus(.corrupt)) }
    }

    /// Has a transaction without writes answered by the apply thread.
    func readOnly(_ call: RPCCall, request: Bytes) {
        let id = makeID()
        guard context.applyInbox.push(.readOnlyTxn(id: id, request: request)) else {
            return call.fail(RPCStatus(.tooManyRequests))
        }
        wait(for: id)
        pending[id] = .call(call)
    }

    /// Answers a compaction after its removals are done.
    func whenSwept(_ revision: Int64, _ call: RPCCall, response: Bytes) {
        // Below revision 2 nothing has ever been written, and nothing is swept.
        guard revision > 1, context.store.numbers().sweptRevision < revision else {
            return call.reply(response.array)
        }
        sweepWaiters.append((revision, call, response))
        context.wantsCommit.store(true, ordering: .releasing)
        context.backendSignal.raise()
    }

    private func makeID() -> UInt64 {
        nextNumber &+= 1
        return RequestID.make(member: context.identity.memberID, loop: index, number: nextNumber)
    }

    private func wait(for id: UInt64) { timeouts.append((id, .now() + requestTimeout)) }

    // MARK: Answers

    private func receive() {
        let content = inbox.take()
        for result in content.outcomes { settle(result) }
        for (id, error) in content.refusals { settle(id, .failure(error)) }
        for id in content.reads { settle(id, .success(Bytes())) }
        if content.hasLeaderNews { leaderChanged() }
        if content.sweptRevision > 0 { releaseSweepWaiters(content.sweptRevision) }
        for job in content.jobs { job() }
        if content.revision > 0 { hub.newRevisions(upTo: content.revision) }
    }

    private func settle(_ applied: Applied) {
        switch applied.outcome {
        case .response(let bytes): settle(applied.requestID, .success(bytes))
        case .refused(let error): settle(applied.requestID, .failure(error))
        case .nothing: break
        }
    }

    private func settle(_ id: UInt64, _ result: Result<Bytes, RequestError>) {
        backlog.answered(id)
        // A request that is not here timed out, or was made by this member's process before it restarted.
        guard let waiting = pending.removeValue(forKey: id) else { return }
        switch (waiting, result) {
        case (.call(let call), .success(let bytes)):
            call.reply(size: bytes.count) { target in bytes.withUnsafeBytes { target.copyMemory(from: $0) } }
        case (.call(let call), .failure(let error)): call.fail(RPCStatus(error))
        case (.read(let action), .success): action(nil)
        case (.read(let action), .failure(let error)): action(error)
        case (.action(let action), let result): action(result)
        }
    }

    private func releaseSweepWaiters(_ revision: Int64) {
        for waiter in sweepWaiters where waiter.revision <= revision { waiter.call.reply(waiter.response.array) }
        sweepWaiters.removeAll { $0.revision <= revision }
    }

    private func tick() {
        let now = NIODeadline.now()
        while let first = timeouts.first, first.deadline <= now || pending[first.id] == nil {
            timeouts.removeFirst()
            if pending[first.id] != nil { settle(first.id, .failure(.timeout)) }
        }
        countSlowReads(now: now)
        releaseLeaderWaiters()
        endLeaderStreams()
        endWatchesIfCorrupt()
        // Waiters whose client has gone would otherwise stay until the sweep is done.
        sweepWaiters.removeAll { !$0.call.isLive }
        hub.tick(now: context.clock.now())
    }

    /// Counts each read that has waited for its index for half a second, once.
    private func countSlowReads(now: NIODeadline) {
        let patience = TimeAmount.milliseconds(ServerMetrics.slowReadIndexMilliseconds)
        let bound = now + requestTimeout - patience
        // The deadlines ascend, so that only what has come in since the last time is looked at.
        var (low, high) = (timeouts.startIndex, timeouts.endIndex)
        while low < high {
            let middle = (low + high) / 2
            if timeouts[middle].deadline <= slowReadsCountedTo { low = middle + 1 } else { high = middle }
        }
        while low < timeouts.endIndex, timeouts[low].deadline <= bound {
            if case .read? = pending[timeouts[low].id] { context.metrics.slowReadIndexes.add() }
            low += 1
        }
        slowReadsCountedTo = bound
    }

    /// Fails everything that still waits: the server stops.
    func stop() {
        for id in pending.keys.sorted() { settle(id, .failure(.stopped)) }
    }

    // MARK: Answers' header

    /// The header of an answer given now at `revision`.
    func header(revision: Int64) -> ResponseHeader {
        ResponseHeader(
            clusterID: context.identity.clusterID, memberID: context.identity.memberID.rawValue, revision: revision,
            raftTerm: context.term.load(ordering: .relaxed))
    }

    var currentHeader: ResponseHeader { header(revision: context.store.currentRevision) }
}
