import IOInterfaces
import MVCC
import Primitives
import RaftCore
import ServerCore
import StateMachine
import Testing
import WriteAheadLog

@testable import Replica

/// The steps around an installation that files are about.
@Suite struct SnapshotInstallTests {
    private static func files() throws -> MemoryFileSystem {
        let fileSystem = MemoryFileSystem(seed: 3)
        try fileSystem.createDirectory("store")
        try fileSystem.syncDirectory(".")
        let files: [(String, [UInt8])] = [("data.mdb", [1]), ("incoming.mdb", [2]), ("incoming.mdb-lock", [3])]
        for (name, bytes) in files {
            let file = try fileSystem.open("store/" + name, .create)
            try Bytes(bytes).withUnsafeBytes { try file.write($0, at: 0) }
            try file.syncData()
            try file.close()
        }
        try fileSystem.syncDirectory("store")
        return fileSystem
    }

    @Test("The image takes the store's place, or not, wherever it is cut short")
    func publish() throws {
        for number in 1...3 {
            let fileSystem = try Self.files()
            fileSystem.inject(MemoryFault(after: number))
            var failed = false
            do { try SnapshotInstall.publish(in: "store", fileSystem) } catch { failed = true }
            #expect(failed == (number < 3))
            fileSystem.clearFaults()
            fileSystem.crash()
            let data = fileSystem.contents(of: "store/data.mdb")
            #expect(failed ? data == [1] || data == [2] : data == [2])
            try SnapshotInstall.removeLeftover(in: "store", fileSystem)
            #expect(try fileSystem.list("store") == ["data.mdb"])
        }
    }

    @Test("An image is news to a member of the same cluster that has applied less")
    func judge() {
        func judge(_ cluster: UInt64, _ index: UInt64) -> SnapshotInstall.Verdict {
            SnapshotInstall.judge(
                clusterID: cluster, index: LogIndex(index), ownClusterID: 7, applied: LogIndex(10))
        }
        #expect(judge(7, 11) == .install && judge(7, 10) == .notNews && judge(8, 11) == .otherCluster)
        var meta = [MetaChange(key: "a", value: "b"), MetaChange(key: MetaKeys.installed, value: "old")]
        SnapshotInstall.mark(&meta, index: LogIndex(258))
        let mark = MetaChange(key: MetaKeys.installed, value: Bytes([0, 0, 0, 0, 0, 0, 1, 2]))
        #expect(meta == [MetaChange(key: "a", value: "b"), mark])
    }

    @Test("Entries are read back for members that lag, or are told to be gone")
    func reads() throws {
        let fileSystem = MemoryFileSystem(seed: 1)
        let log = try WriteAheadLog.create(
            in: "wal", fileSystem, metadata: WALMetadata(clusterID: 1, memberID: MemberID(1)), salt: 1,
            options: WALOptions(segmentBytes: 4096, retainedBytes: 0))
        let writer = LogWriter(log: log)
        for index in 1...20 as ClosedRange<UInt64> {
            let kind = index == 15 ? EntryKind.configurationChangeV2 : .normal
            let entry = Entry(
                term: Term(2), index: LogIndex(index), kind: kind, payload: Bytes([UInt8](repeating: 1, count: 1000)))
            var written = 0
            _ = try writer.write(
                [
                    AppendBatch(
                        number: index, hardState: nil, entries: [entry], mustSync: true, messagesAfterAppend: [],
                        commitsWhenDurable: false)
                ][...], written: &written)
        }
        func read(_ from: UInt64, _ to: UInt64) throws -> [UInt64]? {
            let event = try writer.read(LogRead(from: LogIndex(from), to: LogIndex(to), bytesMax: 3000))
            guard case .logEntries(let entries) = event else { return nil }
            #expect(entries.allSatisfy { ($0.kind == .configurationChangeV2) == ($0.index == LogIndex(15)) })
            return entries.map(\.index.rawValue)
        }
        #expect(try read(1, 3) == [1, 2])
        #expect(try read(14, 21) == [14, 15, 16])
        #expect(try read(21, 30) == nil)
        let first = try #require(try writer.cut(through: LogIndex(12)))
        #expect(first > LogIndex(1) && first <= LogIndex(13))
        #expect(try writer.cut(through: LogIndex(12)) == nil)
        #expect(try read(first.rawValue - 1, 20) == nil)
        #expect(try read(first.rawValue, first.rawValue + 1) == [first.rawValue])
    }
}
