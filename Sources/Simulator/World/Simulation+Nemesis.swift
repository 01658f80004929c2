import IOInterfaces
import MVCC
import Primitives
import RaftCore
import Replica

/// What is done to the cluster.
extension Simulation {
    private enum Disturbance {
        case crash, crashAll, crashWhileWriting, pause, partition, oneWay, clog, failDisk, failCommit, fillDisk,
            jumpClock
        case transfer, changeMembers
    }

    func scheduleNemesis() {
        queue.add(.nemesis, at: now + time(1_000_000..<2 * options.nemesisNanoseconds))
    }

    func disturb() throws(Violation) {
        guard phase == .safety else { return }
        scheduleNemesis()
        let possible = disturbances
        guard !possible.isEmpty else { return }
        let machine = machines[random.next(in: 0..<machines.count)]
        switch possible[random.next(in: 0..<possible.count)] {
        case .crash: if machine.isUp { kill(machine, losesPower: drawPowerLoss(), delay: drawOutage()) }
        case .crashAll:
            guard random.chance(oneIn: 3) else { return }
            let losesPower = drawPowerLoss()
            for machine in machines where machine.isUp { kill(machine, losesPower: losesPower, delay: drawOutage()) }
        case .crashWhileWriting: failDisk(machine, forever: true)
        case .pause: if machine.status == .running { pause(machine, nanoseconds: time(20_000_000..<5_000_000_000)) }
        case .partition: partition()
        case .oneWay: cutSomeLinks()
        case .clog: clog()
        case .failDisk: failDisk(machine, forever: false)
        case .failCommit: failCommit(machine)
        case .fillDisk: fillDisk(machine)
        case .jumpClock: jumpClock(machine)
        case .transfer: transferLeadership()
        case .changeMembers: try changeMembers()
        }
    }

    private var disturbances: [Disturbance] {
        var list: [Disturbance] = []
        if options.crashes { list += [.crash, .crash, .crashAll] }
        if options.crashes, options.losesPower { list += [.crashWhileWriting] }
        if options.pauses { list.append(.pause) }
        if options.cutsNetwork { list += [.partition, .partition] }
        if options.cutsOneWay { list.append(.oneWay) }
        if options.clogsLinks { list.append(.clog) }
        if options.failsOperations { list += [.failDisk, .failCommit] }
        if options.fillsDisks { list.append(.fillDisk) }
        if options.jumps { list.append(.jumpClock) }
        if options.transfers { list.append(.transfer) }
        if options.changesMembers { list += [.changeMembers, .changeMembers] }
        return list
    }

    private func drawPowerLoss() -> Bool { options.losesPower && !random.chance(oneIn: 3) }

    private func drawOutage() -> UInt64 {
        random.chance(oneIn: 3) ? time(1_000_000_000..<8_000_000_000) : time(10_000_000..<500_000_000)
    }

    // MARK: Network

    private func begin(_ kind: Fault.Kind, for nanoseconds: UInt64) {
        faults.append(Fault(kind: kind))
        queue.add(.heal(fault: faults.count - 1), at: now + nanoseconds)
    }

    /// One member alone, or two sides, cut off from each other both ways.
    private func partition() {
        guard machines.count > 1 else { return }
        var side = Set<Int>()
        if random.chance(oneIn: 2) {
            // The leader is worth more.
            let leader = machines.first { $0.driver?.isLeader == true }?.index
            side.insert(random.chance(oneIn: 2) ? leader ?? 0 : random.next(in: 0..<machines.count))
        } else {
            for index in machines.indices where random.chance(oneIn: 2) { side.insert(index) }
        }
        var links: [(from: Int, to: Int)] = []
        for a in machines.indices {
            for b in machines.indices where side.contains(a) != side.contains(b) { links.append((a, b)) }
        }
        cut(links)
    }

    private func cutSomeLinks() {
        var links: [(from: Int, to: Int)] = []
        for a in machines.indices {
            for b in machines.indices where a != b && random.chance(oneIn: 4) { links.append((a, b)) }
        }
        cut(links)
    }

    private func cut(_ links: [(from: Int, to: Int)]) {
        guard !links.isEmpty else { return }
        counters.partitions += 1
        trace.note(.cut, time: now, UInt64(faults.count), UInt64(links.count))
        network.cut(links)
        noteDeafness()
        begin(
            .cut(links),
            for: random.chance(oneIn: 4) ? time(4_000_000_000..<15_000_000_000) : time(50_000_000..<4_000_000_000))
    }

    /// Notes which members nothing can reach from now on.
    func noteDeafness() {
        for machine in machines {
            let isDeaf = machines.count > 1 && network.isDeaf(machine.index)
            if isDeaf {
                if machine.deafSince == nil { machine.deafSince = now }
            } else {
                machine.deafSince = nil
                election.setLonely(machine.id, term: nil)
            }
        }
    }

    func heal(_ fault: Int) {
        guard !faults[fault].isOver else { return }
        faults[fault].isOver = true
        trace.note(.heal, time: now, UInt64(fault))
        switch faults[fault].kind {
        case .cut(let links):
            network.mend(links)
            noteDeafness()
        case .fullDisk(let member):
            machines[member].fileSystem.setCapacity(bytes: .max)
            machines[member].isDiskFull = false
        }
    }

    private func clog() {
        guard machines.count > 1 else { return }
        let from = random.next(in: 0..<machines.count)
        let nanoseconds = time(50_000_000..<3_000_000_000)
        for to in machines.indices where to != from && random.chance(oneIn: 2) {
            trace.note(.clog, time: now, member: from, UInt64(to), nanoseconds / 1_000_000)
            network.clog(from: from, to: to, until: now + nanoseconds)
        }
    }

    // MARK: Disks and clocks

    /// One of the next operations on files fails; with `forever`, all after it too, as when the power goes: the process
    /// dies in the middle of a write.
    private func failDisk(_ machine: Machine, forever: Bool) {
        guard machine.isUp || machine.status == .down else { return }
        let count = random.next(in: 1..<40)
        trace.note(.disk, time: now, member: machine.index, UInt64(count))
        machine.isHarmed = true
        machine.fileSystem.inject(MemoryFault(after: count, forever: forever))
    }

    private func failCommit(_ machine: Machine) {
        guard machine.isUp else { return }
        machine.isHarmed = true
        trace.note(.disk, time: now, member: machine.index, 0, 0, 0, "commit")
        machine.backend.failCommit(
            number: random.next(in: 1..<3), outcome: random.chance(oneIn: 2) ? .lost : .stored)
    }

    private func fillDisk(_ machine: Machine) {
        guard machine.isUp, !machine.isDiskFull, let usedBytes = machine.usedBytes else { return }
        machine.isDiskFull = true
        machine.isHarmed = true
        counters.fullDisks += 1
        trace.note(.disk, time: now, member: machine.index, 0, 0, 0, "full")
        machine.fileSystem.setCapacity(bytes: usedBytes + random.next(in: 0..<3) * 4096)
        begin(.fullDisk(member: machine.index), for: time(500_000_000..<6_000_000_000))
    }

    private func jumpClock(_ machine: Machine) {
        let nanoseconds = time(100_000_000..<4_000_000_000)
        trace.note(.clock, time: now, member: machine.index, nanoseconds / 1_000_000)
        leases.jumpedNanoseconds += nanoseconds
        machine.clock.jump(nanoseconds: nanoseconds, at: now)
    }

    private func transferLeadership() {
        guard let leader = machines.first(where: { $0.status == .running && $0.driver?.isLeader == true }) else {
            return
        }
        let target = machines[random.next(in: 0..<machines.count)]
        counters.transfers += 1
        trace.note(.transfer, time: now, member: leader.index, UInt64(target.index))
        hand(leader, .transferLeadership(to: target.id))
    }
}
