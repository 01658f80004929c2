package import Primitives
import Synchronization

// Leasing: who holds which lease, which keys hang on it, and when it runs out.
//
// Purpose: the replicated part (leases, granted TTL, checkpointed remaining time, attached keys) changes only by applied
// log entries and is equal on every member; the timed part (deadlines, what to revoke, what to checkpoint) exists only
// on the primary, the raft leader, and reaches the replicated part only through proposals.
//
// Owner: none. One lock protects everything: the apply thread grants, revokes, checkpoints, attaches and detaches;
// event loops renew and read; the replica thread promotes, demotes and collects what is to be proposed. No call blocks
// on anything but that lock, none calls out while it is held, and all but `promote`, `restore`, `leases` and `records`
// take it for O(log leases) at most (`revoke` and `keys`: O(keys of the lease)).
//
// Invariants (checked by `checkInvariants`):
//  - every attached key is in exactly one lease's key set, and the reverse map says which;
//  - on the primary every lease has a deadline and exactly one entry, not later than it, in the expiry heap, unless it
//    has been offered for revocation; elsewhere no lease has a deadline and both heaps are empty;
//  - a lease is never offered for revocation before TTL has passed since its last acknowledged grant or renewal.
//
// Format of a stored lease: the protobuf message `leasepb.Lease`, see `LeaseRecord`.

/// The lessor of one member: see the head of this file for threads and invariants.
///
/// Time is a monotonic clock's nanoseconds, passed in by the caller; it must never go back on one lessor.
package final class Lessor: Sendable {
    private let state: Mutex<LessorState>

    package init(configuration: LessorConfiguration = LessorConfiguration()) {
        state = Mutex(LessorState(configuration: configuration))
    }

    // MARK: Applied entries (apply thread, in log order)

    /// Grants a lease and returns what to store in the backend, in the transaction of the entry that granted it.
    ///
    /// - Parameters:
    ///   - id: not 0; the caller draws an id before it proposes a grant that named none.
    ///   - ttlSeconds: raised to `ttlSecondsMin` where it is less (zero and negative too, as etcd does).
    ///   - now: only used on the primary.
    /// - Throws: `.tooLarge`, `.exists`; `.notFound` for id 0 (etcd answers the same).
    package func grant(id: LeaseID, ttlSeconds: Int64, now: UInt64) throws(LeaseError) -> LeaseRecord {
        try state.withLock { (state) throws(LeaseError) in try state.grant(id: id, ttlSeconds: ttlSeconds, now: now) }
    }

    /// Removes a lease and returns the keys that hung on it, in ascending order: the caller deletes them all in one
    /// revision, together with the stored lease.
    ///
    /// - Throws: `.notFound`.
    package func revoke(id: LeaseID) throws(LeaseError) -> [Bytes] {
        try state.withLock { (state) throws(LeaseError) in try state.revoke(id: id) }
    }

    /// Applies a checkpoint: after the next promotion the lease runs `remainingSeconds` instead of its full TTL.
    /// 0 (or less) takes the checkpoint back. Returns what to store, or nil for an unknown lease, which is ignored.
    package func checkpoint(id: LeaseID, remainingSeconds: Int64) -> LeaseRecord? {
        state.withLock { $0.checkpoint(id: id, remainingSeconds: remainingSeconds) }
    }

    /// Hangs `key` on a lease, taking it off the lease it was on.
    ///
    /// - Throws: `.notFound`; the key then stays where it was.
    package func attach(key: Bytes, to id: LeaseID) throws(LeaseError) {
        try state.withLock { (state) throws(LeaseError) in try state.attach(key: key, to: id) }
    }

    /// Takes `key` off its lease, when it is on one.
    package func detach(key: Bytes) {
        state.withLock { $0.detach(key: key) }
    }

    /// Replaces everything by stored leases, as after a restart or a received snapshot. The lessor is then not primary
    /// and no key is attached: the caller attaches every live key that names a lease.
    ///
    /// - Throws: `.malformed` when a record is not a lease or two bear the same id; nothing has changed then.
    package func restore(_ records: [Bytes]) throws(LeaseError) {
        try state.withLock { (state) throws(LeaseError) in try state.restore(records) }
    }

    // MARK: Leadership (replica thread)

    /// Makes this lessor the primary: every lease gets a deadline after its checkpointed remaining time, or after its
    /// full TTL without one, plus `extend` nanoseconds (at least the election timeout: the time in which renewals were
    /// refused). Called again on a primary it restarts every deadline.
    ///
    /// Call it when the new leader has applied everything from before its term (`Replica.isReadyLeader`), not earlier:
    /// a checkpoint that a renewal has taken back would shorten the lease, though the renewal was acknowledged. A leader
    /// that loses contact steps down within two election timeouts after it was last heard, and another one is elected
    /// no sooner than one after: so with an extension of one no acknowledged renewal is cut short.
    package func promote(now: UInt64, extend: UInt64) {
        state.withLock { $0.promote(now: now, extend: extend) }
    }

    /// Ends being primary: deadlines, offered revocations and pending checkpoints are forgotten.
    package func demote() {
        state.withLock { $0.demote() }
    }

    /// Whether this lessor is the primary.
    package var isPrimary: Bool { state.withLock { $0.isPrimary } }

    // MARK: Proposals (replica thread, on the primary; nothing elsewhere)

    /// The leases that have run out and are to be proposed as `LeaseRevoke`, those that ran out first before others.
    ///
    /// Call it at every tick and after an applied `LeaseRevoke`. It offers at most `limit` a call, `revokesPerSecondMax`
    /// a second, and has at most `revokesPendingMax` offered and not yet applied; the rest wait, still alive, and are
    /// offered later in the same order. A lease not revoked within `revokeRetryNanoseconds` is offered again.
    package func expired(now: UInt64, limit: Int = Int.max) -> [LeaseID] {
        state.withLock { $0.expired(now: now, limit: limit) }
    }

    /// Whether leases were offered by `expired` whose `LeaseRevoke` is not applied yet.
    package var isRevoking: Bool { state.withLock { !$0.offered.isEmpty } }

    /// The checkpoints to propose as `LeaseCheckpoint`, at most `limit`: remaining seconds of leases that still have
    /// more than `checkpointIntervalNanoseconds` to run, once each interval; and remaining 0 for leases that were
    /// renewed while a checkpoint stood.
    ///
    /// One caller must propose them, in the order returned and in the order of the calls: a renewal's safety across a
    /// leader change rests on that order.
    package func checkpointsDue(now: UInt64, limit: Int = 1000) -> [LeaseCheckpoint] {
        state.withLock { $0.checkpointsDue(now: now, limit: limit) }
    }

    // MARK: Event loops

    /// Keeps a lease alive for its full TTL from `now`.
    ///
    /// `.pending` means that the answer may not leave yet: either the lease has run out and its revocation is under way,
    /// or a checkpoint must first be taken back through the log, lest the lease ran out early after a leader change.
    /// Ask again after the next applied entries or the next tick; a lease that waits for its checkpoint is renewed already
    /// and keeps running meanwhile.
    ///
    /// - Throws: `.notFound` (the client gets TTL 0), `.notPrimary` (forward to the leader).
    package func renew(id: LeaseID, now: UInt64) throws(LeaseError) -> LeaseRenewal {
        try state.withLock { (state) throws(LeaseError) in try state.renew(id: id, now: now) }
    }

    /// Granted TTL and remaining time. The keys are separate: `keys(of:)`.
    ///
    /// - Throws: `.notFound` (the client gets TTL -1), `.notPrimary` (forward to the leader).
    package func timeToLive(id: LeaseID, now: UInt64) throws(LeaseError) -> LeaseTimeToLive {
        try state.withLock { (state) throws(LeaseError) in try state.timeToLive(id: id, now: now) }
    }

    /// Every lease: on the primary by remaining time, then id; elsewhere by id. O(leases log leases).
    package func leases() -> [LeaseID] {
        state.withLock { $0.orderedIDs() }
    }

    /// The keys on a lease in ascending order; empty for an unknown lease.
    package func keys(of id: LeaseID) -> [Bytes] {
        state.withLock { $0.keys(of: id) }
    }

    /// The lease a key hangs on, or `.none`.
    package func lease(of key: Bytes) -> LeaseID {
        state.withLock { $0.leaseOfKey[key] ?? .none }
    }

    /// The stored form of a lease, or nil when there is none with that id.
    package func record(of id: LeaseID) -> LeaseRecord? {
        state.withLock { $0.leases[id]?.record(id: id) }
    }

    /// The stored form of every lease by id: what a snapshot in etcd's format needs, and what members can compare.
    package func records() -> [LeaseRecord] {
        state.withLock { $0.records() }
    }

    /// What the metrics show.
    package var counters: LessorCounters { state.withLock { $0.counters } }

    /// Checks the invariants at the head of this file; traps when one does not hold. O(leases + keys): for tests.
    package func checkInvariants() {
        state.withLock { $0.checkInvariants() }
    }
}
