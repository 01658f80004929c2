import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

@Suite struct WriteAheadLogTests {
    private let fileSystem = MemoryFileSystem(seed: 1)

    @Test func roundTrip() throws {
        let log = try makeLog(fileSystem)
        let entries = [
            testEntry(1, kind: 255, payload: ""), testEntry(2, payload: "x"), testEntry(3, term: 2, payload: "\0\u{1}"),
        ]
        let state = WALHardState(term: Term(2), vote: MemberID(7), commit: LogIndex(2))
        try log.append(entries, hardState: state)
        try log.sync()
        #expect(try log.entries(from: LogIndex(1), to: LogIndex(4), bytesMax: .max) == entries)
        try log.close()
        for after in 0...3 {
            let recovered = try openLog(fileSystem, after: UInt64(after)).recovered
            #expect(recovered.entries == Array(entries[after...]))
            #expect(recovered.hardState == state)
            #expect(recovered.metadata == testMetadata)
            #expect(recovered.firstIndex == LogIndex(1))
            #expect(recovered.lastIndex == LogIndex(3))
            #expect(recovered.tornBytes == 0)
        }
    }

    @Test func openOfNothingAndCreateTwice() throws {
        #expect(try !WriteAheadLog.exists(in: "wal", fileSystem))
        #expect(walError { _ = try openLog(fileSystem) }?.code == .notFound)
        try makeLog(fileSystem).close()
        #expect(try WriteAheadLog.exists(in: "wal", fileSystem))
        #expect(walError { _ = try makeLog(fileSystem) }?.code == .alreadyExists)
    }

    @Test("A created log is there after any crash", arguments: 0..<20 as Range<UInt64>)
    func createIsDurable(seed: UInt64) throws {
        let fileSystem = MemoryFileSystem(seed: seed)
        _ = try makeLog(fileSystem)
        fileSystem.crash()
        #expect(try openLog(fileSystem).recovered.lastIndex == .zero)
    }

    @Test func startsBehindASnapshot() throws {
        let start = WALPosition(index: LogIndex(100), term: Term(4))
        let state = WALHardState(term: Term(4), vote: .none, commit: LogIndex(100))
        let log = try WriteAheadLog.create(
            in: "wal", fileSystem, metadata: testMetadata, salt: 1, start: start, hardState: state)
        #expect(log.firstIndex == LogIndex(101))
        #expect(log.term(at: LogIndex(100)) == Term(4))
        #expect(log.term(at: LogIndex(101)) == nil)
        try log.append([testEntry(101, term: 5)])
        try log.close()
        let recovered = try openLog(fileSystem, after: 100).recovered
        #expect(recovered.entries == [testEntry(101, term: 5)])
        #expect(recovered.hardState == state)
        #expect(walError { _ = try openLog(fileSystem, after: 99) }?.code == .gap)
    }

    @Test func rollsOver() throws {
        let log = try makeLog(fileSystem)
        var entries: [WALEntry] = []
        for index in 1...200 as ClosedRange<UInt64> {
            let entry = testEntry(
                index, term: index / 50 + 1, payload: Bytes([UInt8](repeating: UInt8(index), count: 300)))
            entries.append(entry)
            try log.append([entry], hardState: WALHardState(term: entry.term, commit: LogIndex(index)))
            if index % 3 == 0 { try log.sync() }
            if index % 2 == 0 { try log.prepareNextSegment() }
        }
        try log.sync()
        #expect(log.segmentCount > 15)
        for index in 1...200 { #expect(log.term(at: LogIndex(UInt64(index))) == entries[index - 1].term) }
        #expect(try log.entries(from: LogIndex(1), to: LogIndex(201), bytesMax: .max) == entries)
        #expect(try log.entries(from: LogIndex(77), to: LogIndex(150), bytesMax: 900) == Array(entries[76..<79]))
        #expect(try log.entries(from: LogIndex(77), to: LogIndex(150), bytesMax: 1) == [entries[76]])
        #expect(try log.entries(from: LogIndex(201), to: LogIndex(300), bytesMax: 1) == [])
        fileSystem.crash()
        let recovered = try openLog(fileSystem, after: 150).recovered
        #expect(recovered.entries == Array(entries[150...]))
    }

    @Test("A batch that is larger than a segment gets one of its own size")
    func largeBatch() throws {
        let log = try makeLog(fileSystem)
        let entries = (1...5 as ClosedRange<UInt64>).map {
            testEntry($0, payload: Bytes([UInt8](repeating: UInt8($0), count: 10000)))
        }
        try log.append(entries)
        try log.append([testEntry(6)])
        try log.close()
        #expect(try openLog(fileSystem).recovered.entries == entries + [testEntry(6)])
    }

    @Test("A later entry replaces an earlier one and all behind it, over segments too", arguments: [512, 30000])
    func overwrites(segmentBytes: Int) throws {
        let options = WALOptions(segmentBytes: segmentBytes, indexStrideBytes: 100)
        let log = try makeLog(fileSystem, options)
        try log.append((1...40).map { testEntry($0, term: 1, payload: Bytes([UInt8](repeating: 1, count: 150))) })
        try log.append((20...30).map { testEntry($0, term: 2, payload: Bytes([UInt8](repeating: 2, count: 400))) })
        try log.append((31...33).map { testEntry($0, term: 3) })
        try log.append((25...26).map { testEntry($0, term: 4) })
        #expect(log.lastIndex == LogIndex(26))
        let terms = [Term](repeating: Term(1), count: 19) + [Term](repeating: Term(2), count: 5) + [Term(4), Term(4)]
        let read = try log.entries(from: LogIndex(1), to: LogIndex(99), bytesMax: .max)
        #expect(read.map(\.term) == terms)
        #expect(read.map(\.index.rawValue) == Array(1...26))
        #expect((1...26).map { log.term(at: LogIndex($0)) } == terms)
        #expect(log.term(at: LogIndex(27)) == nil)
        try log.close()
        for after in [0, 19, 22, 24, 26] {
            let recovered = try openLog(fileSystem, after: UInt64(after), options).recovered
            #expect(recovered.entries == Array(read[after...]))
        }
    }

    @Test func restartsBehindASnapshot() throws {
        let log = try makeLog(fileSystem)
        try log.append((1...5).map { testEntry($0) })
        let position = WALPosition(index: LogIndex(70), term: Term(3))
        let state = WALHardState(term: Term(3), vote: .none, commit: LogIndex(70))
        try log.restart(after: position, hardState: state)
        #expect(log.lastIndex == LogIndex(70))
        #expect(log.term(at: LogIndex(70)) == Term(3))
        #expect(walError { _ = try log.entries(from: LogIndex(5), to: LogIndex(6), bytesMax: 1) }?.code == .compacted)
        try log.append([testEntry(71, term: 3)])
        try log.close()
        let (reopened, recovered) = try openLog(fileSystem, after: 70)
        #expect(recovered.entries == [testEntry(71, term: 3)])
        #expect(recovered.hardState == state)
        #expect(reopened.term(at: LogIndex(70)) == Term(3))
        #expect(walError { _ = try openLog(fileSystem, after: 5) }?.code == .gap)
    }

    @Test("A store that is ahead of the log, as after a snapshot, is told so")
    func storeAhead() throws {
        let log = try makeLog(fileSystem)
        try log.append((1...5).map { testEntry($0) })
        try log.close()
        let recovered = try openLog(fileSystem, after: 70).recovered
        #expect(recovered.lastIndex == LogIndex(5))
        #expect(recovered.entries.isEmpty)
    }

    @Test func refusesAfterClose() throws {
        let log = try makeLog(fileSystem)
        try log.close()
        try log.close()
        #expect(walError { try log.append([testEntry(1)]) }?.code == .closed)
        #expect(walError { try log.sync() }?.code == .closed)
    }

    @Test("A batch is one write, a sync one sync, and a sync of nothing none")
    func countsOperations() throws {
        let log = try makeLog(fileSystem, WALOptions(segmentBytes: 1 << 20))
        let writes = fileSystem.operationCount(of: .write)
        let syncs = fileSystem.operationCount(of: .sync)
        try log.append((1...100).map { testEntry($0) }, hardState: WALHardState(term: Term(1), commit: LogIndex(100)))
        try log.sync()
        try log.sync()
        try log.append([])
        #expect(fileSystem.operationCount(of: .write) == writes + 1)
        #expect(fileSystem.operationCount(of: .sync) == syncs + 1)
    }

    @Test("The next segment is made ready in steps, and then rolling over needs no preparation")
    func preparesAhead() throws {
        let log = try makeLog(fileSystem)
        #expect(!log.isNextSegmentReady)
        #expect(try !log.prepareNextSegment(bytesMax: 4000))
        #expect(log.reservedBytes >= 7000)
        #expect(try log.prepareNextSegment(bytesMax: 4000))
        #expect(log.isNextSegmentReady)
        let preallocations = fileSystem.operationCount(of: .preallocate)
        try log.append([testEntry(1, payload: Bytes([UInt8](repeating: 1, count: 3000)))])
        try log.append([testEntry(2, payload: Bytes([UInt8](repeating: 1, count: 3000)))])
        #expect(log.segmentCount == 2)
        #expect(fileSystem.operationCount(of: .preallocate) == preallocations)
        #expect(!log.isNextSegmentReady)
    }
}
