import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine

/// Processes: their lives, their turns, and what comes out of them.
extension Simulation {
    // MARK: Lives

    func start(_ machine: Machine) throws(Violation) {
        guard machine.status == .down, !machine.isBroken else { return }
        machine.options.replica.firstContext = UInt64(machine.life + 1) << 32
        do {
            try machine.start(now: machine.clock.now(at: now), bug: options.bug)
        } catch {
            if isRefusal(of: machine, error) { return breakDown(machine) }
            let mayFail = machine.isHarmed || machine.isDiskFull
            machine.isHarmed = false
            trace.note(.startFailed, time: now, member: machine.index, UInt64(machine.life))
            guard mayFail else {
                throw Violation("start", "member \(machine.id.rawValue) does not start: \(error)")
            }
            machine.die(losesPower: false)
            queue.add(.start(member: machine.index), at: now + time(50_000_000..<1_000_000_000))
            return
        }
        guard let driver = machine.driver else { return }
        let core = driver.core
        if options.generation >= 2 {
            driver.quota = SpaceQuota(bytes: options.quotaBytes)
            driver.scrubs = options.flipsRecordBits
        }
        if core.recovery.tornBytes > 0 { counters.tornTails += 1 }
        trace.note(
            .start, time: now, member: machine.index, UInt64(machine.life), core.store.appliedIndex.rawValue,
            core.replica.lastIndex.rawValue)
        try checkRestart(machine, core)
        machine.watchFront.map { _ in scheduleTick(machine) }
        try absorb(machine)
        schedule(machine)
    }

    /// What the disk kept is what it was told to keep.
    private func checkRestart(_ machine: Machine, _ core: ServerCore) throws(Violation) {
        if machine.life == 1 || core.recovery.hasInstalledImage {
            durability.installed(machine.id, through: core.store.appliedIndex)
        }
        revisions.noteRestart(machine.id)
        // What was not persisted is applied again, and rightly.
        if let wrong = machine.wrongSince, core.store.appliedIndex < wrong { machine.wrongSince = nil }
        try core.replica.inspect { (raft) throws(Violation) in
            try durability.restarted(
                machine.id, term: raft.term, vote: raft.vote, firstIndex: raft.firstIndex, lastIndex: raft.lastIndex,
                logTerm: { raft.logTerm(at: $0) })
        }
        try checkDamage(machine)
        try checkState(machine, core, withDigest: true)
    }

    /// The process ends at once; it begins again after `delay`.
    func kill(_ machine: Machine, losesPower: Bool, delay: UInt64) {
        trace.note(losesPower ? .powerLoss : .crash, time: now, member: machine.index, UInt64(machine.life))
        counters.crashes += 1
        if losesPower { counters.powerLosses += 1 }
        abandonRequests(at: machine)
        breakWatches(at: machine)
        breakTransfers(of: machine)
        machine.die(losesPower: losesPower)
        breakConnections(to: machine)
        queue.add(.start(member: machine.index), at: now + delay)
    }

    /// Whoever can be reached sees the connection to a dead process break, mostly soon.
    func breakConnections(to machine: Machine) {
        for other in machines where other.isUp && other !== machine {
            guard !network.isCut(from: machine.index, to: other.index), !random.chance(oneIn: 4) else { continue }
            queue.add(
                .disconnected(member: other.index, life: other.life, peer: machine.index),
                at: now + time(50_000..<20_000_000))
        }
    }

    /// The process ends itself because its disk failed.
    func stop(_ machine: Machine, _ reason: MemberStop) throws(Violation) {
        trace.note(.stop, time: now, member: machine.index, UInt64(machine.life))
        guard machine.isHarmed || machine.isDiskFull || machine.isRecordFlipped else {
            throw Violation("stop", "member \(machine.id.rawValue) stops, and nothing was done to it: \(reason)")
        }
        machine.isHarmed = false
        counters.diskStops += 1
        kill(
            machine, losesPower: options.losesPower && random.chance(oneIn: 2),
            delay: time(20_000_000..<2_000_000_000))
    }

    func pause(_ machine: Machine, nanoseconds: UInt64) {
        machine.status = .paused
        counters.pauses += 1
        trace.note(.pause, time: now, member: machine.index, nanoseconds / 1_000_000)
        queue.add(.resume(member: machine.index, life: machine.life), at: now + nanoseconds)
    }

    func resume(_ machine: Machine) throws(Violation) {
        guard machine.status == .paused else { return }
        trace.note(.resume, time: now, member: machine.index, UInt64(machine.life))
        machine.status = .running
        if machine.deafSince != nil { machine.deafSince = now }
        let events = machine.heldEvents
        machine.heldEvents = []
        for event in events { hand(machine, event) }
        scheduleTick(machine)
        schedule(machine)
    }

    // MARK: Turns

    /// An owner inside the process takes what waits for it.
    func take(_ machine: Machine, _ turn: MemberTurn) throws(Violation) {
        machine.scheduled[turn.rawValue] = false
        // Nothing moves in a stopped process; `resume` begins again.
        guard machine.status == .running, let driver = machine.driver else { return }
        driver.now = machine.clock.now(at: now)
        do throws(MemberStop) {
            if turn == .watch {
                do throws(StoreError) { try machine.watchFront?.turn(now: driver.now) } catch { throw .store(error) }
            } else {
                // The apply turn hands on whole batches; others may be interrupted.
                try driver.take(turn, itemsMax: random.chance(oneIn: 4) ? random.next(in: 1..<4) : .max)
            }
        } catch {
            try absorbDying(machine, driver)
            return try stop(machine, error)
        }
        trace.mix(UInt64(turn.rawValue) << 8 | UInt64(machine.index))
        if turn == .tick { scheduleTick(machine) }
        try absorb(machine)
        if machine.status == .running { schedule(machine) }
    }

    /// Puts the turns into the queue that have work and are not there.
    func schedule(_ machine: Machine) {
        guard machine.status == .running, let driver = machine.driver else { return }
        for turn in MemberTurn.allCases where !machine.scheduled[turn.rawValue] && turn != .tick {
            let hasWork = turn == .watch ? machine.watchFront?.hasWork == true : driver.hasWork(turn)
            guard hasWork else { continue }
            machine.scheduled[turn.rawValue] = true
            if turn == .log, !driver.isLogFull { driver.logBusySince = machine.clock.now(at: now) }
            queue.add(
                .turn(member: machine.index, life: machine.life, turn), at: now + latency(machine, driver, turn))
        }
    }

    func scheduleTick(_ machine: Machine) {
        guard let driver = machine.driver, !machine.scheduled[MemberTurn.tick.rawValue] else { return }
        machine.scheduled[MemberTurn.tick.rawValue] = true
        let time = machine.clock.time(showing: driver.nextTick, from: now)
        queue.add(.turn(member: machine.index, life: machine.life, .tick), at: time)
    }

    private func latency(_ machine: Machine, _ driver: MemberDriver, _ turn: MemberTurn) -> UInt64 {
        switch turn {
        case .replica, .tick: return time(2_000..<100_000)
        case .log:
            if driver.isLogFull { return 200_000_000 }
            let isStall = phase == .safety && options.stallOneIn > 0 && random.chance(oneIn: options.stallOneIn)
            guard isStall else { return time(options.syncNanosecondsMin..<options.syncNanosecondsMax) }
            counters.stalls += 1
            return time(200_000_000..<4_000_000_000)
        case .idleLog: return time(20_000_000..<60_000_000)
        case .apply: return random.chance(oneIn: 50) ? time(1_000_000..<80_000_000) : time(2_000..<150_000)
        case .backend: return time(1_000_000..<options.commitDelayNanosecondsMax)
        case .sweep: return time(1_000_000..<50_000_000)
        case .watch: return time(2_000..<2_000_000)
        case .scrub: return 200_000_000
        }
    }

    // MARK: What comes out

    /// Takes in what left the process, and checks it.
    func absorb(_ machine: Machine) throws(Violation) {
        guard let driver = machine.driver else { return }
        let output = driver.output
        driver.output = MemberDriver.Output()
        for index in output.attempted { durability.attempted(machine.id, from: index) }
        for entries in output.synced { durability.synced(machine.id, entries) }
        for proposal in output.internalProposals {
            history.propose(proposal.id, Request(internal: proposal.payload), payload: proposal.payload)
        }
        if let index = output.alteredAt { noteAlteration(machine, index) }
        for suspect in output.accused {
            trace.note(.accuse, time: now, member: machine.index, suspect.member.rawValue, suspect.newest.rawValue)
            try consistency.accused(suspect)
        }
        counters.logReads += output.logReads
        for message in output.messages { send(message, from: machine) }
        for applied in output.applied { try absorb(applied, machine, driver) }
        for dropped in output.dropped { try refuse(dropped.id) }
        if let fault = output.faults.first {
            throw Violation(
                "faults", "a message proves to member \(machine.id.rawValue) that entries were lost: \(fault)")
        }
        try checkMember(machine, driver)
        if !output.applied.isEmpty {
            machine.appliedTurns += 1
            try checkState(machine, driver.core, withDigest: machine.appliedTurns % 8 == 0)
        }
        for context in output.readable { try answerRead(context, at: machine, driver) }
        for context in output.refused { refuseRead(context) }
        if machine.isRemoved { retire(machine) }
    }

    /// What the disk and others have of a process that ends in the middle of a turn. What it would still have sent or
    /// told is lost with it.
    private func absorbDying(_ machine: Machine, _ driver: MemberDriver) throws(Violation) {
        for index in driver.output.attempted { durability.attempted(machine.id, from: index) }
        for entries in driver.output.synced { durability.synced(machine.id, entries) }
        for proposal in driver.output.internalProposals {
            history.propose(proposal.id, Request(internal: proposal.payload), payload: proposal.payload)
        }
    }

    private func absorb(
        _ applied: MemberDriver.AppliedEntry, _ machine: Machine, _ driver: MemberDriver
    ) throws(Violation) {
        let entry = applied.entry
        let id = applied.result.requestID
        let isSecret = applied.isSecret
        if isSecret { try consistency.kept(machine.id) }
        let isNew = try history.apply(
            entry, id: id, seenTerm: driver.core.replica.term, checksAnswer: !isSecret && machine.wrongSince == nil
        ) { request in
            Answer(applied.result.outcome, to: request)
        }
        if isNew {
            try durability.committed(entry, configurations.suffix(3))
            try noteCommitted(entry, id: id)
            noteConfiguration(applied)
        }
        trace.note(
            .apply, time: now, member: machine.index, entry.index.rawValue, entry.term.rawValue,
            UInt64(history.revision(at: entry.index)))
        if entry.kind.changesConfiguration {
            try changeApplied(applied, at: machine)
        } else if isSecret || machine.wrongSince != nil {
            giveUp(id, at: machine)
        } else {
            try answer(id, applied.result.outcome, at: machine)
        }
    }

    /// What the first application of an entry means for leases.
    private func noteCommitted(_ entry: Entry, id: UInt64) throws(Violation) {
        guard entry.kind == .normal, let request = history.request(id) else { return }
        switch request {
        case .revoke(let lease):
            if id >> 48 == 0 {
                leases.revoked(lease)
            } else if history[entry.index]?.answer.result == .done {
                try leases.expired(lease, now: now)
            }
        case .compact: counters.compactions += 1
        case .alarm(let action, let member, let kind): noteAlarm(action, member, kind)
        case .checkpoint: counters.leaseCheckpoints += 1
        default: break
        }
    }

    // MARK: Invariants

    /// What must hold of a member after each of its steps.
    private func checkMember(_ machine: Machine, _ driver: MemberDriver) throws(Violation) {
        let replica = driver.core.replica
        replica.inspect { machine.witness.check($0) }
        noteLoneliness(machine, replica)
        let isNewLeader = try election.check(machine.id, term: replica.term, isLeader: replica.isLeader)
        guard isNewLeader else { return }
        trace.note(.lead, time: now, member: machine.index, replica.term.rawValue, replica.lastIndex.rawValue)
        try replica.inspect { (raft) throws(Violation) in
            try LeaderCompletenessChecker.check(
                machine.id, term: raft.term, firstIndex: raft.firstIndex, lastIndex: raft.lastIndex, in: history,
                logTerm: { raft.logTerm(at: $0) })
        }
    }

    /// A member that has heard nothing for so long that nothing can be on its way to it must keep its term.
    private func noteLoneliness(_ machine: Machine, _ replica: Replica) {
        guard let since = machine.deafSince, options.preVote, !replica.isSoleVoter, now > since + 6 * Duration.second
        else { return }
        machine.deafSince = nil
        election.setLonely(machine.id, term: replica.term)
    }

    /// Revisions and hashes of a store, at the index that it has applied.
    func checkState(_ machine: Machine, _ core: ServerCore, withDigest: Bool) throws(Violation) {
        let store = core.store
        let applied = store.appliedIndex
        if core.replica.hasPeers, applied > core.replica.commit {
            throw Violation(
                "commit",
                "member \(machine.id.rawValue) has applied \(applied.rawValue), and calls committed only "
                    + "\(core.replica.commit.rawValue)")
        }
        guard applied >= history.foundation, machine.wrongSince == nil else { return }
        trace.mix(UInt64(store.stateHash))
        try revisions.check(
            machine.id, applied: applied, revision: store.currentRevision, compactRevision: store.compactRevision,
            in: history)
        try stateHash.check(
            machine.id, applied: applied, hash: store.stateHash, digest: withDigest ? digest(core) : nil)
    }

    /// Over everything in the meta table that members share.
    private func digest(_ core: ServerCore) -> UInt32 {
        var value: UInt32 = 0
        for (key, content) in core.store.metaEntries(prefix: Bytes()) where key != MetaKeys.installed {
            value = key.withUnsafeBytes { CRC32C.checksum($0, continuing: value) }
            value = content.withUnsafeBytes { CRC32C.checksum($0, continuing: value) }
        }
        return value
    }

    /// Compares every two logs.
    func checkLogs() throws(Violation) {
        let logs = machines.compactMap(\.log)
        for (place, a) in logs.enumerated() {
            for b in logs[(place + 1)...] { try LogMatchingChecker.check(a, b) }
        }
    }
}
