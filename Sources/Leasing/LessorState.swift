import HeapModule
import Primitives

/// One lease. `deadline` and everything after it exist on the primary only.
struct Lease {
    var ttlSeconds: Int64
    /// Replicated: the checkpointed remaining time, 0 without a checkpoint.
    var remainingSeconds: Int64 = 0
    var keys: Set<Bytes> = []
    /// Tells this lease's heap entries from those of an earlier lease with the same id.
    let serial: UInt64

    /// When the lease runs out. Renewing only moves it later.
    var deadline: UInt64?
    /// Offered for revocation: it can no longer be renewed.
    var isOffered = false
    /// A checkpoint with remaining time was handed out and neither applied nor taken back: it may be in the log.
    var isCheckpointInFlight = false
    /// Set when the lease was renewed while a checkpoint stood, which must be taken back before the renewal is
    /// acknowledged: when to hand out the withdrawal (again).
    var withdrawalTime: UInt64?

    func record(id: LeaseID) -> LeaseRecord {
        LeaseRecord(id: id, ttlSeconds: ttlSeconds, remainingSeconds: remainingSeconds)
    }

    /// What the lease runs after a promotion.
    var effectiveSeconds: Int64 { remainingSeconds > 0 ? remainingSeconds : ttlSeconds }
}

/// Something that is due at `time`; equal times are ordered by id, so that every run does the same.
struct TimedEntry: Comparable {
    var time: UInt64
    var id: LeaseID
    var serial: UInt64

    static func < (a: TimedEntry, b: TimedEntry) -> Bool {
        if a.time != b.time { return a.time < b.time }
        if a.id != b.id { return a.id < b.id }
        return a.serial < b.serial
    }
}

/// The lessor's state and rules, without the lock. Owner: whoever holds the lock of the `Lessor` it is in.
struct LessorState {
    let configuration: LessorConfiguration
    var leases: [LeaseID: Lease] = [:]
    var leaseOfKey: [Bytes: LeaseID] = [:]
    var isPrimary = false
    var nextSerial: UInt64 = 0

    /// One entry a lease that is not offered, at or before its deadline (renewing does not move the entry: it is moved
    /// when it comes up); entries of revoked leases stay until they come up or outnumber the others.
    var expiries = Heap<TimedEntry>()
    /// One entry a lease with more than the checkpoint interval to run, with the same looseness.
    var checkpoints = Heap<TimedEntry>()
    /// Offered for revocation, by the time at which to offer again. At most `revokesPendingMax`.
    var offered: [TimedEntry] = []
    /// Checkpoints to take back; an entry counts only while its time is its lease's `withdrawalTime`.
    var withdrawals = Heap<TimedEntry>()

    /// The second, beginning at this time, in which `windowCount` leases have been offered.
    var windowStart: UInt64 = 0
    var windowCount = 0
    var totals = LessorCounters()

    init(configuration: LessorConfiguration) {
        invariant(configuration.revokesPendingMax > 0 && configuration.revokesPerSecondMax > 0, "revocation is off")
        self.configuration = configuration
    }

    var counters: LessorCounters {
        var counters = totals
        counters.leases = leases.count
        counters.attachedKeys = leaseOfKey.count
        return counters
    }

    // MARK: Applied entries

    mutating func grant(id: LeaseID, ttlSeconds: Int64, now: UInt64) throws(LeaseError) -> LeaseRecord {
        guard id != .none else { throw .notFound }
        guard ttlSeconds <= configuration.ttlSecondsMax else { throw .tooLarge }
        guard leases[id] == nil else { throw .exists }
        var lease = Lease(ttlSeconds: max(ttlSeconds, configuration.ttlSecondsMin), serial: nextSerial)
        nextSerial += 1
        if isPrimary { schedule(&lease, id: id, now: now, extend: 0) }
        let record = lease.record(id: id)
        leases[id] = lease
        totals.noteGrant(ttlSeconds: record.ttlSeconds)
        return record
    }

    mutating func revoke(id: LeaseID) throws(LeaseError) -> [Bytes] {
        guard let lease = leases.removeValue(forKey: id) else { throw .notFound }
        for key in lease.keys { leaseOfKey.removeValue(forKey: key) }
        if lease.isOffered { offered.removeAll { $0.id == id } }
        totals.revoked += 1
        dropStaleEntries()
        return lease.keys.sorted()
    }

    mutating func checkpoint(id: LeaseID, remainingSeconds: Int64) -> LeaseRecord? {
        guard var lease = leases[id] else { return nil }
        lease.remainingSeconds = max(0, min(remainingSeconds, lease.ttlSeconds))
        // Proposals are applied in the order they were handed out: a withdrawal comes after what it takes back.
        lease.isCheckpointInFlight = false
        if lease.remainingSeconds == 0 { lease.withdrawalTime = nil }
        leases[id] = lease
        return lease.record(id: id)
    }

    mutating func attach(key: Bytes, to id: LeaseID) throws(LeaseError) {
        guard leases[id] != nil else { throw .notFound }
        guard let previous = leaseOfKey.updateValue(id, forKey: key) else {
            leases[id]?.keys.insert(key)
            return
        }
        if previous == id { return }
        leases[previous]?.keys.remove(key)
        leases[id]?.keys.insert(key)
    }

    mutating func detach(key: Bytes) {
        guard let id = leaseOfKey.removeValue(forKey: key) else { return }
        leases[id]?.keys.remove(key)
    }

    mutating func restore(_ records: [Bytes]) throws(LeaseError) {
        var restored: [LeaseID: Lease] = [:]
        for bytes in records {
            let record = try LeaseRecord(decoding: bytes)
            var lease = Lease(ttlSeconds: max(record.ttlSeconds, configuration.ttlSecondsMin), serial: nextSerial)
            lease.remainingSeconds = min(record.remainingSeconds, lease.ttlSeconds)
            nextSerial += 1
            guard restored.updateValue(lease, forKey: record.id) == nil else { throw .malformed }
        }
        demote()
        leases = restored
        leaseOfKey = [:]
    }

    // MARK: Reading

    func timeToLive(id: LeaseID, now: UInt64) throws(LeaseError) -> LeaseTimeToLive {
        guard isPrimary else { throw .notPrimary }
        guard let lease = leases[id], let deadline = lease.deadline else { throw .notFound }
        let remaining = deadline > now ? (deadline - now) / nanosecondsPerSecond : 0
        return LeaseTimeToLive(grantedSeconds: lease.ttlSeconds, remainingSeconds: Int64(remaining))
    }

    func orderedIDs() -> [LeaseID] {
        leases.map { TimedEntry(time: $1.deadline ?? 0, id: $0, serial: 0) }.sorted().map(\.id)
    }

    func keys(of id: LeaseID) -> [Bytes] { leases[id]?.keys.sorted() ?? [] }

    func records() -> [LeaseRecord] {
        leases.map { $1.record(id: $0) }.sorted { $0.id < $1.id }
    }
}

let nanosecondsPerSecond: UInt64 = 1_000_000_000

/// `now` and so many seconds and nanoseconds, or the end of time where the sum does not fit.
func deadline(after seconds: Int64, _ nanoseconds: UInt64, from now: UInt64) -> UInt64 {
    let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: nanosecondsPerSecond)
    return overflow ? UInt64.max : later(later(now, by: product), by: nanoseconds)
}

/// `time` and so many nanoseconds, or the end of time where the sum does not fit.
func later(_ time: UInt64, by nanoseconds: UInt64) -> UInt64 {
    let (sum, overflow) = time.addingReportingOverflow(nanoseconds)
    return overflow ? UInt64.max : sum
}
