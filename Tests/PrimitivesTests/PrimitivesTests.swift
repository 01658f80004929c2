import Primitives
import Testing

@Suite struct CRC32CTests {
    /// By the definition, bit by bit.
    private static func plain(_ bytes: ArraySlice<UInt8>, continuing previous: UInt32) -> UInt32 {
        var crc = ~previous
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82f6_3b78 : crc >> 1 }
        }
        return ~crc
    }

    /// Lengths around those at which it goes another way: 8 bytes, and three runs of 256 and of 4096.
    @Test(arguments: [0, 1, 7, 8, 9, 255, 256, 767, 768, 769, 1535, 1536, 1543, 12_287, 12_288, 12_289, 13_056, 25_345])
    func everyLengthIsRight(count: Int) {
        var random = PRNG(seed: UInt64(count))
        for offset in [0, 1, 7] {
            let bytes = (0..<offset + count).map { _ in UInt8(random.next(in: 0..<256)) }
            let previous = UInt32(truncatingIfNeeded: random.next())
            let found = bytes[offset...].withUnsafeBytes { CRC32C.checksum($0, continuing: previous) }
            #expect(found == Self.plain(bytes[offset...], continuing: previous))
        }
    }

    @Test func checkValueOfRFC3720() {
        let digits: [UInt8] = Array("123456789".utf8)
        #expect(digits.withUnsafeBytes { CRC32C.checksum($0) } == 0xe306_9283)
    }

    @Test(arguments: 0..<40) func chainingEqualsOneRun(cut: Int) {
        let bytes = (0..<40).map { UInt8(truncatingIfNeeded: $0 * 37) }
        let whole = bytes.withUnsafeBytes { CRC32C.checksum($0) }
        let first = bytes[..<cut].withUnsafeBytes { CRC32C.checksum($0) }
        #expect(bytes[cut...].withUnsafeBytes { CRC32C.checksum($0, continuing: first) } == whole)
    }
}

@Suite struct BytesTests {
    @Test func ordersAsUnsignedBytesThenLength() {
        let ordered: [Bytes] = ["", Bytes([0]), "a", Bytes([0x61, 0]), "ab", "b", Bytes([0xff])]
        for (i, a) in ordered.enumerated() {
            for (j, b) in ordered.enumerated() {
                #expect((a < b) == (i < j))
                #expect((a == b) == (i == j))
            }
        }
    }

    @Test func describesUnprintableBytes() {
        #expect(Bytes([0x61, 0x00, 0x5c, 0xff]).description == "a\\x00\\x5c\\xff")
    }
}

@Suite struct PRNGTests {
    @Test func theSameSeedGivesTheSameNumbers() {
        var a = PRNG(seed: 7)
        var b = PRNG(seed: 7)
        var c = PRNG(seed: 8)
        let first = (0..<100).map { _ in a.next() }
        #expect(first == (0..<100).map { _ in b.next() })
        #expect(first != (0..<100).map { _ in c.next() })
    }
}
