import HeapModule
import Primitives

/// The timed part: it exists on the primary only, and changes the replicated part through proposals alone.
extension LessorState {
    mutating func promote(now: UInt64, extend: UInt64) {
        demote()
        isPrimary = true
        let configuration = configuration
        let interval = configuration.checkpointIntervalNanoseconds
        var entries: [TimedEntry] = []
        entries.reserveCapacity(leases.count)
        var longEntries: [TimedEntry] = []
        updateEach { id, lease in
            let time = deadline(after: lease.effectiveSeconds, extend, from: now)
            lease.deadline = time
            entries.append(TimedEntry(time: time, id: id, serial: lease.serial))
            guard configuration.isCheckpointed(ttlSeconds: lease.ttlSeconds) else { return }
            longEntries.append(TimedEntry(time: later(now, by: interval), id: id, serial: lease.serial))
        }
        // The entries' order is total, so that the order in which they come out does not depend on the dictionary's.
        expiries = Heap(entries)
        checkpoints = Heap(longEntries)
    }

    mutating func demote() {
        isPrimary = false
        expiries = Heap()
        checkpoints = Heap()
        offered = []
        withdrawals = Heap()
        windowCount = 0
        windowStart = 0
        updateEach { _, lease in
            lease.deadline = nil
            lease.isOffered = false
            lease.isCheckpointInFlight = false
            lease.withdrawalTime = nil
        }
    }

    mutating func renew(id: LeaseID, now: UInt64) throws(LeaseError) -> LeaseRenewal {
        guard isPrimary else { throw .notPrimary }
        guard var lease = leases[id], let current = lease.deadline else { throw .notFound }
        // Once it has run out, only its revocation or the next leader decides what the lease is.
        if lease.isOffered || current <= now { return .pending }
        lease.deadline = max(current, deadline(after: lease.ttlSeconds, 0, from: now))
        defer { leases[id] = lease }
        if lease.remainingSeconds > 0 || lease.isCheckpointInFlight {
            if lease.withdrawalTime == nil {
                lease.withdrawalTime = now
                withdrawals.insert(TimedEntry(time: now, id: id, serial: lease.serial))
            }
            return .pending
        }
        totals.renewed += 1
        return .renewed(ttlSeconds: lease.ttlSeconds)
    }

    mutating func expired(now: UInt64, limit: Int) -> [LeaseID] {
        guard isPrimary else { return [] }
        if windowCount == 0 || now - windowStart >= nanosecondsPerSecond {
            windowStart = now
            windowCount = 0
        }
        let room = min(limit, configuration.revokesPerSecondMax - windowCount)
        guard room > 0 else { return [] }
        var result: [LeaseID] = []
        for index in offered.indices where offered[index].time <= now && result.count < room {
            offered[index].time = later(now, by: configuration.revokeRetryNanoseconds)
            result.append(offered[index].id)
        }
        while result.count < room, offered.count < configuration.revokesPendingMax,
            let entry = expiries.min, entry.time <= now
        {
            _ = expiries.popMin()
            guard let lease = leases[entry.id], lease.serial == entry.serial, let end = lease.deadline else { continue }
            if end > now {
                expiries.insert(TimedEntry(time: end, id: entry.id, serial: entry.serial))
                continue
            }
            leases[entry.id]!.isOffered = true
            let retry = later(now, by: configuration.revokeRetryNanoseconds)
            offered.append(TimedEntry(time: retry, id: entry.id, serial: entry.serial))
            totals.expired += 1
            result.append(entry.id)
        }
        windowCount += result.count
        return result
    }

    mutating func checkpointsDue(now: UInt64, limit: Int) -> [LeaseCheckpoint] {
        guard isPrimary else { return [] }
        var result: [LeaseCheckpoint] = []
        while result.count < limit, let entry = withdrawals.min, entry.time <= now {
            _ = withdrawals.popMin()
            guard isCurrent(entry), leases[entry.id]!.withdrawalTime == entry.time else { continue }
            let retry = later(now, by: configuration.checkpointRetryNanoseconds)
            leases[entry.id]!.withdrawalTime = retry
            withdrawals.insert(TimedEntry(time: retry, id: entry.id, serial: entry.serial))
            result.append(LeaseCheckpoint(id: entry.id, remainingSeconds: 0))
        }
        let interval = configuration.checkpointIntervalNanoseconds
        while result.count < limit, let entry = checkpoints.min, entry.time <= now {
            _ = checkpoints.popMin()
            guard var lease = leases[entry.id], lease.serial == entry.serial, let end = lease.deadline else { continue }
            // Past its deadline or with little left, a lease gains nothing; it comes back when it is renewed.
            guard end > now, end - now > interval else {
                if end > now { checkpoints.insert(TimedEntry(time: end, id: entry.id, serial: entry.serial)) }
                continue
            }
            checkpoints.insert(TimedEntry(time: later(now, by: interval), id: entry.id, serial: entry.serial))
            let remaining = Int64((end - now + nanosecondsPerSecond - 1) / nanosecondsPerSecond)
            guard remaining < lease.ttlSeconds, lease.withdrawalTime == nil else { continue }
            lease.isCheckpointInFlight = true
            leases[entry.id] = lease
            result.append(LeaseCheckpoint(id: entry.id, remainingSeconds: remaining))
        }
        return result
    }

    /// Gives a new lease its deadline and its heap entries.
    mutating func schedule(_ lease: inout Lease, id: LeaseID, now: UInt64, extend: UInt64) {
        let end = deadline(after: lease.effectiveSeconds, extend, from: now)
        lease.deadline = end
        expiries.insert(TimedEntry(time: end, id: id, serial: lease.serial))
        let interval = configuration.checkpointIntervalNanoseconds
        guard configuration.isCheckpointed(ttlSeconds: lease.ttlSeconds) else { return }
        checkpoints.insert(TimedEntry(time: later(now, by: interval), id: id, serial: lease.serial))
    }

    /// Rebuilds a heap in which entries of revoked leases outnumber the others, so that both stay O(leases).
    mutating func dropStaleEntries() {
        let entriesMax = 2 * leases.count + 1024
        if expiries.count > entriesMax { expiries = Heap(expiries.unordered.filter(isCurrent)) }
        if checkpoints.count > entriesMax { checkpoints = Heap(checkpoints.unordered.filter(isCurrent)) }
    }

    /// Changes every lease in place, in no particular order: what `change` does must not depend on the order.
    private mutating func updateEach(_ change: (LeaseID, inout Lease) -> Void) {
        var index = leases.startIndex
        while index != leases.endIndex {
            change(leases.keys[index], &leases.values[index])
            leases.formIndex(after: &index)
        }
    }

    private func isCurrent(_ entry: TimedEntry) -> Bool { leases[entry.id]?.serial == entry.serial }

    /// See `Lessor.checkInvariants`.
    func checkInvariants() {
        var keys = 0
        for (id, lease) in leases {
            keys += lease.keys.count
            for key in lease.keys { invariant(leaseOfKey[key] == id, "key \(key) is on two leases") }
            invariant((lease.deadline != nil) == isPrimary, "lease \(id) has a deadline, or none, against the role")
        }
        invariant(keys == leaseOfKey.count, "a key hangs on a lease that is gone")
        let isTimed = !(expiries.isEmpty && checkpoints.isEmpty && offered.isEmpty && withdrawals.isEmpty)
        invariant(isPrimary || !isTimed, "a lessor that is not primary has timed entries")
        var entries: [LeaseID: Int] = [:]
        for entry in expiries.unordered where isCurrent(entry) {
            entries[entry.id, default: 0] += 1
            invariant(entry.time <= leases[entry.id]!.deadline!, "an expiry entry is later than its deadline")
        }
        for (id, lease) in leases where isPrimary {
            invariant(entries[id, default: 0] == (lease.isOffered ? 0 : 1), "lease \(id) has no entry, or two")
            let offers = offered.count { $0.id == id }
            invariant(offers == (lease.isOffered ? 1 : 0), "lease \(id) is not among the offered")
        }
        invariant(offered.count <= configuration.revokesPendingMax, "too many revocations are pending")
        invariant(expiries.count <= 2 * leases.count + 1024, "the expiry heap holds on to the past")
        let withdrawn = withdrawals.unordered.filter { isCurrent($0) && leases[$0.id]!.withdrawalTime == $0.time }
        invariant(withdrawn.count == leases.values.count { $0.withdrawalTime != nil }, "a withdrawal is lost")
    }
}
