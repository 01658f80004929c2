import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// Whose log a directory holds, where it begins, and the terms it knows.
@Suite struct OriginTests {
    private let fileSystem = MemoryFileSystem(seed: 1)

    @Test func nothingThenALog() throws {
        #expect(try WriteAheadLog.origin(in: "wal", fileSystem) == nil)
        let start = WALPosition(index: LogIndex(9), term: Term(3))
        try WriteAheadLog.create(
            in: "wal", fileSystem, metadata: testMetadata, salt: 1, start: start,
            hardState: WALHardState(term: Term(3), commit: LogIndex(9))
        ).close()
        let origin = try #require(try WriteAheadLog.origin(in: "wal", fileSystem))
        #expect(origin.metadata == testMetadata && origin.start == start)
    }

    @Test func damagedHeaders() throws {
        try makeLog(fileSystem).close()
        let path = "wal/" + (try #require(try fileSystem.list("wal").first { $0.hasSuffix(".wal") }))
        let bytes = try #require(fileSystem.contents(of: path))
        for offset in stride(from: 0, to: 512, by: 7) {
            var damaged = bytes
            damaged[offset] ^= 1
            fileSystem.replaceContents(of: path, with: damaged)
            let error = walError { _ = try WriteAheadLog.origin(in: "wal", fileSystem) }
            #expect(error?.file == path, "offset \(offset)")
        }
        fileSystem.replaceContents(of: path, with: Array(bytes[..<300]))
        #expect(walError { _ = try WriteAheadLog.origin(in: "wal", fileSystem) }?.code == .corrupt)
    }

    @Test(
        "Runs of terms are those of the entries, whatever was replaced, cut or begun anew",
        arguments: 0..<40 as Range<UInt64>)
    func termRuns(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let fileSystem = MemoryFileSystem(seed: seed)
        var log = try makeLog(fileSystem, WALOptions(segmentBytes: 4096, retainedBytes: 0))
        var term: UInt64 = 1
        for _ in 0..<120 {
            if random.chance(oneIn: 5) { term += 1 }
            switch random.next(in: 0..<12) {
            case 0:
                let index = LogIndex(log.lastIndex.rawValue + UInt64(random.next(in: 0..<5)))
                try log.restart(
                    after: WALPosition(index: index, term: Term(term)), hardState: WALHardState(term: Term(term)))
            case 1: try log.truncatePrefix(through: LogIndex(log.lastIndex.rawValue / 2 + 1))
            case 2:
                try log.close()
                log = try openLog(
                    fileSystem, after: log.lastIndex.rawValue, WALOptions(segmentBytes: 4096, retainedBytes: 0)
                ).log
            case 3 where log.lastIndex > log.firstIndex:
                term += 1
                let back = UInt64(random.next(in: 0..<Int(log.lastIndex.rawValue - log.firstIndex.rawValue)))
                try log.append([testEntry(log.lastIndex.rawValue - back, term: term)])
            default:
                let payload = Bytes([UInt8](repeating: 7, count: random.next(in: 0..<900)))
                try log.append([testEntry(log.lastIndex.rawValue + 1, term: term, payload: payload)])
            }
            let runs = log.termRuns
            var index = LogIndex(log.firstIndex.rawValue - 1)
            while index <= log.lastIndex {
                let run = runs.last { $0.index <= index }
                #expect(run?.term == log.term(at: index), "entry \(index.rawValue) in \(runs)")
                index = index.advanced(by: 1)
            }
            for (run, next) in zip(runs, runs.dropFirst()) {
                #expect(run.index < next.index && run.term != next.term)
            }
        }
    }
}
