import IOInterfaces
import Primitives
import RaftCore
import ServerCore
import Testing
import WriteAheadLog

@testable import Replica

/// What the log writer owes for batches that were written before the disk was full.
@Suite struct LogWriterTests {
    private static func batch(_ number: UInt64, index: UInt64, bytes: Int, isOwnWord: Bool = true) -> AppendBatch {
        let payload = Bytes([UInt8](repeating: UInt8(number), count: bytes))
        let entry = Entry(term: Term(1), index: LogIndex(index), payload: payload)
        return AppendBatch(
            number: number, hardState: nil, entries: [entry], mustSync: true, messagesAfterAppend: [],
            commitsWhenDurable: isOwnWord)
    }

    private static func refusal(_ writer: LogWriter, _ batches: [AppendBatch], _ written: inout Int) -> WALError? {
        do throws(WALError) {
            _ = try writer.write(batches[...], written: &written)
            return nil
        } catch { return error }
    }

    @Test("Batches written before the disk was full are synced and handed on with the next ones")
    func fullDisk() throws {
        let fileSystem = MemoryFileSystem(seed: 1, capacityBytes: 4096)
        var options = WALOptions(segmentBytes: 4096)
        options.recyclesSegments = false
        let log = try WriteAheadLog.create(
            in: "wal", fileSystem, metadata: WALMetadata(clusterID: 1, memberID: MemberID(1)), salt: 1,
            options: options)
        let writer = LogWriter(log: log)
        var waiting = [
            Self.batch(1, index: 1, bytes: 1000), Self.batch(2, index: 2, bytes: 1000, isOwnWord: false),
            Self.batch(3, index: 3, bytes: 3000), Self.batch(4, index: 4, bytes: 10),
        ]
        for expected in [2, 0] {
            var written = 0
            let refusal = Self.refusal(writer, waiting, &written)
            #expect(refusal?.code == .noSpace)
            #expect(written == expected)
            waiting.removeFirst(written)
        }
        fileSystem.setCapacity(bytes: .max)
        var written = 0
        let rest = try writer.write(waiting[...], written: &written)
        let progress = try #require(rest)
        #expect(written == 2 && progress.durableThrough == 4 && progress.didSync)
        #expect(progress.committed.map(\.index.rawValue) == [1, 3, 4])
        #expect(progress.concernsReplica)
        // Once only.
        written = 0
        let last = try writer.write([Self.batch(5, index: 5, bytes: 1)], written: &written)
        let next = try #require(last)
        #expect(next.committed.map(\.index.rawValue) == [5] && !next.concernsReplica)
        fileSystem.crash()
        let (_, recovered) = try WriteAheadLog.open(in: "wal", fileSystem, after: .zero, options: options)
        #expect(recovered.entries.map(\.index.rawValue) == [1, 2, 3, 4, 5])
    }

    /// A writer on a log with segments of 64 KB, least ones of 4 KB, on a volume of so many bytes.
    private static func smallLog(_ fileSystem: MemoryFileSystem) throws -> LogWriter {
        let log = try WriteAheadLog.create(
            in: "wal", fileSystem, metadata: WALMetadata(clusterID: 1, memberID: MemberID(1)), salt: 1,
            options: WALOptions(segmentBytes: 64 << 10, retainedBytes: 1 << 30))
        return LogWriter(log: log)
    }

    @Test("A write that finds no room gives up the log behind what the store has persisted, and tells it")
    func givesUpRoom() throws {
        let fileSystem = MemoryFileSystem(seed: 1, capacityBytes: 40 << 10)
        let writer = try Self.smallLog(fileSystem)
        var number: UInt64 = 0
        var refused: WALError?
        while refused == nil {
            number += 1
            var written = 0
            refused = Self.refusal(writer, [Self.batch(number, index: number, bytes: 3000)], &written)
        }
        #expect(refused?.code == .noSpace)
        #expect(number > 8)
        #expect(writer.takeNewFirstIndex() == nil)
        // The volume has half of nothing to keep it in.
        let persisted = LogIndex(number - 3)
        let first = try #require(try writer.cut(through: persisted))
        #expect(first > LogIndex(2) && first <= persisted.advanced(by: 1))
        var written = 0
        #expect(Self.refusal(writer, [Self.batch(number, index: number, bytes: 3000)], &written) == nil)
        guard case .logUnavailable = try writer.read(LogRead(from: LogIndex(1), to: LogIndex(2), bytesMax: 1)) else {
            Issue.record("an entry that is gone was read")
            return
        }
        // Kept while there was room, and given up by the write that finds none.
        fileSystem.setCapacity(bytes: 400 << 10)
        for _ in 0..<40 {
            number += 1
            #expect(Self.refusal(writer, [Self.batch(number, index: number, bytes: 3000)], &written) == nil)
        }
        try writer.cut(through: LogIndex(number))
        #expect(writer.bytesOnDisk > 60 << 10)
        fileSystem.setCapacity(bytes: writer.bytesOnDisk)
        var given: LogIndex?
        for _ in 0..<30 where given == nil {
            number += 1
            #expect(Self.refusal(writer, [Self.batch(number, index: number, bytes: 3000)], &written) == nil)
            given = writer.takeNewFirstIndex()
        }
        #expect(try #require(given) > first)
    }

    @Test("The disk is looked at seldom, and when a segment was begun, and all is as before when it has room")
    func looksSeldom() throws {
        let fileSystem = MemoryFileSystem(seed: 1)
        let writer = try Self.smallLog(fileSystem)
        #expect(try writer.reserve(now: 0))
        #expect(writer.isPreparing)
        while try !writer.prepare() {}
        #expect(writer.isPrepared)
        let spare = writer.bytesOnDisk
        fileSystem.setCapacity(bytes: spare + 1000)
        let looks = fileSystem.operationCount(of: .freeBytes)
        for _ in 0..<1000 { #expect(try writer.reserve(now: 999_999_999)) }
        #expect(fileSystem.operationCount(of: .freeBytes) == looks)
        // The large one goes, a small one comes.
        #expect(try writer.reserve(now: 1_000_000_000))
        #expect(writer.bytesOnDisk < spare)
        fileSystem.setCapacity(bytes: 0)
        var number: UInt64 = 0
        var hasRoom = true
        while hasRoom, number < 100 {
            number += 1
            var written = 0
            _ = Self.refusal(writer, [Self.batch(number, index: number, bytes: 1000)], &written)
            #expect(written == 1)
            hasRoom = try writer.reserve(now: 1_000_000_000)
        }
        #expect(!hasRoom)
        let operations = fileSystem.operationCount
        for _ in 0..<1000 { #expect(try !writer.reserve(now: 1_199_999_999)) }
        #expect(fileSystem.operationCount == operations)
        fileSystem.setCapacity(bytes: .max)
        #expect(try writer.reserve(now: 1_200_000_000))
    }
}
