import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// A start that fails while it repairs a torn tail leaves a log that the next start can open.
@Suite struct InterruptedRepairTests {
    private static let metadata = WALMetadata(clusterID: 1, memberID: MemberID(2))

    private func entries(_ range: ClosedRange<UInt64>) -> [WALEntry] {
        range.map { index in
            let payload = Bytes([UInt8](repeating: UInt8(index), count: 300))
            return WALEntry(index: LogIndex(index), term: Term(1), kind: 0, payload: payload)
        }
    }

    /// Five entries that are synced, and a write behind them that failed half-way.
    private func tornLog(seed: UInt64) throws -> MemoryFileSystem {
        let files = MemoryFileSystem(seed: seed)
        let options = WALOptions(segmentBytes: 16_384)
        let log = try WriteAheadLog.create(
            in: "wal", files, metadata: Self.metadata, salt: seed, options: options)
        try log.append(entries(1...5), hardState: WALHardState(term: Term(1)))
        try log.sync()
        files.inject(MemoryFault(.write, after: 1))
        #expect(throws: WALError.self) { try log.append(self.entries(6...9)) }
        files.clearFaults()
        return files
    }

    @Test("Each write of the repair fails half-way", arguments: 0..<80 as Range<UInt64>)
    func eachWriteFails(seed: UInt64) throws {
        let torn = try tornLog(seed: seed)
        for count in 1...8 {
            let files = torn.copy(seed: seed &* 31 &+ UInt64(count))
            files.inject(MemoryFault(.write, after: count))
            _ = try? WriteAheadLog.open(in: "wal", files, expecting: Self.metadata, after: .zero)
            files.clearFaults()
            let (log, recovered) = try WriteAheadLog.open(in: "wal", files, expecting: Self.metadata, after: .zero)
            #expect(recovered.lastIndex >= LogIndex(5) && recovered.lastIndex <= LogIndex(9))
            try log.append(entries(recovered.lastIndex.rawValue + 1...recovered.lastIndex.rawValue + 1))
            try log.sync()
            try log.close()
        }
    }
}
