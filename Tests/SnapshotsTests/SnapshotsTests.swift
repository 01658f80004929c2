import MVCC
import Primitives
import Testing

@testable import Snapshots

@Suite struct RoundTripTests {
    static let options: [SnapshotOptions] = [
        SnapshotOptions(), .make(level: 0, frameBytes: 256 << 10), .make(level: 6, frameBytes: 1000),
        .make(level: 1, frameBytes: 1), .make(level: 9, frameBytes: 10_000),
    ]

    @Test(arguments: 0..<20 as Range<UInt64>)
    func restoredStoreIsTheSame(seed: UInt64) throws {
        var fixture = try Fixture(seed: seed)
        try fixture.run(entries: 150)
        let original = try Dump(fixture.backend)
        var checksums: Set<UInt32> = []
        for options in Self.options {
            let bytes = try fixture.snapshot(options)
            let target = MemoryBackend()
            let status = try restore(bytes, into: target, &fixture.random)
            #expect(try Dump(target) == original)
            #expect(status.totals.recordCount == UInt64(original.records.count))
            #expect(status.totals.metaCount == UInt64(original.meta.count))
            #expect(status.streamBytes == UInt64(bytes.count) && bytes.count % 512 == 0)
            #expect(status.digest == nil)
            checksums.insert(status.hash)
            try expectSame(fixture.store, target)
        }
        #expect(checksums.count == 1, "the hash is of the contents, not of their form")
    }

    /// Opens a store on `backend` and compares everything it says of itself.
    private func expectSame(_ store: Store, _ backend: any Backend) throws {
        let restored = try Store.open(backend: backend)
        let (old, new) = (store.numbers(), restored.numbers())
        #expect(new.currentRevision == old.currentRevision)
        #expect(new.compactRevision == old.compactRevision)
        #expect(new.appliedIndex == old.appliedIndex && restored.appliedTerm == store.appliedTerm)
        #expect(new.keys == old.keys && new.rowBytes == old.rowBytes)
        #expect(restored.stateHash == store.stateHash)
        let (reader, restoredReader) = (try store.makeReader(), try restored.makeReader())
        #expect(try restoredReader.hash() == (try reader.hash()))
        for revision in max(old.compactRevision, 1)...old.currentRevision {
            #expect(try restoredReader.hashKV(revision: revision) == (try reader.hashKV(revision: revision)))
        }
        // It goes on as the original would.
        restored.setMeta("lease/new", "x")
        restored.entryApplied(index: restored.appliedIndex.advanced(by: 1), term: Term(8))
        let batch = try #require(restored.nextBatch(maxBytes: 1 << 20))
        try backend.commit(batch)
        restored.persisted(batch)
    }

    @Test func historiesHaveWhatIsHardToRestore() throws {
        var lonely = 0
        for seed in 0..<20 as Range<UInt64> {
            var fixture = try Fixture(seed: seed)
            try fixture.run(entries: 150)
            lonely += try Dump(fixture.backend).lonelyChanges
        }
        #expect(lonely > 20, "the histories above never have a revision of which compaction has left a part")
    }

    @Test(arguments: 100..<104 as Range<UInt64>)
    func restoresThroughLMDB(seed: UInt64) throws {
        let directory = try TemporaryDirectory()
        var lmdb = LMDBOptions()
        lmdb.mapBytes = 1 << 30
        lmdb.isSyncOff = true
        let source = try LMDBBackend.open(path: directory.path + "/source", options: lmdb)
        var fixture = try Fixture(seed: seed, backend: source)
        fixture.valueBytesMax = 5000
        try fixture.run(entries: 200)
        let bytes = try fixture.snapshot()
        let target = try LMDBBackend.open(path: directory.path + "/target", options: lmdb)
        let status = try restore(bytes, into: target, &fixture.random, piecesMax: 100_000)
        #expect(try Dump(target) == (try Dump(source)))
        #expect(status.header.appliedIndex == fixture.store.appliedIndex)
        try expectSame(fixture.store, target)
    }

    @Test(arguments: 200..<206 as Range<UInt64>)
    func imageDoesNotChangeWhileItIsWritten(seed: UInt64) throws {
        let directory = try TemporaryDirectory()
        var lmdb = LMDBOptions()
        lmdb.mapBytes = 1 << 30
        lmdb.isSyncOff = true
        let backend: any Backend =
            seed % 2 == 0 ? MemoryBackend() : try LMDBBackend.open(path: directory.path + "/data", options: lmdb)
        var fixture = try Fixture(seed: seed, backend: backend)
        try fixture.run(entries: 100)
        let original = try Dump(backend)
        let writer = try fixture.writer(.make(level: 1, frameBytes: 2000))
        var bytes: [UInt8] = []
        while let chunk = try writer.nextChunk() {
            bytes += chunk.array
            try fixture.run(entries: 5)
        }
        #expect(try Dump(backend) != original)
        let target = MemoryBackend()
        let status = try restore(bytes, into: target, &fixture.random)
        #expect(try Dump(target) == original)
        #expect(status.header == writer.header && status.header.appliedIndex < fixture.store.appliedIndex)
        #expect(status.totals == writer.totals && status.streamBytes == writer.streamBytes)
    }

    @Test func sameImageGivesSameBytes() throws {
        var fixture = try Fixture(seed: 7)
        try fixture.run(entries: 100)
        #expect(try fixture.snapshot() == (try fixture.snapshot()))
    }

    @Test(arguments: 300..<310 as Range<UInt64>)
    func framesMayBeEncodedInAnyMixture(seed: UInt64) throws {
        var fixture = try Fixture(seed: seed)
        try fixture.run(entries: 150)
        let original = try Dump(fixture.backend)
        let bytes = try fixture.mixedSnapshot(frameBytes: 1000)
        let compressed = try fixture.snapshot(.make(level: 1, frameBytes: 1000))
        let stored = try fixture.snapshot(.make(level: 0, frameBytes: 1000))
        #expect(compressed.count < bytes.count && bytes.count < stored.count)
        let target = MemoryBackend()
        let status = try restore(bytes, into: target, &fixture.random)
        #expect(try Dump(target) == original)
        #expect(status.hash == (try inspect(compressed)).hash)
    }

    @Test func nothingPersistedIsAnEmptySnapshot() throws {
        let fixture = try Fixture(seed: 1)
        let bytes = try fixture.snapshot()
        #expect(bytes.count == 512)
        let target = MemoryBackend()
        let restore = try SnapshotRestore(into: target)
        try bytes.withUnsafeBytes { try restore.append($0) }
        #expect(try restore.finish().totalKeys == 0)
        #expect(try Store.open(backend: target).currentRevision == 1)
    }

    @Test func framesAreBoundedButForSingleItems() throws {
        var fixture = try Fixture(seed: 11)
        fixture.valueBytesMax = 100
        try fixture.run(entries: 400)
        fixture.valueBytesMax = 100_000
        try fixture.run(entries: 3)
        let large = try Dump(fixture.backend).records.count { $0.bytes.count > 4000 }
        #expect(large > 0)
        let chunks = try fixture.writer(.make(level: 0, frameBytes: 4000)).rest()
        let oversized = chunks.count { $0.count > 4000 + SnapshotFormat.frameHeaderBytes }
        #expect(oversized > 0 && oversized <= large)
        let status = try inspect(chunks.flatMap(\.array))
        #expect(status.totals.recordCount == UInt64(try Dump(fixture.backend).records.count))
    }

    @Test func progressGoesFromNothingToAll() throws {
        var fixture = try Fixture(seed: 12)
        try fixture.run(entries: 200)
        let writer = try fixture.writer(.make(level: 1, frameBytes: 3000))
        var last = writer.progress
        #expect(last == 0)
        while try writer.nextChunk() != nil {
            #expect(writer.progress >= last && writer.progress <= 1)
            last = writer.progress
        }
        #expect(last == 1)
    }

    @Test func damagedRecordStopsTheWriter() throws {
        let backend = MemoryBackend()
        var fixture = try Fixture(seed: 13, backend: backend)
        try fixture.run(entries: 60)
        let victim = try #require(try Dump(backend).records.dropFirst(5).first { $0.bytes.count > 3 })
        #expect(backend.corrupt(victim.revision, byte: 2))
        let writer = try fixture.writer()
        #expect(throws: SnapshotError.self) { try writer.rest() }
    }
}

@Suite struct RestoreTests {
    @Test func refusesABackendThatHoldsSomething() throws {
        var fixture = try Fixture(seed: 3)
        try fixture.run(entries: 5)
        #expect(throws: SnapshotError.notEmpty(path: "memory")) { try SnapshotRestore(into: fixture.backend) }
    }

    /// Whatever commit fails: the restore says so, and what is there is no store.
    @Test(arguments: [MemoryBackend.FailureOutcome.lost, .stored])
    func anyFailedCommitFailsTheRestore(outcome: MemoryBackend.FailureOutcome) throws {
        var fixture = try Fixture(seed: 4)
        fixture.valueBytesMax = 2 << 20
        fixture.keyCount = 10
        for _ in 0..<12 {
            try fixture.write()
            fixture.store.entryApplied(index: fixture.store.appliedIndex.advanced(by: 1), term: Term(7))
        }
        try fixture.persist()
        let bytes = try fixture.snapshot()
        let intact = MemoryBackend()
        _ = try restore(bytes, into: intact, &fixture.random, piecesMax: 1 << 20)
        #expect(intact.commitCount >= 3, "the snapshot is too small to be restored in several commits")
        for number in 1...intact.commitCount {
            let target = MemoryBackend()
            target.failCommit(number: number, outcome: outcome)
            #expect(throws: SnapshotError.self) {
                _ = try restore(bytes, into: target, &fixture.random, piecesMax: 1 << 20)
            }
            target.crash()
            // Only the last commit makes it a store, all at once.
            if number == intact.commitCount, outcome == .stored {
                #expect(try Dump(target) == (try Dump(intact)))
            } else if number > 1 || outcome == .stored {
                #expect(throws: StoreError.self) { try Store.open(backend: target) }
            }
        }
    }

    @Test func aSnapshotThatIsCutOffLeavesNoStore() throws {
        var fixture = try Fixture(seed: 5)
        try fixture.run(entries: 100)
        let bytes = try fixture.snapshot()
        let target = MemoryBackend()
        let restore = try SnapshotRestore(into: target)
        try bytes.dropLast(512).withUnsafeBytes { try restore.append($0) }
        #expect(throws: SnapshotError.self) { try restore.finish() }
        #expect(try Dump(target).meta.isEmpty)
    }

    @Test func metaCanBeAdjusted() throws {
        var fixture = try Fixture(seed: 6)
        try fixture.run(entries: 100)
        let bytes = try fixture.snapshot()
        let target = MemoryBackend()
        let restore = try SnapshotRestore(into: target)
        try bytes.withUnsafeBytes { try restore.append($0) }
        _ = try restore.finish { $0.append(MetaChange(key: "member/x", value: "y")) }
        let meta = try Dump(target).meta
        #expect(meta.contains(MetaChange(key: "member/x", value: "y")))
        #expect(meta.count == (try Dump(fixture.backend).meta.count) + 1)
    }
}
