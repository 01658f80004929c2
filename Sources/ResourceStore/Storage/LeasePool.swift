/// Leases for objects with a time to live. Objects that are created shortly after another share its lease, so that a
/// storm of them does not become a storm of leases. Source: kubernetes-contract, section 6.
actor LeasePool {
    private struct Lease {
        let id: Int64
        /// Until when other objects may join it.
        let joinDeadline: ContinuousClock.Instant
        var objects: Int
    }

    /// A lease takes others in for this long at most, or for a twentieth of its time to live if that is less.
    private static let joinSecondsMax: Int64 = 60
    private static let objectsMax = 1000
    /// Times to live that are remembered.
    private static let leasesMax = 64

    private let storage: StorageClient
    private var leases: [Int64: Lease] = [:]

    init(_ storage: StorageClient) { self.storage = storage }

    /// A lease under which an object lives at least so long.
    func lease(for timeToLive: Duration) async throws(ObjectStoreError) -> Int64 {
        let (seconds, attoseconds) = timeToLive.components
        let ttl = seconds + (attoseconds > 0 ? 1 : 0)
        guard ttl > 0 else { throw .invalid("a time to live is longer than nothing") }
        if var lease = leases[ttl], lease.objects < Self.objectsMax, ContinuousClock.now < lease.joinDeadline {
            lease.objects += 1
            leases[ttl] = lease
            return lease.id
        }
        let join = min(Self.joinSecondsMax, ttl / 20)
        let asked = ContinuousClock.now
        let id = try await storage.grantLease(seconds: ttl + join)
        if leases.count >= Self.leasesMax { leases = [:] }
        leases[ttl] = Lease(id: id, joinDeadline: asked + .seconds(join), objects: 1)
        return id
    }

    /// Gives a lease to no further object: the store does not know it any more, for somebody has revoked it.
    func forget(_ id: Int64) {
        if let ttl = leases.first(where: { $0.value.id == id })?.key { leases[ttl] = nil }
    }
}
