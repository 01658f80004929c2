import IOInterfaces
import MVCC
import Primitives
import RaftCore
import Replica
import ServerCore

/// After the faults: a majority must work, then all must be equal, within bounds.
extension Simulation {
    /// Within this a cluster whose faults have ended acknowledges a write: many election timeouts.
    private static let progressBound = 60 * Duration.second
    private static let convergenceBound = 90 * Duration.second
    /// Events of a phase, against a cluster that works itself to death.
    private static let phaseStepsMax = 600_000

    /// Who stays away in the majority phase.
    func isLeftOut(_ member: Int) -> Bool { machines[member].isLeftOut }

    private func beginPhase(_ next: Phase) {
        phase = next
        trace.note(.phase, time: now, UInt64(step), 0, 0, next == .majority ? "majority" : "convergence")
    }

    /// Everything is mended: whatever else goes wrong is the members' own doing.
    private func healAll() throws(Violation) {
        network.isCalm = true
        network.mendAll()
        for index in faults.indices { faults[index].isOver = true }
        noteDeafness()
        for machine in machines {
            machine.fileSystem.clearFaults()
            machine.fileSystem.setCapacity(bytes: .max)
            machine.isDiskFull = false
            // What has not gone wrong yet stays right: when clients stop, nobody would notice it.
            machine.driver?.alter = nil
            try resume(machine)
        }
    }

    func runMajority() throws(Violation) {
        beginPhase(.majority)
        try healAll()
        leaveOutMinority()
        for machine in machines where machine.status == .down && !machine.isLeftOut { try start(machine) }
        healedAt = now
        let (endTime, endStep) = (now + Self.progressBound, step + Self.phaseStepsMax)
        while !hasProgressed || unnoticed != nil {
            let goesOn = try advance()
            guard goesOn, now < endTime, step < endStep else {
                if let unnoticed, hasProgressed { throw consistency.complaint(unnoticed) }
                throw Violation(
                    "liveness",
                    "no write was acknowledged within \(Self.progressBound / Duration.second) s after the faults "
                        + "ended; \(status)")
            }
        }
    }

    /// A minority of the voters is gone, unless the voters may be changing.
    private func leaveOutMinority() {
        guard !options.changesMembers, !options.hasDamage, options.memberCount > 2, random.chance(oneIn: 2) else {
            return
        }
        let first = random.next(in: 0..<options.memberCount)
        for offset in 0..<(options.memberCount - 1) / 2 {
            let machine = machines[(first + offset) % options.memberCount]
            machine.isLeftOut = true
            if machine.isUp { kill(machine, losesPower: false, delay: 0) }
        }
    }

    func runConvergence() throws(Violation) {
        beginPhase(.convergence)
        for machine in machines { machine.isLeftOut = false }
        for machine in machines where machine.status == .down { try start(machine) }
        let (endTime, endStep) = (now + Self.convergenceBound, step + Self.phaseStepsMax)
        while true {
            let goesOn = try advance()
            if step % 16 == 0, try hasConverged() { break }
            guard goesOn, now < endTime, step < endStep else {
                throw Violation(
                    "liveness",
                    "the members are not equal \(Self.convergenceBound / Duration.second) s after the faults ended; "
                        + status)
            }
        }
        try checkEnd()
    }

    /// The members of the newest configuration.
    private var finalMembers: [Machine] { machines.filter { isMember($0) } }

    private func hasConverged() throws(Violation) -> Bool {
        guard clients.allSatisfy({ $0.pending == nil }), history.model.leases.isEmpty else { return false }
        let members = finalMembers
        guard let leader = members.first(where: { $0.driver?.isLeader == true })?.driver?.core.replica else {
            return false
        }
        for machine in members {
            guard machine.status == .running, let core = machine.driver?.core, core.replica.leader == leader.id,
                core.replica.lastIndex == leader.lastIndex, core.store.appliedIndex == leader.lastIndex,
                core.replica.configuration == leader.configuration
            else { return false }
        }
        return alarmsAreRight() && watchersAreDone()
    }

    /// Compares everything with the model.
    private func checkEnd() throws(Violation) {
        try checkLogs()
        for machine in finalMembers {
            guard let core = machine.driver?.core else { continue }
            try durability.finish(machine.id, applied: core.store.appliedIndex)
            try checkState(machine, core, withDigest: true)
            try checkContents(machine)
        }
        for watcher in watchers { try watcher.checker?.finish(in: history) }
    }

    /// A line for each member.
    private var status: String {
        machines.map { machine in
            guard let replica = machine.driver?.core.replica, let store = machine.driver?.core.store else {
                return "m\(machine.index) \(machine.status)"
            }
            return "m\(machine.index) \(machine.status) \(replica.role) term \(replica.term.rawValue) leader "
                + "\(replica.leader.rawValue) last \(replica.lastIndex.rawValue) commit \(replica.commit.rawValue) "
                + "applied \(store.appliedIndex.rawValue)"
        }.joined(separator: "; ")
            + "; leases \(history.model.leases.count), waiting \(waiting.count), alarms \(history.model.alarms)"
    }
}
