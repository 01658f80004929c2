package import Primitives

/// Limits and times of a lessor.
package struct LessorConfiguration: Sendable {
    /// The least TTL granted, in seconds: 1.5 election timeouts, rounded up. A shorter one is raised to it.
    package var ttlSecondsMin: Int64 = 2
    /// The greatest TTL granted, in seconds. More is refused with `.tooLarge`.
    package var ttlSecondsMax: Int64 = 9_000_000_000
    /// Leases offered for revocation in a second; more wait.
    package var revokesPerSecondMax = 1000
    /// Leases offered and not yet revoked; more wait.
    package var revokesPendingMax = 16
    /// After this a lease that was offered and not revoked is offered again.
    package var revokeRetryNanoseconds: UInt64 = 3_000_000_000
    /// How often the remaining time of a long lease goes through the log; 0 turns checkpoints off.
    package var checkpointIntervalNanoseconds: UInt64 = 300_000_000_000
    /// After this a checkpoint's withdrawal that was not applied is offered again.
    package var checkpointRetryNanoseconds: UInt64 = 3_000_000_000

    package init() {}

    /// Whether checkpoints are worth their log entries for a lease of this TTL.
    func isCheckpointed(ttlSeconds: Int64) -> Bool {
        let interval = checkpointIntervalNanoseconds
        return interval > 0 && UInt64(ttlSeconds) > interval / nanosecondsPerSecond
    }
}

/// Why a lease request was refused. Source of the texts: etcd-behaviour.md, section 2.
package enum LeaseError: Error, Equatable {
    /// `etcdserver: requested lease not found`
    case notFound
    /// `etcdserver: lease already exists`
    case exists
    /// `etcdserver: too large lease TTL`
    case tooLarge
    /// This member is not the leader: deadlines are known there only.
    case notPrimary
    /// A stored lease cannot be read.
    case malformed
}

/// The outcome of a keep-alive.
package enum LeaseRenewal: Equatable, Sendable {
    /// Renewed: the lease now runs this many seconds.
    case renewed(ttlSeconds: Int64)
    /// Not to be answered yet: see `Lessor.renew`.
    case pending
}

/// The answer to a time-to-live request.
package struct LeaseTimeToLive: Equatable, Sendable {
    package var grantedSeconds: Int64
    /// Whole seconds left, rounded down; 0 when the lease has run out and is about to be revoked.
    package var remainingSeconds: Int64

    package init(grantedSeconds: Int64, remainingSeconds: Int64) {
        self.grantedSeconds = grantedSeconds
        self.remainingSeconds = remainingSeconds
    }
}

/// One checkpoint to propose: `remainingSeconds` 0 takes the earlier one back.
package struct LeaseCheckpoint: Equatable, Sendable {
    package var id: LeaseID
    package var remainingSeconds: Int64

    package init(id: LeaseID, remainingSeconds: Int64) {
        self.id = id
        self.remainingSeconds = remainingSeconds
    }
}

/// What the lessor counts. Totals are since the process started.
package struct LessorCounters: Equatable, Sendable {
    package var granted: UInt64 = 0
    package var revoked: UInt64 = 0
    package var renewed: UInt64 = 0
    /// Leases offered for revocation because they ran out; one offered again is counted once.
    package var expired: UInt64 = 0
    /// Granted leases by TTL: bucket n, of `ttlBucketCount`, holds those of at most 2^n seconds, the last one the others.
    package var ttlCounts = [UInt64](repeating: 0, count: ttlBucketCount + 1)
    package var ttlSecondsSum: UInt64 = 0
    package static let ttlBucketCount = 24

    /// Counts a granted lease.
    mutating func noteGrant(ttlSeconds: Int64) {
        granted += 1
        let exponent = ttlSeconds <= 1 ? 0 : Int64.bitWidth - (ttlSeconds - 1).leadingZeroBitCount
        ttlCounts[min(exponent, Self.ttlBucketCount)] += 1
        ttlSecondsSum += UInt64(max(0, ttlSeconds))
    }

    package var leases = 0
    package var attachedKeys = 0
}

/// A lease as it is stored: protobuf `leasepb.Lease { int64 ID = 1; int64 TTL = 2; int64 RemainingTTL = 3; }`, seconds.
/// Equal records have equal bytes on every member: fields in order, zeros left out.
package struct LeaseRecord: Equatable, Sendable {
    package var id: LeaseID
    package var ttlSeconds: Int64
    /// The checkpointed remaining time, 0 without a checkpoint.
    package var remainingSeconds: Int64

    package init(id: LeaseID, ttlSeconds: Int64, remainingSeconds: Int64 = 0) {
        self.id = id
        self.ttlSeconds = ttlSeconds
        self.remainingSeconds = remainingSeconds
    }

    /// The bytes to store.
    package func encoded() -> Bytes {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(33)
        for (tag, value) in [(0x08, id.rawValue), (0x10, ttlSeconds), (0x18, remainingSeconds)] where value != 0 {
            bytes.append(UInt8(tag))
            Self.appendVarint(UInt64(bitPattern: value), to: &bytes)
        }
        return Bytes(bytes)
    }

    /// Reads stored bytes; fields that are not known are skipped, as protobuf asks for.
    ///
    /// - Throws: `.malformed`, also for id 0 and for a negative time.
    package init(decoding bytes: Bytes) throws(LeaseError) {
        self.init(id: .none, ttlSeconds: 0)
        var offset = 0
        while offset < bytes.count {
            let tag = try Self.readVarint(bytes, &offset)
            switch (tag >> 3, tag & 7) {
            case (1, 0): id = LeaseID(Int64(bitPattern: try Self.readVarint(bytes, &offset)))
            case (2, 0): ttlSeconds = Int64(bitPattern: try Self.readVarint(bytes, &offset))
            case (3, 0): remainingSeconds = Int64(bitPattern: try Self.readVarint(bytes, &offset))
            default: try Self.skip(wireType: tag & 7, bytes, &offset)
            }
        }
        guard id != .none, ttlSeconds >= 0, remainingSeconds >= 0 else { throw .malformed }
    }

    private static func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private static func readVarint(_ bytes: Bytes, _ offset: inout Int) throws(LeaseError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard offset < bytes.count else { throw .malformed }
            let byte = bytes[offset]
            offset += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        throw .malformed
    }

    private static func skip(wireType: UInt64, _ bytes: Bytes, _ offset: inout Int) throws(LeaseError) {
        var length: UInt64
        switch wireType {
        case 0:
            _ = try readVarint(bytes, &offset)
            return
        case 1: length = 8
        case 2: length = try readVarint(bytes, &offset)
        case 5: length = 4
        default: throw .malformed
        }
        guard length <= UInt64(bytes.count - offset) else { throw .malformed }
        offset += Int(length)
    }
}
