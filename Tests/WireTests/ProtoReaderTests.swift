import Primitives
import Testing

@testable import Wire

@Suite struct ProtoReaderTests {
    private func read<R>(_ bytes: [UInt8], _ body: (inout ProtoReader) throws -> R) rethrows -> R {
        try bytes.withUnsafeBytes {
            var reader = ProtoReader($0)
            return try body(&reader)
        }
    }

    @Test(arguments: [0, 1, 127, 128, 16_383, 16_384, 1 << 31, 1 << 32, 1 << 63, .max] as [UInt64])
    func varintsSurvive(_ value: UInt64) throws {
        let bytes = Bytes(count: ProtoSize.varint(value)) { buffer in
            var writer = ProtoWriter(buffer)
            writer.varint(value)
            writer.finish()
        }
        #expect(try read(bytes.array) { try $0.varint() } == value)
    }

    @Test func varintSizesAreExactAtEveryBit() {
        #expect(ProtoSize.varint(0) == 1)
        for bit in 0..<64 {
            let (low, high) = (UInt64(1) << UInt64(bit), (UInt64.max >> UInt64(63 - bit)))
            #expect(ProtoSize.varint(low) == bit / 7 + 1)
            #expect(ProtoSize.varint(high) == bit / 7 + 1)
        }
    }

    @Test func longFormsOfSmallNumbersAreRead() throws {
        #expect(try read([0x81, 0x80, 0x80, 0x00]) { try $0.varint() } == 1)
    }

    @Test func numbersBeyond64BitsAreRefused() {
        let fits = [UInt8](repeating: 0xff, count: 9) + [0x01]
        #expect(throws: Never.self) { try read(fits) { try $0.varint() } }
        let over = [UInt8](repeating: 0xff, count: 9) + [0x02]
        #expect(throws: WireError.varintOverflow(offset: 0)) { try read(over) { try $0.varint() } }
        let endless = [UInt8](repeating: 0x80, count: 11)
        #expect(throws: WireError.varintOverflow(offset: 0)) { try read(endless) { try $0.varint() } }
        #expect(throws: WireError.truncated(offset: 0)) { try read([0x80]) { try $0.varint() } }
        #expect(throws: WireError.truncated(offset: 0)) { try read([]) { try $0.varint() } }
    }

    @Test func lengthsThatLieAreRefused() {
        #expect(throws: WireError.truncated(offset: 1)) { try read([0x03, 1, 2]) { try $0.bytes() } }
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01] as [UInt8]
        #expect(throws: WireError.truncated(offset: 10)) { try read(huge) { try $0.bytes() } }
        let mostPositive = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f] as [UInt8]
        #expect(throws: WireError.truncated(offset: 9)) { try read(mostPositive) { try $0.bytes() } }
    }

    @Test func tagsAreChecked() throws {
        #expect(throws: WireError.invalidFieldNumber(offset: 0)) { try read([0x00]) { try $0.nextField() } }
        #expect(throws: WireError.invalidFieldNumber(offset: 0)) { try read([0x02]) { try $0.nextField() } }
        #expect(throws: WireError.invalidWireType(offset: 0)) { try read([0x0e]) { try $0.nextField() } }
        #expect(throws: WireError.invalidWireType(offset: 0)) { try read([0x0f]) { try $0.nextField() } }
        #expect(throws: WireError.unbalancedGroup(offset: 1)) { try read([0x0c]) { try $0.nextField() } }
        let wide = [0x80, 0x80, 0x80, 0x80, 0x10] as [UInt8]
        #expect(throws: WireError.varintOverflow(offset: 0)) { try read(wide) { try $0.nextField() } }
        #expect(try read([]) { try $0.nextField() } == nil)
        let highest = try read([0xf8, 0xff, 0xff, 0xff, 0x0f]) { try $0.nextField() }
        #expect(highest?.number == 536_870_911)
        #expect(highest?.wireType == .varint)
    }

    private func skipAllOf(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try skipAll($0) } }

    @Test func unknownFieldsOfEveryWireTypeAreSkipped() throws {
        try skipAllOf([0x08, 0x96, 0x01] + [0x11, 1, 2, 3, 4, 5, 6, 7, 8] + [0x1a, 2, 9, 9] + [0x25, 1, 2, 3, 4])
        // A group of field 5 with a varint, a nested group of field 6 and bytes within.
        try skipAllOf([0x2b, 0x08, 0x01, 0x33, 0x0a, 0x01, 0x00, 0x34, 0x2c])
        #expect(throws: WireError.truncated(offset: 1)) { try skipAllOf([0x11, 1, 2, 3, 4, 5, 6, 7]) }
        #expect(throws: WireError.truncated(offset: 1)) { try skipAllOf([0x25, 1, 2, 3]) }
    }

    @Test func groupsMustBalance() {
        #expect(throws: WireError.unbalancedGroup(offset: 1)) { try skipAllOf([0x2b, 0x34]) }
        #expect(throws: WireError.truncated(offset: 1)) { try skipAllOf([0x2b]) }
        let deepest = ProtoLimits.groupDepthMax
        let nested = [UInt8](repeating: 0x2b, count: deepest) + [UInt8](repeating: 0x2c, count: deepest)
        #expect(throws: Never.self) { try skipAllOf(nested) }
        #expect(throws: WireError.nestingTooDeep(offset: deepest)) {
            try skipAllOf([UInt8](repeating: 0x2b, count: 1_000_000))
        }
    }

    @Test func stringsMustBeUTF8() throws {
        #expect(try read([3, 0xe6, 0xbc, 0xa2]) { try $0.string() } == "漢")
        #expect(throws: WireError.invalidUTF8(offset: 0)) { try read([2, 0xc0, 0x80]) { try $0.string() } }
    }
}
