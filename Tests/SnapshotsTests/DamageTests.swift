import MVCC
import Primitives
import Testing

@testable import Snapshots

/// What disks, networks and people do to files: whatever it is, it is noticed, and nothing traps.
@Suite struct DamageTests {
    /// A small snapshot with several frames of each kind.
    private static func small(seed: UInt64 = 21, level: Int32 = 1) throws -> [UInt8] {
        var fixture = try Fixture(seed: seed)
        fixture.valueBytesMax = 60
        fixture.keyCount = 6
        try fixture.run(entries: 25)
        return try fixture.snapshot(.make(level: level, frameBytes: 300))
    }

    private static func mixed(seed: UInt64) throws -> [UInt8] {
        var fixture = try Fixture(seed: seed)
        fixture.valueBytesMax = 60
        fixture.keyCount = 6
        try fixture.run(entries: 25)
        return try fixture.mixedSnapshot(frameBytes: 300)
    }

    @Test func everyTruncationIsNoticed() throws {
        let bytes = try Self.small()
        #expect(fault(bytes) == nil)
        for count in 0..<bytes.count {
            let found = fault(Array(bytes[..<count]))
            #expect(found == .truncated(offset: UInt64(count)), "\(count) bytes of \(bytes.count)")
        }
    }

    @Test(arguments: [0, 1, nil] as [Int32?])
    func everyFlippedBitIsNoticed(level: Int32?) throws {
        var bytes = try level.map { try Self.small(level: $0) } ?? Self.mixed(seed: 21)
        for index in bytes.indices {
            for bit in 0..<8 as Range<UInt8> {
                bytes[index] ^= 1 << bit
                #expect(fault(bytes) != nil, "bit \(bit) of byte \(index)")
                bytes[index] ^= 1 << bit
            }
        }
    }

    @Test(arguments: 0..<300 as Range<UInt64>)
    func everyMutationIsNoticed(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let original =
            seed % 4 == 3 ? try Self.mixed(seed: seed % 10) : try Self.small(seed: seed % 10, level: Int32(seed % 4))
        for _ in 0..<20 {
            var bytes = original
            for _ in 0..<random.next(in: 1..<4) { Self.mutate(&bytes, &random) }
            if bytes == original { continue }
            // A valid stream and 32 bytes is a stream with a digest: that is the form of a saved file.
            let isDigest = bytes.count == original.count + 32 && bytes.starts(with: original)
            if !isDigest { #expect(fault(bytes) != nil) }
            var target = random
            #expect(throws: (any Error).self) {
                let backend = MemoryBackend()
                _ = try restore(bytes, into: backend, &target)
                if isDigest { throw SnapshotError.notSnapshot }
            }
        }
    }

    private static func mutate(_ bytes: inout [UInt8], _ random: inout PRNG) {
        guard bytes.count > 1 else { return }
        let at = random.next(in: 0..<bytes.count)
        let count = min(bytes.count - at, random.next(in: 1..<200))
        switch random.next(in: 0..<7) {
        case 0: bytes[at] = UInt8(random.next(in: 0..<256))
        case 1: bytes.removeSubrange(at..<(at + count))
        case 2: bytes.insert(contentsOf: bytes[at..<(at + count)], at: random.next(in: 0..<bytes.count))
        case 3: bytes.removeLast(count)
        case 4: bytes.append(contentsOf: (0..<count).map { _ in UInt8(random.next(in: 0..<256)) })
        case 5: for index in at..<(at + count) { bytes[index] = 0 }
        default:
            let other = random.next(in: 0..<bytes.count - count + 1)
            for index in 0..<count { bytes[other + index] = bytes[at + index] }
        }
    }

    /// Where the frames of a stream begin and end.
    private static func frames(_ bytes: [UInt8]) throws -> [Range<Int>] {
        var result: [Range<Int>] = []
        var position = SnapshotFormat.headerBytes
        while bytes[position] != 0 {
            let body = bytes.withUnsafeBytes { Int(SnapshotFormat.load($0, position + 8) as UInt32) }
            let end = position + SnapshotFormat.frameHeaderBytes + body
            result.append(position..<end)
            if bytes[position] == SnapshotFormat.kindEnd { break }
            position = end
        }
        return result
    }

    /// Each frame is whole: only the chain tells.
    @Test func framesDroppedRepeatedOrExchangedAreNoticedAtOnce() throws {
        let bytes = try Self.small()
        let frames = try Self.frames(bytes)
        #expect(frames.count >= 4)
        for (index, frame) in frames.enumerated() {
            var dropped = bytes
            dropped.removeSubrange(frame)
            if index < frames.count - 1 {
                #expect(isDamaged(dropped, at: frame.lowerBound), "frame \(index) dropped")
            } else {
                #expect(fault(dropped) != nil)
            }
            var repeated = bytes
            repeated.insert(contentsOf: bytes[frame], at: frame.upperBound)
            #expect(fault(repeated) != nil, "frame \(index) repeated")
            guard index + 1 < frames.count else { continue }
            var exchanged = bytes
            exchanged.replaceSubrange(
                frame.lowerBound..<frames[index + 1].upperBound, with: bytes[frames[index + 1]] + bytes[frame])
            #expect(isDamaged(exchanged, at: frame.lowerBound), "frames \(index) and the next exchanged")
        }
    }

    private func isDamaged(_ bytes: [UInt8], at offset: Int) -> Bool {
        if case .damaged(UInt64(offset), _)? = fault(bytes) { true } else { false }
    }

    /// An image whose frames come from another snapshot of the same store.
    @Test func framesOfAnotherSnapshotAreNoticed() throws {
        var fixture = try Fixture(seed: 22)
        try fixture.run(entries: 30)
        let old = try fixture.snapshot()
        try fixture.run(entries: 1)
        let new = try fixture.snapshot()
        let mixed = old[..<SnapshotFormat.headerBytes] + new[SnapshotFormat.headerBytes...]
        #expect(fault(Array(mixed)) != nil)
    }

    /// Contents that are wrong behind checksums that are right, as only a program could write them.
    @Test(arguments: 0..<400 as Range<UInt64>)
    func hostileContentsNeverTrap(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let bytes = try Self.small(seed: seed % 10, level: 0)
        var result = Array(bytes[..<SnapshotFormat.headerBytes])
        var chain: UInt32 = bytes.withUnsafeBytes { SnapshotFormat.load($0, 76) }
        for frame in try Self.frames(bytes) {
            var body = Array(bytes[frame].dropFirst(SnapshotFormat.frameHeaderBytes))
            var items = bytes.withUnsafeBytes { Int(SnapshotFormat.load($0, frame.lowerBound + 12) as UInt32) }
            if random.chance(oneIn: 2) { Self.mutate(&body, &random) }
            if random.chance(oneIn: 8) { items = random.next(in: 0..<1 << 32) }
            var encoding = SnapshotFormat.encodingPlain
            if random.chance(oneIn: 8) { encoding = SnapshotFormat.encodingZlib }
            let kind = random.chance(oneIn: 10) ? UInt8(random.next(in: 0..<5)) : bytes[frame.lowerBound]
            var content = encoding == SnapshotFormat.encodingZlib ? body.count * 3 : body.count
            if random.chance(oneIn: 20) { content = random.next(in: 0..<1 << 24) }
            var header = SnapshotFormat.FrameHeader(
                kind: kind, encoding: encoding, contentBytes: content, bodyBytes: body.count, itemCount: items,
                bodyChecksum: body.withUnsafeBytes { CRC32C.checksum($0) })
            var head = [UInt8](repeating: 0, count: SnapshotFormat.frameHeaderBytes)
            head.withUnsafeMutableBytes { header.write(to: $0, chain: chain) }
            chain = header.chainChecksum
            result += head + body
        }
        result += [UInt8](repeating: 0, count: SnapshotFormat.padding(after: UInt64(result.count)))
        let isSame = result == bytes
        #expect((fault(result) == nil) == isSame, "the totals catch what the rest does not")
    }

    @Test func errorsSayWhatIsWrong() throws {
        let bytes = try Self.small()
        #expect(fault([]) == .truncated(offset: 0))
        #expect(fault(Array("not a snapshot".utf8)) == .notSnapshot)
        #expect(fault([0]) == .notSnapshot)
        var later = bytes
        later[8] = 9
        #expect(fault(later) == .unsupportedVersion(9))
        let frames = try Self.frames(bytes)
        var damaged = bytes
        damaged[frames[1].lowerBound + SnapshotFormat.frameHeaderBytes] ^= 1
        #expect(isDamaged(damaged, at: frames[1].lowerBound + SnapshotFormat.frameHeaderBytes))
        var padded = bytes
        padded[bytes.count - 1] = 1
        #expect(isDamaged(padded, at: bytes.count - 1))
        // A reader stays with what it found.
        let reader = SnapshotReader()
        Array("garbage".utf8).withUnsafeBytes { reader.append($0) }
        for _ in 0..<2 { #expect(throws: SnapshotError.notSnapshot) { try reader.next() } }
        #expect(throws: SnapshotError.notSnapshot) { try reader.finish() }
    }

    @Test func aDigestMayFollow() throws {
        let bytes = try Self.small()
        let digest = (0..<32).map { UInt8($0) }
        let status = try inspect(bytes + digest)
        #expect(status.digest == Bytes(digest) && status.streamBytes == UInt64(bytes.count))
        #expect(fault(bytes + digest.dropLast()) == .truncated(offset: UInt64(bytes.count + 31)))
        #expect(isDamaged(bytes + digest + [0], at: bytes.count + 32))
    }
}
