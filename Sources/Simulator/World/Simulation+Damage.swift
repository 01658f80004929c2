import IOInterfaces
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Synchronization
import Wire

/// Damage that only a replacement of the member mends, one member at a time: bits that flip on disks, a state machine
/// that does something else than the others'. Randomness of its own.
extension Simulation {
    func beginDamage() {
        if options.hasDamage { scheduleDamage() }
        if options.hasDamage || options.quotaBytes >= 0 {
            queue.add(.operate, at: now + damageTime(100_000_000..<1_000_000_000))
        }
        for machine in machines { queue.add(.probe(member: machine.index), at: damageTime(0..<Duration.second)) }
    }

    private func damageTime(_ range: Range<UInt64>) -> UInt64 {
        range.lowerBound + UInt64(damageRandom.next(in: 0..<Int(range.upperBound - range.lowerBound)))
    }

    private func scheduleDamage() { queue.add(.damage, at: now + damageTime(200_000_000..<3_000_000_000)) }

    func damage() throws(Violation) {
        guard phase == .safety else { return }
        scheduleDamage()
        // Another failure at the same time could take the quorum's word away: nothing can promise to survive that.
        guard canLoseMember else { return }
        var kinds: [() throws(Violation) -> Void] = []
        if options.flipsLogBits { kinds.append(flipLogBit) }
        if options.flipsRecordBits { kinds.append(flipRecordBit) }
        if options.alters { kinds.append(alterState) }
        try kinds[damageRandom.next(in: 0..<kinds.count)]()
    }

    /// All members are sound, there are at least three voters, and a spare machine for the one that is lost. And every
    /// voter holds the newest configuration in its store: those that do not know yet that it is in force count on members
    /// that are gone.
    private var canLoseMember: Bool {
        configuration.voters.count >= 3 && configuration.learners.isEmpty && pendingChange == nil
            && machines.contains { $0.status == .absent }
            && configuration.voters.allSatisfy { id in
                guard let machine = machine(id), isSound(machine), let store = machine.driver?.core.store else {
                    return false
                }
                return store.numbers().persistedIndex >= configurationIndex
            }
    }

    private func isSound(_ machine: Machine) -> Bool {
        !machine.isBroken && machine.logDamage == nil && !machine.isRecordFlipped && machine.wrongSince == nil
            && machine.driver?.alter == nil && !isNamed(machine.id)
    }

    private func drawVoter() -> Machine? {
        let voters = configuration.voters
        return machine(voters[damageRandom.next(in: 0..<voters.count)])
    }

    // MARK: Kinds of damage

    private func flipLogBit() throws(Violation) {
        guard let machine = drawVoter(), machine.isUp else { return }
        let losesPower = options.losesPower && damageRandom.chance(oneIn: 2)
        kill(machine, losesPower: losesPower, delay: damageTime(10_000_000..<1_000_000_000))
        let zones = LogZones(machine.fileSystem, directory: Machine.dataDirectory + "/wal")
        let inTail = damageRandom.chance(oneIn: 4)
        guard let damage = zones.flip(machine.fileSystem, inTail: inTail, &damageRandom) else { return }
        counters.logFlips += 1
        trace.note(.damage, time: now, member: machine.index, UInt64(damage.record), 0, 0, inTail ? "tail" : "log")
        machine.logDamage = damage
        if options.bug == .cutDamage { cutOff(damage, machine) }
    }

    /// The planted bug `cut-damage`.
    private func cutOff(_ damage: LogDamage, _ machine: Machine) {
        guard let bytes = machine.fileSystem.contents(of: damage.path), damage.record > 0 else { return }
        let kept = Array(bytes[..<damage.record])
        machine.fileSystem.replaceContents(
            of: damage.path, with: kept + [UInt8](repeating: 0, count: bytes.count - kept.count))
        machine.logDamage = nil
    }

    private func flipRecordBit() throws(Violation) {
        guard let machine = drawVoter(), machine.isUp, let store = machine.driver?.core.store else { return }
        // A record that is stored; after compaction not every revision is.
        for _ in 0..<20 {
            let revision = Revision(main: Int64(damageRandom.next(in: 2..<Int(max(3, store.currentRevision + 1)))))
            let byte = damageRandom.next(in: 0..<24)
            if options.bug == .trustRecords {
                machine.flippedRecords.bytes[revision] = byte
            } else {
                guard machine.backend.corrupt(revision, byte: byte) else { continue }
            }
            counters.recordFlips += 1
            machine.isRecordFlipped = true
            trace.note(.damage, time: now, member: machine.index, UInt64(revision.main), UInt64(byte), 0, "record")
            return
        }
    }

    /// From the next suitable entry on, a member's state is not what the log says.
    private func alterState() throws(Violation) {
        guard let machine = drawVoter(), machine.status == .running, let driver = machine.driver else { return }
        driver.alter = { [unowned self] entry in self.altered(entry) }
    }

    /// Another value for a put that others have applied already, so that what is right is known.
    private func altered(_ entry: Entry) -> Bytes? {
        guard entry.index <= history.lastIndex, entry.kind == .normal else { return nil }
        return entry.payload.withUnsafeBytes { bytes -> Bytes? in
            guard let view = try? InternalRaftRequestView(decoding: bytes), case .put(let body) = view.body,
                let put = try? PutRequestView(decoding: body), let start = put.value.baseAddress, put.value.count > 0,
                case .single? = history[entry.index]?.answer.result
            else { return nil }
            var altered = entry.payload.array
            altered[start - bytes.baseAddress.unsafelyUnwrapped] ^= 0x20
            return Bytes(altered)
        }
    }

    func noteAlteration(_ machine: Machine, _ index: LogIndex) {
        counters.alterations += 1
        trace.note(.damage, time: now, member: machine.index, index.rawValue, 0, 0, "state")
        machine.wrongSince = index
        consistency.altered(machine.id, at: index)
        // What it tells its clients until it is noticed may be wrong: that is the harm done, and nothing to check.
        abandonRequests(at: machine)
        breakWatches(at: machine)
    }

    // MARK: What damage does to a process

    /// Whether a start failed because of damage, and says where it is.
    func isRefusal(of machine: Machine, _ error: any Error) -> Bool {
        let text = "\(error)"
        if let damage = machine.logDamage, text.contains(damage.path) { return true }
        return machine.isRecordFlipped && text.contains("is damaged")
    }

    /// It will not start again.
    func breakDown(_ machine: Machine) {
        machine.die(losesPower: false)
        machine.isBroken = true
        counters.membersBroken += 1
        trace.note(.broken, time: now, member: machine.index, UInt64(machine.life))
    }

    /// A process has started: damage that had to be found is gone, or was overlooked.
    func checkDamage(_ machine: Machine) throws(Violation) {
        if let damage = machine.logDamage, damage.isProven {
            throw Violation(
                "damage", "member \(machine.id.rawValue) starts although a bit of \(damage.path) has flipped")
        }
        machine.logDamage = nil
        // Opening looks at every record. What flipped was swept, or replaced with the store.
        if options.bug != .trustRecords { machine.isRecordFlipped = false }
    }

    // MARK: Probes

    /// The members tell each other of their states, once a second.
    func probe(_ machine: Machine) throws(Violation) {
        queue.add(.probe(member: machine.index), at: now + Duration.second)
        guard machine.status == .running, let driver = machine.driver, isMember(machine) else { return }
        let marks = driver.core.stateMachine.hashes.marks.suffix(64)
        for other in machines where other !== machine && other.status == .running {
            guard !network.isCut(from: machine.index, to: other.index), isMember(other), let hearer = other.driver
            else {
                continue
            }
            hearer.now = other.clock.now(at: now)
            hearer.hear(Array(marks), from: machine.id)
            try absorb(other)
            schedule(other)
        }
    }

    func noteAlarm(_ action: Int32, _ member: MemberID, _ kind: AlarmKind) {
        switch (action, kind) {
        case (StateMachine.AlarmAction.activate, .corrupt):
            counters.corruptAlarms += 1
            consistency.named(member)
        case (StateMachine.AlarmAction.activate, .noSpace): counters.noSpaceAlarms += 1
        case (StateMachine.AlarmAction.deactivate, _): counters.alarmsCleared += 1
        default: break
        }
    }

    /// Whether CORRUPT names a member, by the newest entry.
    func isNamed(_ member: MemberID) -> Bool {
        history.model.alarms.contains { $0.kind == .corrupt && $0.member == member }
    }

    /// A member that differs, has had time to be compared, and is not named.
    var unnoticed: MemberID? {
        machines.first { machine in
            machine.wrongSince != nil && !machine.isBroken && isMember(machine) && !isNamed(machine.id)
        }?.id
    }

    /// Nobody is named who is right, and nobody has space and says that there is none.
    func alarmsAreRight() -> Bool {
        history.model.alarms.allSatisfy { alarm in
            guard alarm.kind == .noSpace, let driver = machine(alarm.member)?.driver else { return false }
            return !driver.quota.hasRoom(liveBytes: driver.core.store.numbers().liveBytes)
        }
    }

    // MARK: The operator

    /// Replaces members that are broken or wrong, disarms what is left of alarms, makes room: one thing at a time.
    func operate() throws(Violation) {
        queue.add(.operate, at: now + damageTime(200_000_000..<800_000_000))
        if let pendingChange, now < pendingChange.askedAt + 10 * Duration.second { return }
        let leaders = machines.filter { $0.status == .running && $0.driver?.isLeader == true }
        guard
            let leader = leaders.max(by: { a, b in
                (a.driver?.core.replica.term ?? .zero) < (b.driver?.core.replica.term ?? .zero)
            }), let driver = leader.driver
        else { return }
        let state = driver.core.stateMachine.published.withLock { $0 }
        if replaceMember(state, leader) { return }
        // Also one that came after its member was removed.
        let stale = state.alarms.first { alarm in
            let isMember = state.members.contains { $0.id == alarm.member }
            let isWrong = isMember && machine(alarm.member)?.wrongSince != nil
            return alarm.kind == .corrupt && !isWrong && damageRandom.chance(oneIn: 3)
        }
        if let stale { return disarm(stale, at: leader) }
        guard let full = state.alarms.first(where: { $0.kind == .noSpace }) else { return }
        switch damageRandom.next(in: 0..<8) {
        case 0: if options.bug != .keepNoSpace { disarm(full, at: leader) }
        case 1..<4: ask(.compact(history.model.revision), at: leader)
        default: ask(.single(.delete(Client.pods, wantsPrevious: false)), at: leader)
        }
    }

    private func replaceMember(_ state: PublishedState, _ leader: Machine) -> Bool {
        let members = state.members
        let bad = members.first { member in
            guard let machine = machine(member.id) else { return false }
            return machine.isBroken || machine.wrongSince != nil && state.isCorrupt(member.id)
        }
        if let bad, let machine = machine(bad.id) {
            propose(.remove(bad.id), about: machine.index, at: leader)
            return true
        }
        if let learner = members.first(where: \.isLearner), let machine = machine(learner.id) {
            let reached = machine.driver?.core.store.appliedIndex.rawValue ?? 0
            guard reached * 10 >= history.lastIndex.rawValue * 9, machine.isUp else { return false }
            propose(.promote(learner.id), about: machine.index, at: leader)
            return true
        }
        guard options.hasDamage, members.count < options.memberCount,
            let spare = machines.first(where: { $0.status == .absent })
        else { return false }
        var member = Self.member(spare.index)
        member.isLearner = true
        propose(.add(member, learnersMax: 1), about: spare.index, at: leader)
        return true
    }

    private func disarm(_ alarm: Alarm, at machine: Machine) {
        ask(.alarm(StateMachine.AlarmAction.deactivate, alarm.member, alarm.kind), at: machine)
    }

    /// Nobody waits for the answer.
    private func ask(_ request: Request, at machine: Machine) {
        nextRequestID += 1
        let payload = request.payload(id: nextRequestID)
        history.propose(nextRequestID, request, payload: payload)
        hand(machine, .propose(Proposal(id: nextRequestID, payload: payload)))
    }
}

extension MemberDriver.AppliedEntry {
    /// A member that CORRUPT names applies what the others apply, and tells nobody what came of it.
    var isSecret: Bool {
        if case .refused(.timeout) = result.outcome { true } else { false }
    }
}
