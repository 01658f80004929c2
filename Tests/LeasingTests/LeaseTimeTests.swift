import Leasing
import Primitives
import Testing

@Suite struct LeaseTimeTests {
    /// A day of 20,000 leases: mixed TTLs, random renewals. None runs out early, every one is revoked within its TTL
    /// and one second of ticks, and what the heaps hold stays in proportion.
    @Test(arguments: [UInt64(1), 2]) func aDayOfLeases(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        var configuration = LessorConfiguration()
        configuration.revokesPendingMax = 64
        configuration.checkpointIntervalNanoseconds = 0
        let lessor = Lessor(configuration: configuration)
        lessor.promote(now: 0, extend: second)
        let ttls: [Int64] = [2, 15, 60, 300, 3600, 3 * 3600, 20 * 3600]
        var acknowledged: [LeaseID: (at: UInt64, ttl: Int64)] = [:]
        var renewable: [LeaseID] = []
        var granted: Int64 = 0
        var revoked = 0
        for halfSecond in 0..<UInt64(42 * 3600 * 2) {
            let now = halfSecond * second / 2
            // 20,000 leases spread over the first 22 hours.
            while granted < 20_000, UInt64(granted) * 22 * 3600 * second / 20_000 <= now {
                granted += 1
                let ttl = ttls[random.next(in: 0..<ttls.count)]
                _ = try lessor.grant(id: LeaseID(granted), ttlSeconds: ttl, now: now)
                acknowledged[LeaseID(granted)] = (now, ttl)
                if random.chance(oneIn: 2) { renewable.append(LeaseID(granted)) }
            }
            if now < 22 * 3600 * second, !renewable.isEmpty {
                renew(lessor, &renewable, &acknowledged, &random, now)
            }
            var expired = lessor.expired(now: now)
            while !expired.isEmpty {
                for id in expired {
                    let lease = try #require(acknowledged[id], "offered twice")
                    acknowledged[id] = nil
                    let end = lease.at + UInt64(lease.ttl) * second
                    #expect(now >= end, "early")
                    #expect(now <= end + second, "late")
                    _ = try lessor.revoke(id: id)
                    revoked += 1
                }
                expired = lessor.expired(now: now)
            }
            if now % (1800 * second) == 0 { lessor.checkInvariants() }
        }
        #expect(revoked == 20_000)
        #expect(lessor.counters.leases == 0)
        #expect(lessor.counters.expired == 20_000)
        lessor.checkInvariants()
    }

    func renew(
        _ lessor: Lessor, _ renewable: inout [LeaseID], _ acknowledged: inout [LeaseID: (at: UInt64, ttl: Int64)],
        _ random: inout PRNG, _ now: UInt64
    ) {
        let index = random.next(in: 0..<renewable.count)
        let id = renewable[index]
        do throws(LeaseError) {
            guard case .renewed(let ttl) = try lessor.renew(id: id, now: now) else { return }
            #expect(ttl == acknowledged[id]?.ttl)
            acknowledged[id]?.at = now
        } catch {
            #expect(error == .notFound)
            #expect(acknowledged[id] == nil)
            renewable.swapAt(index, renewable.count - 1)
            renewable.removeLast()
        }
    }

    @Test func limitsAreKept() throws {
        let lessor = Lessor()
        for id in 1...5000 { _ = try lessor.grant(id: LeaseID(Int64(id)), ttlSeconds: 2, now: 0) }
        #expect(lessor.expired(now: 1 << 62).isEmpty, "only the primary revokes")
        lessor.promote(now: 0, extend: 0)
        #expect(lessor.expired(now: 2 * second - 1).isEmpty)
        let start = 2 * second
        let first = lessor.expired(now: start)
        #expect(first == (1...16).map { LeaseID($0) }, "at most 16 pending, those with lower ids first")
        #expect(lessor.expired(now: start + 1).isEmpty)
        // Not applied: offered again, the same ones, and no others.
        #expect(lessor.expired(now: start + 3 * second - 1).isEmpty)
        #expect(lessor.expired(now: start + 3 * second) == first)
        #expect(throws: Never.self) { try lessor.renew(id: LeaseID(1), now: start) == .pending }
        // Applied as fast as they are offered: 1,000 a second.
        var pending = first
        var revoked = 0
        let window = start + 10 * second
        for step in 0..<2000 {
            for id in pending { _ = try lessor.revoke(id: id) }
            revoked += pending.count
            pending = lessor.expired(now: window + UInt64(step) * second / 1000, limit: 7)
            lessor.checkInvariants()
            #expect(pending.count <= 7)
            if step == 998 { #expect(revoked + pending.count == 1016) }
        }
        #expect(revoked == 2016)
        #expect(lessor.counters.expired == UInt64(revoked + pending.count))
    }

    @Test func timeToLive() throws {
        let lessor = Lessor()
        let id = LeaseID(9)
        #expect(throws: LeaseError.notPrimary) { try lessor.timeToLive(id: id, now: 0) }
        #expect(throws: LeaseError.notPrimary) { try lessor.renew(id: id, now: 0) }
        lessor.promote(now: 0, extend: 0)
        #expect(throws: LeaseError.notFound) { try lessor.timeToLive(id: id, now: 0) }
        #expect(throws: LeaseError.notFound) { try lessor.renew(id: id, now: 0) }
        _ = try lessor.grant(id: id, ttlSeconds: 10, now: second)
        #expect(try lessor.timeToLive(id: id, now: second) == .init(grantedSeconds: 10, remainingSeconds: 10))
        #expect(try lessor.timeToLive(id: id, now: second + 1) == .init(grantedSeconds: 10, remainingSeconds: 9))
        #expect(try lessor.renew(id: id, now: 5 * second) == .renewed(ttlSeconds: 10))
        #expect(try lessor.timeToLive(id: id, now: 5 * second).remainingSeconds == 10)
        #expect(try lessor.timeToLive(id: id, now: 99 * second) == .init(grantedSeconds: 10, remainingSeconds: 0))
        #expect(try lessor.renew(id: id, now: 15 * second) == .pending, "it has run out: only the log decides now")
    }

    @Test func longestLeaseDoesNotOverflow() throws {
        let lessor = Lessor()
        let late: UInt64 = 1 << 63
        lessor.promote(now: late, extend: 0)
        let id = LeaseID(1)
        _ = try lessor.grant(id: id, ttlSeconds: 9_000_000_000, now: late)
        lessor.promote(now: UInt64.max - second, extend: UInt64.max)
        #expect(lessor.expired(now: UInt64.max - 1).isEmpty)
    }

    /// A lease id granted again after a revocation runs its own time, not the old lease's.
    @Test func reusedIDHasItsOwnDeadline() throws {
        let lessor = Lessor()
        lessor.promote(now: 0, extend: 0)
        _ = try lessor.grant(id: LeaseID(1), ttlSeconds: 5, now: 0)
        _ = try lessor.revoke(id: LeaseID(1))
        _ = try lessor.grant(id: LeaseID(1), ttlSeconds: 50, now: second)
        lessor.checkInvariants()
        #expect(lessor.expired(now: 50 * second).isEmpty)
        #expect(lessor.expired(now: 51 * second) == [LeaseID(1)])
    }

    /// Grants and revocations of long leases do not pile up entries.
    @Test func revokedLeasesLeaveTheHeaps() throws {
        let lessor = Lessor()
        lessor.promote(now: 0, extend: 0)
        for id in 1...20_000 {
            _ = try lessor.grant(id: LeaseID(Int64(id)), ttlSeconds: 86_400, now: UInt64(id))
            _ = try lessor.revoke(id: LeaseID(Int64(id)))
        }
        lessor.checkInvariants()
    }
}

@Suite struct LeaseCheckpointTests {
    @Test func leaderChangeRestartsInFullWithoutCheckpoint() throws {
        let lessor = Lessor()
        _ = try lessor.grant(id: LeaseID(1), ttlSeconds: 100, now: 0)
        lessor.promote(now: 50 * second, extend: second)
        #expect(try lessor.timeToLive(id: LeaseID(1), now: 50 * second).remainingSeconds == 101)
        lessor.demote()
        #expect(lessor.leases() == [LeaseID(1)])
        lessor.promote(now: 90 * second, extend: second)
        #expect(lessor.expired(now: 190 * second).isEmpty)
        #expect(lessor.expired(now: 191 * second) == [LeaseID(1)])
    }

    @Test func checkpointsEveryFiveMinutes() throws {
        let lessor = Lessor()
        lessor.promote(now: 0, extend: 0)
        _ = try lessor.grant(id: LeaseID(1), ttlSeconds: 1000, now: 0)
        _ = try lessor.grant(id: LeaseID(2), ttlSeconds: 300, now: 0)
        #expect(lessor.checkpointsDue(now: 299 * second).isEmpty)
        #expect(lessor.checkpointsDue(now: 300 * second) == [LeaseCheckpoint(id: LeaseID(1), remainingSeconds: 700)])
        #expect(lessor.checkpoint(id: LeaseID(1), remainingSeconds: 700)?.remainingSeconds == 700)
        #expect(lessor.checkpointsDue(now: 301 * second).isEmpty)
        let next = lessor.checkpointsDue(now: 600 * second + 1)
        #expect(next == [LeaseCheckpoint(id: LeaseID(1), remainingSeconds: 400)])
        #expect(lessor.checkpointsDue(now: 901 * second).isEmpty, "99 s to go: not worth an entry")
        // A restart keeps the remaining time.
        let records = lessor.records().map { $0.encoded() }
        let restarted = Lessor()
        try restarted.restore(records)
        restarted.promote(now: 5 * second, extend: 0)
        #expect(try restarted.timeToLive(id: LeaseID(1), now: 5 * second).remainingSeconds == 700)
        #expect(try restarted.timeToLive(id: LeaseID(2), now: 5 * second).remainingSeconds == 300)
    }

    @Test func renewalWaitsForTheWithdrawal() throws {
        let lessor = Lessor()
        let id = LeaseID(1)
        lessor.promote(now: 0, extend: 0)
        _ = try lessor.grant(id: id, ttlSeconds: 1000, now: 0)
        #expect(lessor.checkpointsDue(now: 300 * second).count == 1)
        // Handed out but not applied: it may be in the log already.
        #expect(try lessor.renew(id: id, now: 310 * second) == .pending)
        #expect(try lessor.renew(id: id, now: 311 * second) == .pending)
        let withdrawal = LeaseCheckpoint(id: id, remainingSeconds: 0)
        #expect(lessor.checkpointsDue(now: 311 * second) == [withdrawal])
        #expect(lessor.checkpointsDue(now: 312 * second).isEmpty)
        #expect(lessor.checkpointsDue(now: 314 * second) == [withdrawal], "not applied: again")
        _ = lessor.checkpoint(id: id, remainingSeconds: 700)
        #expect(try lessor.renew(id: id, now: 315 * second) == .pending)
        #expect(lessor.checkpoint(id: id, remainingSeconds: 0)?.remainingSeconds == 0)
        #expect(try lessor.renew(id: id, now: 316 * second) == .renewed(ttlSeconds: 1000))
        #expect(lessor.checkpointsDue(now: 320 * second).isEmpty)
        lessor.checkInvariants()
    }

    /// Three members, one log, leaders that change at random while entries are still on their way, restarts from stored
    /// records: no lease is ever offered before its TTL has passed since its last acknowledged grant or renewal.
    @Test(arguments: seeds) func neverEarlyAcrossLeaderChanges(seed: UInt64) throws {
        var cluster = LeaseCluster(seed: seed)
        for _ in 0..<6000 { try cluster.step() }
        #expect(cluster.renewals > 50)
        #expect(cluster.revocations > 5)
        #expect(cluster.checkpoints > 20)
    }
}

/// Members that apply one log at their own pace; only the leader proposes.
struct LeaseCluster {
    enum Entry {
        case grant(LeaseID, Int64)
        case revoke(LeaseID)
        case checkpoint(LeaseCheckpoint)
    }

    var random: PRNG
    var now: UInt64 = 1
    var members: [Lessor]
    var applied = [0, 0, 0]
    var log: [Entry] = []
    var leader = 0
    var acknowledged: [LeaseID: (at: UInt64, ttl: Int64)] = [:]
    var lastID: Int64 = 0
    var renewals = 0
    var revocations = 0
    var checkpoints = 0
    let configuration: LessorConfiguration

    init(seed: UInt64) {
        random = PRNG(seed: seed)
        var configuration = LessorConfiguration()
        configuration.checkpointIntervalNanoseconds = 20 * second
        self.configuration = configuration
        members = (0..<3).map { _ in Lessor(configuration: configuration) }
        members[0].promote(now: now, extend: second)
    }

    mutating func step() throws {
        now += UInt64(random.next(in: 0..<1_500_000_000))
        switch random.next(in: 0..<20) {
        case 0: changeLeader()
        case 1: try restartFollower()
        case 2, 3:
            lastID += 1
            log.append(.grant(LeaseID(lastID), Int64(random.next(in: 1..<200))))
        case 4...10: renew()
        case 11: log += members[leader].expired(now: now).map(check)
        case 12:
            let due = members[leader].checkpointsDue(now: now)
            checkpoints += due.count { $0.remainingSeconds > 0 }
            // A proposal may be lost, or several may be, but never one between two that are kept.
            if !random.chance(oneIn: 8) { log += due.map { .checkpoint($0) } }
        default:
            let member = random.next(in: 0..<3)
            try apply(member, upTo: min(log.count, applied[member] + random.next(in: 1..<6)))
        }
        for member in members { member.checkInvariants() }
    }

    func check(_ id: LeaseID) -> Entry {
        if let lease = acknowledged[id] {
            #expect(now >= lease.at + UInt64(lease.ttl) * second, "lease \(id) is offered early")
        }
        return .revoke(id)
    }

    mutating func renew() {
        guard lastID > 0 else { return }
        let id = LeaseID(Int64(random.next(in: max(1, Int(lastID) - 20)..<Int(lastID) + 1)))
        guard case .renewed(let ttl) = try? members[leader].renew(id: id, now: now) else { return }
        acknowledged[id] = (now, ttl)
        renewals += 1
    }

    /// The new leader has applied everything before it leads, as a raft leader has that serves its term.
    mutating func changeLeader() {
        members[leader].demote()
        leader = random.next(in: 0..<3)
        try? apply(leader, upTo: log.count)
        members[leader].promote(now: now, extend: second)
    }

    mutating func restartFollower() throws {
        let member = random.next(in: 0..<3)
        guard member != leader else { return }
        let records = members[member].records().map { $0.encoded() }
        members[member] = Lessor(configuration: configuration)
        try members[member].restore(records)
    }

    mutating func apply(_ member: Int, upTo end: Int) throws {
        for entry in log[applied[member]..<end] {
            switch entry {
            case .grant(let id, let ttl):
                let record = try members[member].grant(id: id, ttlSeconds: ttl, now: now)
                if member == leader, acknowledged[id] == nil { acknowledged[id] = (now, record.ttlSeconds) }
            case .revoke(let id):
                guard (try? members[member].revoke(id: id)) != nil, member == leader else { continue }
                revocations += 1
                acknowledged[id] = nil
            case .checkpoint(let checkpoint):
                _ = members[member].checkpoint(id: checkpoint.id, remainingSeconds: checkpoint.remainingSeconds)
            }
        }
        applied[member] = end
    }
}
