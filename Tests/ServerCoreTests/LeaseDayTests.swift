import Leasing
import Primitives
import ServerCore
import Simulator
import Testing
import WriteAheadLog

/// A day of leases in simulated time, with restarts: none ends before its client may expect it, none much later.
@Suite struct LeaseDayTests {
    /// What a client knows of its lease, in nanoseconds.
    private struct Expectation {
        var ttl: UInt64
        /// It must not be revoked before this: the last answered grant or keep-alive, and the time to live.
        var earliest: UInt64
        /// It should be revoked by then.
        var latest: UInt64
        /// How often its client renews it; nil: never again.
        var renewsEvery: UInt64?
        var nextRenewal: UInt64
    }

    private static let second: UInt64 = 1_000_000_000
    /// A tick, the turns around it and sixteen revocations at a time take a while.
    private static let slack = 5 * second
    /// A checkpoint is up to two intervals old: one passes between two, and none is made in the last one.
    private static let checkpointAge = 605 * second

    @Test("A day", arguments: 0..<3 as Range<UInt64>)
    func day(seed: UInt64) throws {
        var day = LeaseDay(seed: seed)
        try day.run(hours: 24)
        #expect(day.revoked > 200, "\(day.revoked)")
        #expect(day.renewed > 2000, "\(day.renewed)")
        #expect(day.restarts > 5, "\(day.restarts)")
    }

    private struct LeaseDay {
        let world: World
        var random: PRNG
        var leases: [Int64: Expectation] = [:]
        var nextLease: Int64 = 0
        var revoked = 0
        var renewed = 0
        var restarts = 0
        var seen = 1

        init(seed: UInt64) {
            world = World(seed: seed)
            world.options.log.segmentBytes = 64 << 10
            random = PRNG(seed: seed &+ 1000)
        }

        mutating func run(hours: UInt64) throws {
            try world.open()
            try world.drain()
            let end = world.now + hours * 3600 * second
            var nextPersist = world.now
            while world.now < end {
                world.advance(nanoseconds: UInt64(random.next(in: 200_000_000..<2_000_000_000)))
                if leases.count < 40, random.chance(oneIn: 20) { grant() }
                try renew()
                try world.take(.replica)
                try world.drain()
                try take()
                if world.now >= nextPersist {
                    try world.take(.backend)
                    nextPersist = world.now + 8 * second
                }
                for (id, lease) in leases {
                    try demand(world.now <= lease.latest + slack, "lease \(id) outlives \(lease) at \(world.now)")
                }
                if random.chance(oneIn: 6000) { try restart() }
            }
            try world.settle()
        }

        private mutating func grant() {
            nextLease += 1
            let seconds = [3, 15, 60, 299, 301, 900, 3600, 10_800][random.next(in: 0..<8)]
            world.propose(.grant(id: nextLease, ttlSeconds: Int64(seconds)))
            world.propose(.put(PutOperation(key: Bytes(utf8: "k\(nextLease)"), value: "v", lease: nextLease)))
        }

        private mutating func renew() throws {
            guard let lessor = world.driver?.core.lessor else { return }
            for id in leases.keys.sorted() where leases[id]!.renewsEvery != nil {
                guard world.now >= leases[id]!.nextRenewal else { continue }
                // Clients go away, and their leases run out.
                if random.chance(oneIn: 30) {
                    leases[id]!.renewsEvery = nil
                    continue
                }
                do throws(LeaseError) {
                    let renewal = try lessor.renew(id: LeaseID(id), now: world.now)
                    leases[id]!.latest = max(leases[id]!.latest, world.now + leases[id]!.ttl)
                    // What has to wait is asked again at the next step.
                    guard case .renewed(let seconds) = renewal else { continue }
                    renewed += 1
                    leases[id]!.earliest = world.now + UInt64(seconds) * second
                    leases[id]!.nextRenewal = world.now + leases[id]!.renewsEvery!
                } catch {
                    guard error == .notPrimary else { throw Mismatch("lease \(id) is not there: \(error)") }
                }
            }
        }

        /// Compares what has been applied with what the clients know.
        private mutating func take() throws {
            let states = world.states
            for index in seen..<max(seen, states.count) {
                let (before, after) = (states[index - 1].leases, states[index].leases)
                for (id, lease) in after where before[id] == nil {
                    let ttl = UInt64(lease.ttlSeconds) * second
                    leases[id] = Expectation(
                        ttl: ttl, earliest: world.now + ttl, latest: world.now + ttl,
                        renewsEvery: random.chance(oneIn: 4) ? nil : max(second, ttl / 3),
                        nextRenewal: world.now + ttl / 3)
                }
                for id in before.keys where after[id] == nil {
                    guard let lease = leases.removeValue(forKey: id) else { throw Mismatch("\(id) revoked twice") }
                    try demand(world.now >= lease.earliest, "lease \(id) ended early: \(lease) at \(world.now)")
                    try demand(states[index].keys(ofLease: id).isEmpty, "keys of lease \(id) are left")
                    revoked += 1
                }
            }
            seen = states.count
        }

        /// Dies and comes back after a while: what was checkpointed runs on from there, the rest in full.
        private mutating func restart() throws {
            restarts += 1
            let died = world.now
            world.die(losesPower: random.chance(oneIn: 2))
            world.advance(nanoseconds: UInt64(random.next(in: 0..<120)) * second)
            try world.open()
            try world.drain()
            try take()
            for id in leases.keys {
                let lease = leases[id]!
                let rest = lease.latest > died ? lease.latest - died : 0
                let runs = lease.ttl <= 300 * second ? lease.ttl : min(lease.ttl, rest + checkpointAge)
                // A new leader adds an election timeout.
                leases[id]!.latest = max(lease.latest, world.now + runs + 2 * second)
            }
        }
    }
}
