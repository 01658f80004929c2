/// A lease is never taken away by time before its TTL has passed since the client asked for the renewal it was last
/// promised, however leaders change. Clocks that drift and jump shorten what can be promised by as much.
package struct LeaseChecker {
    private struct Promise {
        /// Nanoseconds of the simulation.
        var until: UInt64
        var jumped: UInt64
        var ttl: UInt64
    }

    private var promises: [Int64: Promise] = [:]
    /// How far all clocks together have jumped ahead so far, in nanoseconds.
    package var jumpedNanoseconds: UInt64 = 0
    /// By how much a clock may run too fast, per thousand.
    package let driftPermille: UInt64
    /// Leases that ran out, for those who want to know that some did.
    package private(set) var expired = 0

    package init(driftPermille: UInt64) { self.driftPermille = driftPermille }

    /// A client that asked at `asked`, when clocks had jumped by `jumped`, was answered that the lease runs its full
    /// TTL.
    package mutating func renewed(_ id: Int64, asked: UInt64, jumped: UInt64, ttlSeconds: Int64) {
        let ttl = UInt64(ttlSeconds) * 1_000_000_000
        if let known = promises[id], known.until >= asked + ttl { return }
        promises[id] = Promise(until: asked + ttl, jumped: jumped, ttl: ttl)
    }

    /// A lease was revoked because a client wanted it: nothing is promised any more.
    package mutating func revoked(_ id: Int64) { promises[id] = nil }

    /// A lease's revocation, which a leader proposed because it had run out, is applied.
    package mutating func expired(_ id: Int64, now: UInt64) throws(Violation) {
        expired += 1
        guard let promise = promises.removeValue(forKey: id) else { return }
        let slack = (jumpedNanoseconds - promise.jumped) + promise.ttl * driftPermille / 1000
        guard now + slack >= promise.until else {
            throw Violation(
                "leases", "lease \(id) is gone \((promise.until - now) / 1_000_000) ms before its time")
        }
    }
}
