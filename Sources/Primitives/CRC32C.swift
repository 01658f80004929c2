internal import CPlatform

/// CRC-32C (Castagnoli), the checksum of every record on disk and of every snapshot frame.
package enum CRC32C {
    /// The checksum of `bytes`, continuing from `previous` (0 to start): chaining equals one run over all bytes.
    package static func checksum(_ bytes: UnsafeRawBufferPointer, continuing previous: UInt32 = 0) -> UInt32 {
        guard let base = bytes.baseAddress else { return previous }
        return martlet_crc32c(previous, base, bytes.count)
    }
}
