import Primitives
import Testing

@Suite struct CRC32CTests {
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
