package import Primitives

/// The form of a revision on disk: 12 bytes, big-endian, so that bytes order as revisions do.
package enum RevisionKey {
    package static let byteCount = 12

    @inlinable
    package static func write(_ revision: Revision, to buffer: UnsafeMutableRawPointer) {
        buffer.storeBytes(of: UInt64(bitPattern: revision.main).bigEndian, as: UInt64.self)
        buffer.storeBytes(of: revision.sub.bigEndian, toByteOffset: 8, as: UInt32.self)
    }

    /// Nil when the length is wrong.
    @inlinable
    package static func read(_ bytes: UnsafeRawBufferPointer) -> Revision? {
        guard bytes.count == byteCount else { return nil }
        return Revision(
            main: Int64(bitPattern: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))),
            sub: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    }
}

/// What is kept with each stored record: CRC-32C over its revision (12 bytes, big-endian), its flags (one byte) and its
/// bytes. A record that turns up under another revision, or with another flag, is caught too.
package enum RecordChecksum {
    package static let tombstoneFlag: UInt8 = 1

    package static func of(
        _ revision: Revision, isTombstone: Bool, _ record: UnsafeRawBufferPointer
    ) -> UInt32 {
        // 16 bytes on the stack: the revision and the flags.
        var head = (UInt64(0), UInt64(0))
        let start = withUnsafeMutableBytes(of: &head) { buffer in
            RevisionKey.write(revision, to: buffer.baseAddress.unsafelyUnwrapped)
            buffer[RevisionKey.byteCount] = isTombstone ? tombstoneFlag : 0
            return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: buffer[..<(RevisionKey.byteCount + 1)]))
        }
        return CRC32C.checksum(record, continuing: start)
    }
}
