package import Primitives

/// The keys of the store's meta table, where everything but the revisions lives. The only place that knows them.
package enum MetaKeys {
    /// The cluster's identity, 8 bytes big endian. Its presence says that bootstrap has finished.
    package static let cluster: Bytes = "cluster"
    /// One record per member, see `MemberCodec`.
    package static let memberPrefix: Bytes = "member/"
    /// One record per lease, see `LeaseRecord`.
    package static let leasePrefix: Bytes = "lease/"
    /// One empty record per active alarm.
    package static let alarmPrefix: Bytes = "alarm/"

    /// One empty record per member that was removed.
    package static let removedPrefix: Bytes = "removed/"
    /// The applied index of the image that was installed last, 8 bytes big endian: see `SnapshotInstall`.
    package static let installed: Bytes = "installed"

    package static func removed(_ id: MemberID) -> Bytes { keyed(removedPrefix, id.rawValue) }
    package static func member(_ id: MemberID) -> Bytes { keyed(memberPrefix, id.rawValue) }
    package static func lease(_ id: LeaseID) -> Bytes { keyed(leasePrefix, UInt64(bitPattern: id.rawValue)) }
    package static func alarm(_ kind: Int32, member: MemberID) -> Bytes {
        keyed(Bytes(alarmPrefix.array + [UInt8(truncatingIfNeeded: kind), 0x2f]), member.rawValue)
    }

    /// The alarm kind and member that `alarm(_:member:)` wrote into a key.
    package static func parseAlarm(_ key: Bytes) -> (kind: Int32, member: MemberID)? {
        let prefix = alarmPrefix.count
        guard key.count == prefix + 10 else { return nil }
        let id = key.array[(prefix + 2)...].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return (Int32(key[prefix]), MemberID(id))
    }

    /// The identity that `removed(_:)` wrote into a key.
    package static func parseRemoved(_ key: Bytes) -> MemberID? {
        guard key.count == removedPrefix.count + 8 else { return nil }
        return MemberID(key.array[removedPrefix.count...].reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }

    package static func bigEndian(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
    }

    package static func parseBigEndian(_ bytes: Bytes) -> UInt64? {
        guard bytes.count == 8 else { return nil }
        return bytes.array.reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static func keyed(_ prefix: Bytes, _ id: UInt64) -> Bytes { Bytes(prefix.array + bigEndian(id)) }
}
