import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// Damaged files: found out, or harmless; never a wrong entry and never a trap.
@Suite struct DamageTests {
    /// A log of a few segments and what it holds.
    struct Sample {
        let fileSystem: MemoryFileSystem
        let entries: [WALEntry]

        /// `close`: whether the log was closed in order.
        init(seed: UInt64, count: Int, segmentBytes: Int, recycled: Bool = false, close: Bool) throws {
            var random = PRNG(seed: seed)
            fileSystem = MemoryFileSystem(seed: seed)
            let options = WALOptions(segmentBytes: segmentBytes, retainedBytes: 0, indexStrideBytes: 512)
            let log = try makeLog(fileSystem, options, salt: seed)
            var entries: [WALEntry] = []
            for i in 0..<count {
                let index = UInt64(i) + 1
                // Ends in something other than zero: what a torn write leaves does.
                let payload = Bytes((0..<random.next(in: 1..<400)).map { _ in UInt8(random.next(in: 1..<256)) })
                entries.append(testEntry(index, term: index / 7 + 1, payload: payload))
                if recycled { try log.truncatePrefix(through: LogIndex(index / 2)) }
                try log.append(
                    [entries[i]], hardState: i % 3 == 0 ? WALHardState(term: Term(index / 7 + 1), commit: .zero) : nil)
                try log.sync()
            }
            self.entries = entries
            if close { try log.close() }
        }

        /// What recovery gives; nil when it refuses. Whatever it gives is a first part of what was appended.
        func recover(_ damaged: MemoryFileSystem, after: LogIndex) throws -> (entries: [WALEntry], torn: Int)? {
            let recovered: WALRecovered
            do throws(WALError) {
                recovered = try WriteAheadLog.open(
                    in: "wal", damaged, expecting: testMetadata, after: after, options: WALOptions(segmentBytes: 4096)
                ).recovered
            } catch {
                #expect(error.code != .failed)
                #expect(error.file != nil)
                return nil
            }
            let expected = entries.drop { $0.index <= after }.prefix(recovered.entries.count)
            #expect(recovered.entries == Array(expected))
            return (recovered.entries, recovered.tornBytes)
        }

        /// The first index that is left, less one.
        func base() throws -> LogIndex {
            let name = try #require(segmentPaths(fileSystem).first)
            return LogIndex(try #require(UInt64(name.dropLast(4).suffix(16), radix: 16)) - 1)
        }
    }

    @Test("The last segment cut off at every length")
    func everyTruncation() throws {
        let sample = try Sample(seed: 3, count: 30, segmentBytes: 4096, close: false)
        let paths = try segmentPaths(sample.fileSystem)
        #expect(paths.count > 1)
        for path in paths {
            let bytes = try #require(sample.fileSystem.contents(of: path))
            var recoveredMost = 0
            for length in 0..<bytes.count {
                let damaged = sample.fileSystem.copy(seed: 1)
                damaged.replaceContents(of: path, with: Array(bytes[..<length]))
                let result = try sample.recover(damaged, after: .zero)
                if length < 512 { #expect(result == nil) }
                recoveredMost = max(recoveredMost, result?.entries.count ?? 0)
            }
            #expect(recoveredMost == sample.entries.count)
        }
    }

    @Test("A log closed in order notices a flip of any bit that matters", arguments: [false, true])
    func everyFlipAfterClose(recycled: Bool) throws {
        let sample = try Sample(seed: 5, count: 40, segmentBytes: 4096, recycled: recycled, close: true)
        let base = try sample.base()
        #expect(recycled == (base > .zero))
        let all = sample.entries.drop { $0.index <= base }.count
        var refused = 0
        for path in try segmentPaths(sample.fileSystem) {
            let bytes = try #require(sample.fileSystem.contents(of: path))
            for offset in bytes.indices {
                let damaged = sample.fileSystem.copy(seed: 1)
                damaged.flipBit(in: path, atByte: offset, bit: offset % 8)
                guard let result = try sample.recover(damaged, after: base) else {
                    refused += 1
                    continue
                }
                #expect(result.entries.count == all, "byte \(offset) of \(path)")
                #expect(offset >= 512)
            }
        }
        #expect(refused > 4096)
    }

    @Test("Without an orderly end, only the last append can be taken for torn", arguments: [false, true])
    func everyFlipAfterCrash(recycled: Bool) throws {
        let sample = try Sample(seed: 8, count: 40, segmentBytes: 4096, recycled: recycled, close: false)
        let base = try sample.base()
        let all = sample.entries.drop { $0.index <= base }.count
        var taken = 0
        for path in try segmentPaths(sample.fileSystem) {
            let bytes = try #require(sample.fileSystem.contents(of: path))
            for offset in bytes.indices {
                let damaged = sample.fileSystem.copy(seed: 1)
                damaged.flipBit(in: path, atByte: offset, bit: offset % 8)
                guard let result = try sample.recover(damaged, after: base) else { continue }
                #expect(result.entries.count >= all - 1, "byte \(offset) of \(path)")
                if result.entries.count < all { taken += 1 }
            }
        }
        // In a file of zeros nearly every flip is told from a torn write.
        if recycled { #expect(taken > 0) } else { #expect(taken < 4) }
    }

    @Test("Files mutated at random", arguments: 0..<150 as Range<UInt64>)
    func fuzz(seed: UInt64) throws {
        let sample = try Sample(
            seed: seed % 5, count: 30, segmentBytes: 4096, recycled: seed % 2 == 0, close: seed % 3 == 0)
        let base = try sample.base()
        let paths = try segmentPaths(sample.fileSystem)
        var random = PRNG(seed: seed)
        for _ in 0..<20 {
            let damaged = sample.fileSystem.copy(seed: 1)
            for _ in 0...random.next(in: 0..<3) {
                let path = paths[random.next(in: 0..<paths.count)]
                var bytes = try #require(damaged.contents(of: path))
                mutate(&bytes, with: try #require(sample.fileSystem.contents(of: paths[0])), &random)
                damaged.replaceContents(of: path, with: bytes)
            }
            _ = try sample.recover(damaged, after: base)
        }
    }

    private func mutate(_ bytes: inout [UInt8], with other: [UInt8], _ random: inout PRNG) {
        if bytes.isEmpty { return }
        let at = random.next(in: 0..<bytes.count)
        let count = random.next(in: 0..<min(700, bytes.count - at) + 1)
        switch random.next(in: 0..<7) {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: for i in at..<at + count { bytes[i] = UInt8(truncatingIfNeeded: random.next()) }
        case 2: for i in at..<at + count { bytes[i] = 0 }
        case 3:
            // A part of another segment, in its place or elsewhere.
            let from = random.chance(oneIn: 2) ? at : random.next(in: 0..<other.count) & ~7
            let part = other[min(from, other.count)..<min(from + count, other.count)]
            bytes.replaceSubrange(at..<at + min(part.count, bytes.count - at), with: part.prefix(bytes.count - at))
        case 4:
            // A part of the same segment elsewhere.
            let to = random.next(in: 0..<bytes.count - count + 1) & ~7
            bytes.replaceSubrange(to..<to + count, with: Array(bytes[at..<at + count]))
        case 5: bytes.removeLast(count)
        default: bytes += [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: count)
        }
    }

    @Test func missingSegment() throws {
        let sample = try Sample(seed: 3, count: 40, segmentBytes: 4096, close: true)
        let paths = try segmentPaths(sample.fileSystem)
        #expect(paths.count >= 3)
        try sample.fileSystem.remove(paths[1])
        let error = walError { _ = try openLog(sample.fileSystem) }
        #expect(error?.code == .missingSegment)
        #expect(error?.file == paths[2])
        try sample.fileSystem.remove(paths[0])
        #expect(walError { _ = try openLog(sample.fileSystem) }?.code == .gap)
    }

    @Test func damagedMiddleNamesFileAndOffset() throws {
        let sample = try Sample(seed: 3, count: 40, segmentBytes: 4096, close: true)
        let path = try segmentPaths(sample.fileSystem)[0]
        sample.fileSystem.flipBit(in: path, atByte: 512 + 40, bit: 0)
        let error = walError { _ = try openLog(sample.fileSystem) }
        #expect(error?.code == .corrupt)
        #expect(error?.file == path)
        #expect(error?.offset == 512)
        #expect(error?.description.contains("\(path), offset 512") == true)
    }

    @Test("A record in the place of another of its own segment does not follow the chain")
    func movedRecord() throws {
        let fileSystem = MemoryFileSystem(seed: 1)
        let log = try makeLog(fileSystem)
        try log.append((1...4).map { testEntry($0) })
        try log.sync()
        let path = try segmentPaths(fileSystem)[0]
        var bytes = try #require(fileSystem.contents(of: path))
        bytes.replaceSubrange(512 + 96..<512 + 144, with: Array(bytes[512 + 48..<512 + 96]))
        fileSystem.replaceContents(of: path, with: bytes)
        let error = walError { _ = try openLog(fileSystem) }
        #expect(error?.code == .corrupt)
        #expect(error?.offset == 512 + 96)
    }

    @Test func foreignFiles() throws {
        let sample = try Sample(seed: 3, count: 10, segmentBytes: 4096, close: true)
        let path = try segmentPaths(sample.fileSystem)[0]
        let bytes = try #require(sample.fileSystem.contents(of: path))
        func code(_ change: (MemoryFileSystem) throws -> Void) throws -> WALError.Code? {
            let damaged = sample.fileSystem.copy(seed: 1)
            try change(damaged)
            return walError { _ = try openLog(damaged) }?.code
        }
        #expect(try code { $0.flipBit(in: path, atByte: 0, bit: 0) } == .wrongMagic)
        #expect(try code { $0.flipBit(in: path, atByte: 8, bit: 5) } == .wrongVersion)
        #expect(try code { $0.flipBit(in: path, atByte: 100, bit: 5) } == .corrupt)
        #expect(try code { $0.replaceContents(of: path, with: Array(bytes[..<100])) } == .corrupt)
        #expect(try code { try $0.rename(path, to: "wal/0000000000000002-0000000000000001.wal") } == .corrupt)
        #expect(try code { _ = try $0.open("wal/other.wal", .create) } == .wrongMagic)
        let other = WALMetadata(clusterID: 1, memberID: MemberID(7))
        let error = walError {
            _ = try WriteAheadLog.open(in: "wal", sample.fileSystem, expecting: other, after: .zero)
        }
        #expect(error?.code == .wrongMember)
    }

    @Test("A torn append is cut off, and reported")
    func tornTail() throws {
        let sample = try Sample(seed: 3, count: 10, segmentBytes: 16384, close: false)
        let path = try #require(segmentPaths(sample.fileSystem).last)
        var bytes = try #require(sample.fileSystem.contents(of: path))
        let end = try #require(bytes.lastIndex { $0 != 0 }) + 1
        for i in end - 30..<end { bytes[i] = 0 }
        sample.fileSystem.replaceContents(of: path, with: bytes)
        let (log, recovered) = try openLog(sample.fileSystem)
        #expect(recovered.entries.count >= 9)
        #expect(recovered.tornBytes > 0)
        #expect(recovered.tornAt?.hasPrefix("\(path) at offset ") == true)
        let next = testEntry(log.lastIndex.rawValue + 1)
        try log.append([next])
        try log.close()
        let again = try openLog(sample.fileSystem).recovered
        #expect(again.entries == recovered.entries + [next])
        #expect(again.tornBytes == 0)
    }

    @Test("A record that can not be read back is an error, not an entry")
    func damageUnderTheOpenLog() throws {
        let fileSystem = MemoryFileSystem(seed: 1)
        let log = try makeLog(fileSystem)
        try log.append([testEntry(1), testEntry(2)])
        try log.sync()
        let path = try segmentPaths(fileSystem)[0]
        fileSystem.flipBit(in: path, atByte: 512 + 48 + 41, bit: 3)
        #expect(try log.entries(from: LogIndex(1), to: LogIndex(2), bytesMax: 1) == [testEntry(1)])
        let error = walError { _ = try log.entries(from: LogIndex(1), to: LogIndex(3), bytesMax: 100) }
        #expect(error?.code == .corrupt)
        #expect(error?.offset == 512 + 48)
    }
}
