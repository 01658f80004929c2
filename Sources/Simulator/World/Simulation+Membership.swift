import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import StateMachine
import Synchronization

/// A membership change that somebody waits for.
struct PendingChange {
    var id: UInt64
    var change: MemberTable.Change
    /// The machine it is about.
    var subject: Int
    var member: Int
    var askedAt: UInt64
}

/// Members come, are promoted and go. What the shell checks before it proposes a change is checked here in a simpler
/// way: one learner at a time, promoted when it has nearly caught up.
extension Simulation {
    func changeMembers() throws(Violation) {
        if let pendingChange, now < pendingChange.askedAt + 10 * Duration.second { return }
        guard let leader = machines.first(where: { $0.status == .running && $0.driver?.isLeader == true }),
            let driver = leader.driver
        else { return }
        let members = driver.core.stateMachine.published.withLock { $0.members }
        guard let (subject, change) = drawChange(members, leader) else { return }
        propose(change, about: subject, at: leader)
    }

    /// Asks the leader for a change.
    func propose(_ change: MemberTable.Change, about subject: Int, at leader: Machine) {
        nextRequestID += 1
        let request = MemberChange(requestID: nextRequestID, change)
        pendingChange = PendingChange(
            id: nextRequestID, change: change, subject: subject, member: leader.index, askedAt: now)
        trace.note(.change, time: now, member: leader.index, UInt64(subject), 0, 0, Self.word(change))
        hand(
            leader,
            .proposeChange(
                id: nextRequestID, change: request.configurationChange, kind: .configurationChangeV2,
                payload: request.encoded()))
    }

    private static func word(_ change: MemberTable.Change) -> StaticString {
        switch change {
        case .add: "add"
        case .promote: "promote"
        case .remove: "remove"
        case .update: "update"
        }
    }

    private func drawChange(
        _ members: [Membership.Member], _ leader: Machine
    ) -> (subject: Int, change: MemberTable.Change)? {
        if let learner = members.first(where: \.isLearner), let machine = machine(learner.id) {
            if random.chance(oneIn: 6) { return (machine.index, .remove(learner.id)) }
            let reached = machine.driver?.core.store.appliedIndex.rawValue ?? 0
            let isReady = reached * 10 >= history.lastIndex.rawValue * 9
            return isReady && machine.isUp ? (machine.index, .promote(learner.id)) : nil
        }
        let voters = members.filter { !$0.isLearner }
        if let spare = machines.first(where: { $0.status == .absent }), voters.count < 6, !random.chance(oneIn: 4) {
            var member = Self.member(spare.index)
            // A member that is new is a learner first, mostly.
            member.isLearner = !random.chance(oneIn: 4)
            return (spare.index, .add(member, learnersMax: 1))
        }
        guard voters.count > 2 else { return nil }
        let victim = voters[random.next(in: 0..<voters.count)]
        return (Int(victim.id.rawValue) - 1, .remove(victim.id))
    }

    /// An entry that changes the members was applied for the first time: from now on, at the latest, another quorum
    /// counts.
    func noteConfiguration(_ applied: MemberDriver.AppliedEntry) {
        guard applied.entry.kind.changesConfiguration, case .response = applied.result.outcome,
            let request = applied.entry.payload.withUnsafeBytes({ MemberChange(decoding: $0) })
        else { return }
        var (voters, learners) = (configuration.voters, configuration.learners)
        switch request.change {
        case .add(let member, _): if member.isLearner { learners.append(member.id) } else { voters.append(member.id) }
        case .promote(let id):
            learners.removeAll { $0 == id }
            voters.append(id)
        case .remove(let id):
            history.removed(id)
            learners.removeAll { $0 == id }
            voters.removeAll { $0 == id }
        case .update: return
        }
        configurations.append(ConfigurationState(voters: voters, learners: learners))
        configurationIndex = applied.entry.index
    }

    /// The newest configuration.
    var configuration: ConfigurationState { configurations[configurations.count - 1] }

    func isMember(_ machine: Machine) -> Bool {
        configuration.voters.contains(machine.id) || configuration.learners.contains(machine.id)
    }

    /// An entry that changes the members was applied at `machine`.
    func changeApplied(_ applied: MemberDriver.AppliedEntry, at machine: Machine) throws(Violation) {
        let request = applied.entry.payload.withUnsafeBytes { MemberChange(decoding: $0) }
        guard let request, case .response = applied.result.outcome else { return }
        if case .remove(let id) = request.change, id == machine.id { machine.isRemoved = true }
        if case .add(let member, _) = request.change, let added = self.machine(member.id), added.status == .absent {
            // The operator starts the new member once the cluster knows it.
            added.status = .down
            counters.membersAdded += 1
            let known = machine.driver?.core.stateMachine.published.withLock { $0.members } ?? []
            added.options.founding = .joining(clusterID: Self.clusterID, members: known)
            queue.add(.start(member: added.index), at: now + time(10_000_000..<2_000_000_000))
        }
        guard pendingChange?.id == request.requestID else { return }
        switch request.change {
        case .promote: counters.membersPromoted += 1
        case .remove: counters.membersRemoved += 1
        case .add, .update: break
        }
        pendingChange = nil
    }

    func refuseChange(_ id: UInt64) throws(Violation) {
        if pendingChange?.id == id { pendingChange = nil }
    }

    /// A member that has applied its own removal ends, and never comes back.
    func retire(_ machine: Machine) {
        guard machine.isRemoved, machine.isUp else { return }
        trace.note(.removed, time: now, member: machine.index, machine.id.rawValue)
        abandonRequests(at: machine)
        breakWatches(at: machine)
        breakTransfers(of: machine)
        machine.die(losesPower: false)
        machine.status = .removed
        election.setLonely(machine.id, term: nil)
    }
}
