import Primitives

/// The store's own entries of the meta table. Others choose keys that do not begin with `store/`.
enum MetaKey {
    static let prefix: Bytes = "store/"
    /// Format of the tables: one byte, `formatVersion`.
    static let format: Bytes = "store/format"
    /// Applied index and term of the last entry whose effects are in the file: two times 8 bytes, big-endian.
    static let applied: Bytes = "store/applied"
    /// Current revision: 8 bytes, big-endian. The newest record may be older: compaction may have removed it.
    static let revision: Bytes = "store/revision"
    /// Compact revision that reads obey: 8 bytes.
    static let compact: Bytes = "store/compact"
    /// Compact revision whose removals are complete: 8 bytes.
    static let swept: Bytes = "store/swept"
    /// The rolling hash: 4 bytes, big-endian, in 8.
    static let stateHash: Bytes = "store/state-hash"

    static let formatVersion: UInt8 = 1

    static func encode(_ numbers: UInt64...) -> Bytes {
        Bytes(count: numbers.count * 8) { buffer in
            for (index, number) in numbers.enumerated() {
                buffer.storeBytes(of: number.bigEndian, toByteOffset: index * 8, as: UInt64.self)
            }
        }
    }

    /// `count` numbers, or a complaint that names the key.
    static func decode(_ value: Bytes, _ count: Int, of key: Bytes) throws(StoreError) -> [UInt64] {
        guard value.count == count * 8 else {
            throw .corrupted(revision: nil, detail: "meta entry \(key) has \(value.count) bytes")
        }
        return value.withUnsafeBytes { bytes in
            (0..<count).map { UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self)) }
        }
    }
}
