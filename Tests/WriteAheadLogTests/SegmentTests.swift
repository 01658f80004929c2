import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// Room, retention, recycling.
@Suite struct SegmentTests {
    private let fileSystem = MemoryFileSystem(seed: 1)

    private func large(_ index: UInt64, _ byte: UInt8 = 1) -> WALEntry {
        testEntry(index, payload: Bytes([UInt8](repeating: byte, count: 3000)))
    }

    @Test("A full disk refuses the batch before anything of it was written, and the log goes on once there is room")
    func fullDisk() throws {
        let log = try makeLog(fileSystem)
        fileSystem.setCapacity(bytes: 4096 + 4096 + 1000)
        try log.append([large(1)])
        try log.append([large(2)])
        let writes = fileSystem.operationCount(of: .write)
        for _ in 0..<3 {
            #expect(walError { try log.append([large(3)]) }?.code == .noSpace)
            #expect(walError { try log.prepareNextSegment() }?.code == .noSpace)
        }
        #expect(fileSystem.operationCount(of: .write) == writes)
        #expect(log.failure == nil)
        #expect(log.lastIndex == LogIndex(2))
        // Small appends still fit, and a hard state.
        try log.append([testEntry(3)], hardState: WALHardState(term: Term(1), commit: LogIndex(3)))
        try log.sync()
        #expect(try fileSystem.list("wal").count == 2)
        fileSystem.setCapacity(bytes: 1 << 20)
        try log.append([large(4)])
        try log.close()
        #expect(try openLog(fileSystem).recovered.entries == [large(1), large(2), testEntry(3), large(4)])
    }

    @Test("What was prepared can be used on a full disk")
    func preparedRoom() throws {
        let log = try makeLog(fileSystem, WALOptions(segmentBytes: 4096, retainedBytes: 0))
        while try !log.prepareNextSegment() {}
        fileSystem.setCapacity(bytes: 8192)
        #expect(log.reservedBytes == 4096 - 512 + 4096 - 512)
        try log.append([large(1)])
        try log.append([large(2)])
        #expect(walError { try log.append([large(3)]) }?.code == .noSpace)
        // Cutting the front gives a segment to go on with.
        try log.truncatePrefix(through: LogIndex(1))
        #expect(log.isNextSegmentReady)
        try log.append([large(3)])
        try log.close()
        #expect(try openLog(fileSystem, after: 1).recovered.entries == [large(2), large(3)])
    }

    @Test("Retention keeps so many bytes of what may go", arguments: [0, 4096, 8191, 8192, 20000])
    func retention(retainedBytes: Int) throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: retainedBytes)
        let log = try makeLog(fileSystem, options)
        for index in 1...10 as ClosedRange<UInt64> { try log.append([large(index)]) }
        #expect(log.segmentCount == 10)
        try log.truncatePrefix(through: LogIndex(6))
        let kept = min(retainedBytes / 4096, 6)
        #expect(log.segmentCount == 4 + kept)
        #expect(log.firstIndex == LogIndex(UInt64(7 - kept)))
        #expect(log.term(at: log.firstIndex) == Term(1))
        #expect(log.term(at: LogIndex(log.firstIndex.rawValue - 1)) == (kept == 6 ? .zero : Term(1)))
        let first = log.firstIndex
        #expect(try log.entries(from: first, to: LogIndex(99), bytesMax: .max).count == 4 + kept)
        #expect(log.bytesOnDisk <= (4 + kept + 1) * 4096)
        try log.close()
        let (reopened, recovered) = try openLog(fileSystem, after: 6, options)
        #expect(recovered.entries == [large(7), large(8), large(9), large(10)])
        #expect(reopened.firstIndex == first)
        #expect(reopened.term(at: LogIndex(first.rawValue - 1)) == log.term(at: LogIndex(first.rawValue - 1)))
    }

    @Test("The newest hard state survives the segment it was written in")
    func hardStateSurvives() throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: 0)
        let log = try makeLog(fileSystem, options)
        let state = WALHardState(term: Term(9), vote: MemberID(3), commit: LogIndex(1))
        try log.append([large(1)], hardState: state)
        for index in 2...6 as ClosedRange<UInt64> { try log.append([large(index)]) }
        try log.truncatePrefix(through: LogIndex(6))
        #expect(log.segmentCount == 1)
        try log.close()
        let recovered = try openLog(fileSystem, after: 6, options).recovered
        #expect(recovered.hardState == state)
        #expect(recovered.lastIndex == LogIndex(6))
    }

    @Test("A cut front survives a crash in between", arguments: 0..<40 as Range<UInt64>)
    func cutAndCrash(seed: UInt64) throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: 0, recyclesSegments: seed % 2 == 0)
        for n in 1...12 {
            let fileSystem = MemoryFileSystem(seed: seed)
            let log = try makeLog(fileSystem, options)
            for index in 1...8 as ClosedRange<UInt64> { try log.append([large(index)]) }
            try log.sync()
            let operations = fileSystem.operationCount
            fileSystem.inject(MemoryFault(after: n, forever: true))
            do throws(WALError) {
                try log.truncatePrefix(through: LogIndex(6))
                #expect(fileSystem.operationCount - operations < n)
            } catch {
                #expect(error.code == .failed)
            }
            fileSystem.clearFaults()
            fileSystem.crash()
            let recovered = try openLog(fileSystem, after: 6, options).recovered
            #expect(recovered.entries == [large(7), large(8)])
        }
    }

    @Test("Entries go only when those that replaced them are durable", arguments: 0..<20 as Range<UInt64>)
    func cutOfReplaced(seed: UInt64) throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: 0)
        let fileSystem = MemoryFileSystem(seed: seed)
        let log = try makeLog(fileSystem, options)
        try log.append((1...10).map { testEntry($0) })
        try log.append([large(11)])
        #expect(log.segmentCount == 1)
        let batch = [large(6, 2), large(7, 2)]
        try log.append(batch)
        #expect(log.segmentCount == 2)
        try log.truncatePrefix(through: LogIndex(5))
        #expect(log.segmentCount == 1)
        fileSystem.crash()
        #expect(try openLog(fileSystem, after: 5, options).recovered.entries == batch)
    }

    @Test("Old records in a recycled file, each where the next new one would be, are not taken for new ones")
    func recycledRecords() throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: 0)
        let log = try makeLog(fileSystem, options)
        // 48 bytes each, so that every segment is filled with records at the same places.
        let perSegment: UInt64 = (4096 - 512) / 48
        var index: UInt64 = 0
        while index < perSegment * 20 + 5 {
            index += 1
            try log.append([testEntry(index, term: index / 50 + 1)])
            try log.sync()
            if index % 11 == 0 { try log.truncatePrefix(through: LogIndex(index)) }
            if index % 17 == 0 {
                // A stop at any moment; the tail is followed by old records that are whole.
                let copy = fileSystem.copy(seed: index)
                copy.crash()
                let recovered = try openLog(copy, after: log.firstIndex.rawValue - 1, options).recovered
                #expect(recovered.lastIndex == LogIndex(index))
                #expect(recovered.tornBytes == 0)
            }
        }
        let path = try #require(segmentPaths(fileSystem).last)
        let bytes = try #require(fileSystem.contents(of: path))
        #expect(bytes[12] & 1 == 1, "the last segment was recycled")
        #expect(bytes[4000...].contains { $0 != 0 }, "old records are behind the new ones")
        #expect(log.segmentCount == 1)
    }

    @Test("The same torn at each sector of a recycled file", arguments: 0..<60 as Range<UInt64>)
    func recycledTorn(seed: UInt64) throws {
        let options = WALOptions(segmentBytes: 4096, retainedBytes: 0)
        let fileSystem = MemoryFileSystem(seed: seed)
        let log = try makeLog(fileSystem, options)
        var random = PRNG(seed: seed)
        var index: UInt64 = 0
        while log.statistics.segmentsStarted < 4 || index % 10 != 0 {
            index += 1
            try log.append([testEntry(index, payload: Bytes([UInt8](repeating: 3, count: random.next(in: 0..<60) * 8)))]
            )
            try log.sync()
            try log.truncatePrefix(through: LogIndex(index))
        }
        let durable = index
        let payload = Bytes([UInt8](repeating: 5, count: 300))
        let batch = (durable + 1...durable + 8).map { testEntry($0, payload: payload) }
        try log.append(batch)
        fileSystem.crash()
        let (reopened, recovered) = try openLog(fileSystem, after: durable, options)
        #expect(recovered.lastIndex >= LogIndex(durable))
        #expect(recovered.entries == Array(batch.prefix(recovered.entries.count)))
        let next = testEntry(reopened.lastIndex.rawValue + 1, payload: "next")
        try reopened.append([next])
        try reopened.close()
        #expect(try openLog(fileSystem, after: durable, options).recovered.entries == recovered.entries + [next])
    }

    @Test("A batch that no segment can hold is refused whole")
    func batchTooLarge() throws {
        let log = try makeLog(fileSystem)
        let payload = Bytes([UInt8](repeating: 0, count: 1 << 20))
        let batch = (1...1024).map { testEntry($0, payload: payload) }
        #expect(walError { try log.append(batch) }?.code == .batchTooLarge)
        try log.append([testEntry(1)])
        try log.close()
        #expect(try openLog(fileSystem).recovered.entries == [testEntry(1)])
    }
}
