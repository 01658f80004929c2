import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Synchronization
import Wire

/// Clients: what they ask, and what they are answered.
extension Simulation {
    func wakeClient(_ index: Int, _ request: Int) throws(Violation) {
        guard clients[index].request == request else { return }
        if let id = clients[index].pending {
            trace.note(.abandon, time: now, UInt64(index), id)
            abandon(id)
            return
        }
        guard phase != .convergence else { return }
        try ask(index)
    }

    /// The client's request has ended in some way; the next one comes after a pause.
    private func goOn(_ index: Int, after pause: UInt64? = nil) {
        clients[index].pending = nil
        clients[index].request += 1
        let pause = pause ?? time(10_000..<options.thinkNanosecondsMax)
        queue.add(.client(index, request: clients[index].request), at: now + pause)
    }

    private func ask(_ index: Int) throws(Violation) {
        let isStuck = phase != .safety && !isMember(machines[clients[index].member])
        if clients[index].random.chance(oneIn: 5) || isStuck || !machines[clients[index].member].isUp {
            clients[index].member = clients[index].random.next(in: 0..<machines.count)
        }
        let machine = machines[clients[index].member]
        guard machine.isUp else { return goOn(index, after: time(5_000_000..<100_000_000)) }
        let id = nextRequestID + 1
        let plan = clients[index].plan(options, nextID: id)
        if machine.status == .running, refuses(plan, id, machine) { return goOn(index) }
        if case .serializable(let range, let at) = plan { return try readLocally(index, machine, range, at) }
        nextRequestID = id
        clients[index].pending = id
        trace.note(.invoke, time: now, member: machine.index, UInt64(index), id)
        queue.add(
            .client(index, request: clients[index].request), at: now + time(1_000_000_000..<8_000_000_000))
        linearizability.invoke(id)
        var waiting = Waiting(
            client: index, kind: .keepAlive(0), member: machine.index, life: machine.life, askedAt: now,
            jumped: leases.jumpedNanoseconds)
        switch plan {
        case .write(let request, let key):
            let payload = request.payload(id: id)
            history.propose(id, request, payload: payload)
            waiting.kind = .write(request, key: key)
            self.waiting[id] = waiting
            hand(machine, .propose(Proposal(id: id, payload: payload)))
        case .read(let range, let at, let key):
            waiting.kind = .read(range, at: at, key: key)
            self.waiting[id] = waiting
            askIndex(machine, id)
        case .keepAlive(let lease):
            waiting.kind = .keepAlive(lease)
            self.waiting[id] = waiting
            askIndex(machine, id)
        case .serializable: break
        }
    }

    /// What the event loop refuses before it asks the replica. Nothing of it goes into the log.
    private func refuses(_ plan: Plan, _ id: UInt64, _ machine: Machine) -> Bool {
        guard options.generation >= 2, let driver = machine.driver else { return false }
        if driver.isCorrupt {
            counters.corruptRefusals += 1
            return true
        }
        guard options.quotaBytes >= 0, case .write(let request, _) = plan else { return false }
        driver.now = machine.clock.now(at: now)
        let admits = driver.admits(request.payload(id: id))
        if !admits { counters.noSpaceRefusals += 1 }
        // It may have proposed the alarm.
        for proposal in driver.output.internalProposals {
            history.propose(proposal.id, Request(internal: proposal.payload), payload: proposal.payload)
        }
        driver.output.internalProposals = []
        schedule(machine)
        return !admits
    }

    /// The outcome of a request stays unknown to whoever waits for it here.
    func giveUp(_ id: UInt64, at machine: Machine) {
        guard let asked = waiting[id], asked.member == machine.index, asked.life == machine.life else { return }
        abandon(id)
    }

    private func askIndex(_ machine: Machine, _ id: UInt64) {
        guard machine.status == .running, let driver = machine.driver else { return hand(machine, .read(context: id)) }
        driver.read(context: id)
        schedule(machine)
        if !driver.output.readable.isEmpty {
            machine.scheduled[MemberTurn.replica.rawValue] = true
            queue.add(.turn(member: machine.index, life: machine.life, .replica), at: now + 1000)
        }
    }

    // MARK: Answers

    /// The state machine has applied a request; whoever waits for it here is told.
    func answer(_ id: UInt64, _ outcome: ApplyOutcome, at machine: Machine) throws(Violation) {
        guard let asked = waiting[id], asked.member == machine.index, asked.life == machine.life,
            case .write(let request, let key) = asked.kind
        else { return }
        waiting[id] = nil
        guard let answer = Answer(outcome, to: request) else {
            throw Violation("answers", "the answer to \(request) cannot be read")
        }
        try linearizability.complete(id, answer, in: history)
        let index = history.index(ofRequest: id) ?? .zero
        durability.acknowledged(index)
        counters.acknowledged += 1
        trace.note(.acknowledge, time: now, member: machine.index, UInt64(asked.client), id, index.rawValue)
        if case .grant(let lease, _) = request, case .lease(_, let ttl) = answer.result {
            leases.renewed(lease, asked: asked.askedAt, jumped: asked.jumped, ttlSeconds: ttl)
        }
        if let healedAt, asked.askedAt >= healedAt { hasProgressed = true }
        clients[asked.client].learn(answer, of: request, key: key)
        goOn(asked.client)
    }

    /// A member says that a request is not in the log and never will be.
    func refuse(_ id: UInt64) throws(Violation) {
        try history.refuse(id)
        guard let asked = waiting.removeValue(forKey: id) else { return try refuseChange(id) }
        linearizability.abandon(id)
        counters.refused += 1
        trace.note(.refuse, time: now, member: asked.member, UInt64(asked.client), id)
        goOn(asked.client)
    }

    func refuseRead(_ context: UInt64) {
        guard let asked = waiting.removeValue(forKey: context) else { return }
        linearizability.abandon(context)
        counters.refused += 1
        trace.note(.refuse, time: now, member: asked.member, UInt64(asked.client), context)
        goOn(asked.client)
    }

    /// Nobody will answer; the request may take effect at any time.
    private func abandon(_ id: UInt64) {
        guard let asked = waiting.removeValue(forKey: id) else { return }
        linearizability.abandon(id)
        counters.abandoned += 1
        // As a client's balancer does: elsewhere next time.
        clients[asked.client].member = clients[asked.client].random.next(in: 0..<machines.count)
        goOn(asked.client)
    }

    /// The connections of everybody who waits at a member break.
    func abandonRequests(at machine: Machine) {
        for client in clients {
            guard let id = client.pending, let asked = waiting[id], asked.member == machine.index else { continue }
            abandon(id)
        }
        if pendingChange?.member == machine.index { pendingChange = nil }
    }

    // MARK: Reads

    private enum ReadOutcome {
        case rows([Record], revision: Int64)
        case compacted
        case future
        /// The store found a record damaged: the process ends.
        case broken(StoreError)
    }

    /// Whoever answers is not named by CORRUPT, as far as it can know.
    func checkServing(_ machine: Machine) throws(Violation) {
        guard let state = machine.driver?.core.stateMachine.published.withLock({ $0 }) else { return }
        try consistency.served(machine.id, isNamed: state.isCorrupt(machine.id))
    }

    /// A linearizable read, or what waits for one, may go on at this member now.
    func answerRead(_ context: UInt64, at machine: Machine, _ driver: MemberDriver) throws(Violation) {
        guard let asked = waiting.removeValue(forKey: context), asked.member == machine.index,
            asked.life == machine.life
        else { return }
        // The alarm may have come while the read waited.
        if !driver.isCorrupt { try checkServing(machine) }
        if driver.isCorrupt || machine.wrongSince != nil {
            linearizability.abandon(context)
            return goOn(asked.client)
        }
        counters.reads += 1
        switch asked.kind {
        case .write: throw Violation("answers", "request \(context) is answered as a read")
        case .keepAlive(let lease):
            linearizability.abandon(context)
            keepAlive(lease, asked, driver)
        case .read(let range, let at, let key):
            switch try read(range, at, driver) {
            case .rows(let rows, let revision):
                trace.note(
                    .read, time: now, member: machine.index, UInt64(asked.client), context, UInt64(revision))
                try linearizability.completeRead(
                    context, range, at: at, rows: rows, revision: revision, in: history)
                clients[asked.client].learn(rows, of: range, at: at, revision: revision, key: key)
            case .compacted:
                try linearizability.refuseRead(context, at: at, isCompacted: true, in: history)
                clients[asked.client].pinned = nil
            case .future: try linearizability.refuseRead(context, at: at, isCompacted: false, in: history)
            case .broken(let error):
                linearizability.abandon(context)
                try stop(machine, .store(error))
            }
        }
        goOn(asked.client)
    }

    private func keepAlive(_ lease: Int64, _ asked: Waiting, _ driver: MemberDriver) {
        guard driver.isPrimary else { return }
        do throws(LeaseError) {
            guard case .renewed(let ttl) = try driver.core.lessor.renew(id: LeaseID(lease), now: driver.now) else {
                return
            }
            counters.keepAlives += 1
            trace.note(.keepAlive, time: now, member: asked.member, UInt64(lease), UInt64(ttl))
            leases.renewed(lease, asked: asked.askedAt, jumped: asked.jumped, ttlSeconds: ttl)
        } catch {
            clients[asked.client].leases.removeAll { $0 == lease }
        }
    }

    private func readLocally(_ index: Int, _ machine: Machine, _ range: KeyRange, _ at: Int64) throws(Violation) {
        guard machine.status == .running, let driver = machine.driver else { return goOn(index) }
        try checkServing(machine)
        if machine.wrongSince != nil { return goOn(index) }
        switch try read(range, at, driver) {
        case .rows(let rows, let revision):
            counters.reads += 1
            try LinearizabilityChecker.check(range, at: at, rows: rows, revision: revision, in: history)
        case .compacted:
            guard at < history.model.compactRevision else {
                throw Violation("linearizability", "a read at \(at) is refused as compacted; nobody compacted it")
            }
        case .future:
            guard at > driver.core.store.currentRevision else {
                throw Violation("linearizability", "a read at \(at) is refused as of the future")
            }
        case .broken(let error): try stop(machine, .store(error))
        }
        goOn(index)
    }

    private func read(_ range: KeyRange, _ at: Int64, _ driver: MemberDriver) throws(Violation) -> ReadOutcome {
        let store = driver.core.store
        do throws(StoreError) {
            let reader = try store.makeReader()
            var revision: Int64 = 0
            let bytes = try RangeQuery.with(key: range.key, end: range.end) { (query) throws(StoreError) -> Bytes in
                query.revision = at
                var plan = try reader.plan(query)
                revision = plan.headerRevision
                return try Bytes(count: plan.rowBytes) { (buffer) throws(StoreError) in try plan.writeAll(into: buffer)
                }
            }
            return .rows(try Self.records(in: bytes), revision: revision)
        } catch {
            switch error {
            case .compacted: return .compacted
            case .futureRevision: return .future
            case .corrupted: return .broken(error)
            default: throw Violation("store", "a read fails: \(error)")
            }
        }
    }

    /// Rows are records as field 2 of a range response.
    static func records(in rows: Bytes) throws(StoreError) -> [Record] {
        let records = rows.withUnsafeBytes { bytes -> [Record]? in
            (try? RangeResponseView(decoding: bytes))?.keyValues.map { Record($0) }
        }
        guard let records else { throw .corrupted(revision: nil, detail: "the rows of an answer cannot be read") }
        return records
    }
}

extension Simulation {
    /// Every key and every lease of a member is the model's.
    func checkContents(_ machine: Machine) throws(Violation) {
        guard let driver = machine.driver else { return }
        let all = KeyRange(key: "/", end: "0")
        for at in Set([0, max(1, history.model.compactRevision)]).sorted() {
            let outcome = try read(all, at, driver)
            // It serves nothing wrong, and ends with the next look at that record.
            if case .broken = outcome, machine.isRecordFlipped { return }
            guard case .rows(let rows, let revision) = outcome else {
                throw Violation("contents", "member \(machine.id.rawValue) refuses to read at \(at)")
            }
            guard rows == history.model.records(all, at: at > 0 ? at : revision) else {
                throw Violation("contents", "member \(machine.id.rawValue) holds other keys than it should at \(at)")
            }
        }
        driver.core.lessor.checkInvariants()
        let leases = driver.core.lessor.records().map(\.id.rawValue)
        guard leases == history.model.leases.keys.sorted() else {
            throw Violation("contents", "member \(machine.id.rawValue) has the leases \(leases)")
        }
    }
}
