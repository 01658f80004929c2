// A whole cluster in one thread from one seed: `ServerCore`s, as production runs them, with a network, disks, clocks
// and clients that do the worst they may, and checkers that watch.
//
// Owner: one thread, which runs a `Simulation` from beginning to end.
//
// How it works: time is a number, and everything that happens is an event in one queue. A member is its `ServerCore`
// with the owners' turns of production (`MemberDriver`); a turn that has work is put into the queue with a latency, a
// message with a delay, a client with a pause to think. All choices are drawn from the seed, so a seed is a run: the
// same on every machine, in every process (`Trace.hash`).
//
// Phases: safety (anything may fail), majority (all faults end, but a minority stays away: a write must succeed within
// a bound), convergence (everybody is back: all must be equal within a bound).
//
// Invariants: nothing here reads a clock or a generator that was not seeded; nothing iterates a dictionary or a set
// where the order could reach an event.

import Primitives
import RaftCore

/// What a run came to.
package struct SimulationReport: Sendable {
    package var options: SimulationOptions
    package var violation: Violation?
    package var traceHash: UInt64
    package var steps: Int
    package var virtualNanoseconds: UInt64
    package var counters: SimulationCounters
    /// The last events, a line each.
    package var lastLines: [String]

    /// Everything needed to repeat and understand a failure.
    package var failureText: String? {
        guard let violation else { return nil }
        let head = "seed \(options.seed) FAILED at step \(steps): \(violation)\noptions: \(options)"
        return head + "\n" + lastLines.suffix(40).joined(separator: "\n")
    }
}

/// How often what a run is for has happened.
package struct SimulationCounters: Sendable, Equatable {
    package var acknowledged = 0
    package var refused = 0
    package var abandoned = 0
    package var reads = 0
    package var watchEvents = 0
    package var watchResumes = 0
    package var watchCompactions = 0
    package var progressReplies = 0
    package var elections = 0
    package var crashes = 0
    package var powerLosses = 0
    package var diskStops = 0
    package var fullDisks = 0
    package var stalls = 0
    package var tornTails = 0
    package var partitions = 0
    package var pauses = 0
    package var snapshotsInstalled = 0
    package var snapshotsFailed = 0
    package var logReads = 0
    package var membersAdded = 0
    package var membersPromoted = 0
    package var membersRemoved = 0
    package var transfers = 0
    package var compactions = 0
    package var leasesExpired = 0
    package var keepAlives = 0
    package var leaseCheckpoints = 0
    package var logFlips = 0
    package var recordFlips = 0
    package var alterations = 0
    package var membersBroken = 0
    package var corruptAlarms = 0
    package var corruptRefusals = 0
    package var noSpaceRefusals = 0
    package var noSpaceAlarms = 0
    package var alarmsCleared = 0

    package init() {}

    /// Name and value of each, in order.
    package var listing: [(name: String, value: Int)] {
        Mirror(reflecting: self).children.compactMap { child in
            (child.label).flatMap { name in (child.value as? Int).map { (name, $0) } }
        }
    }

    package static func += (a: inout Self, b: Self) {
        a.acknowledged += b.acknowledged
        a.refused += b.refused
        a.abandoned += b.abandoned
        a.reads += b.reads
        a.watchEvents += b.watchEvents
        a.watchResumes += b.watchResumes
        a.watchCompactions += b.watchCompactions
        a.progressReplies += b.progressReplies
        a.elections += b.elections
        a.crashes += b.crashes
        a.powerLosses += b.powerLosses
        a.diskStops += b.diskStops
        a.fullDisks += b.fullDisks
        a.stalls += b.stalls
        a.tornTails += b.tornTails
        a.partitions += b.partitions
        a.pauses += b.pauses
        a.snapshotsInstalled += b.snapshotsInstalled
        a.snapshotsFailed += b.snapshotsFailed
        a.logReads += b.logReads
        a.membersAdded += b.membersAdded
        a.membersPromoted += b.membersPromoted
        a.membersRemoved += b.membersRemoved
        a.transfers += b.transfers
        a.compactions += b.compactions
        a.leasesExpired += b.leasesExpired
        a.keepAlives += b.keepAlives
        a.leaseCheckpoints += b.leaseCheckpoints
        a.logFlips += b.logFlips
        a.recordFlips += b.recordFlips
        a.alterations += b.alterations
        a.membersBroken += b.membersBroken
        a.corruptAlarms += b.corruptAlarms
        a.corruptRefusals += b.corruptRefusals
        a.noSpaceRefusals += b.noSpaceRefusals
        a.noSpaceAlarms += b.noSpaceAlarms
        a.alarmsCleared += b.alarmsCleared
    }
}
