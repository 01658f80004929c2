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
}
