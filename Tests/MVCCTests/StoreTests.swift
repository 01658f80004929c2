import Primitives
import Testing
import Wire

@testable import MVCC

/// A store and what single cases need to drive it.
struct Fixture {
    let backend: any Backend
    let store: Store

    init(_ backend: any Backend = MemoryBackend(), tailBytesMax: Int = 64 << 20) throws {
        self.backend = backend
        var options = StoreOptions()
        options.tailBytesMax = tailBytesMax
        options.markBytesMin = 0
        store = try Store.open(backend: backend, options: options)
    }

    func put(_ key: Bytes, _ value: Bytes, lease: LeaseID = .none) throws {
        try store.write { (transaction) throws(StoreError) in
            _ = try withPointers(key, value) { (key, value) throws(StoreError) in
                try transaction.put(key: key, value: value, lease: lease, wantPrevious: false)
            }
        }
        applied()
    }

    func delete(_ key: Bytes) throws {
        try store.write { (transaction) throws(StoreError) in
            _ = try withPointers(key, Bytes()) { (key, end) throws(StoreError) in
                try transaction.deleteRange(key: key, end: end, wantPrevious: false)
            }
        }
        applied()
    }

    func applied() { store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(1)) }

    func compact(_ revision: Int64) throws {
        try store.compact(to: revision)
        applied()
    }

    func persistAll() throws {
        while let batch = store.nextBatch(maxBytes: 1 << 20) {
            try backend.commit(batch)
            store.persisted(batch)
        }
    }

    func value(_ reader: StoreReader, _ key: Bytes, revision: Int64 = 0) throws -> Bytes? {
        var query = ModelQuery(key: key)
        query.revision = revision
        let answer = try Driver.answer { () throws(StoreError) in
            try query.with { (query) throws(StoreError) in try reader.plan(query) }
        }.get()
        if answer.count == 0 { return nil }
        return try answer.rows.withUnsafeBytes { bytes in
            var outer = ProtoReader(bytes)
            _ = try outer.nextField()
            return Bytes(copying: try KeyValueView(decoding: try outer.bytes()).value)
        }
    }
}

@Suite struct StoreTests {
    @Test func freshStoreIsEtcds() throws {
        let fixture = try Fixture()
        #expect(fixture.store.currentRevision == 1 && fixture.store.compactRevision == -1)
        // The bucket's name alone.
        let expected = Array("key".utf8).withUnsafeBytes { CRC32C.checksum($0) }
        let hash = try fixture.store.makeReader().hashKV(revision: 0)
        #expect(hash == KeyValueHash(hash: expected, compactRevision: -1, hashRevision: 1))
        try fixture.delete("nothing")
        #expect(fixture.store.currentRevision == 1, "deleting nothing does not move the revision")
        try fixture.put("a", "1")
        #expect(fixture.store.currentRevision == 2)
    }

    @Test func readsInsideOfATransactionSeeItsChanges() throws {
        let fixture = try Fixture()
        try fixture.put("a", "old", lease: LeaseID(7))
        try fixture.store.write { (transaction) throws(StoreError) in
            try withPointers("a", "new") { (key, value) throws(StoreError) in
                let before = try transaction.withCurrentRecord(key) { ($0?.lease, $0?.modRevision) }
                #expect(before.0 == 7 && before.1 == 2)
                let result = try transaction.put(key: key, value: value, lease: .none, wantPrevious: true)
                #expect(result.previousLease == LeaseID(7))
                let isNew = try transaction.withCurrentRecord(key) { view in
                    view.map { Bytes(copying: $0.value) == "new" && $0.version == 2 && $0.lease == 0 }
                }
                #expect(isNew == true)
                #expect(try transaction.currentRecord(key)?.count ?? 0 > 0)
            }
            var seen: [Int64] = []
            try withPointers("a", Bytes([0])) { (key, end) throws(StoreError) in
                transaction.forEachCurrent(key: key, end: end) { _, version in
                    seen.append(version.modRevision)
                    return true
                }
            }
            #expect(seen == [3])
        }
        #expect(try fixture.value(try fixture.store.makeReader(), "a") == "new")
    }

    @Test func refusedBodiesChangeNothing() throws {
        struct Refusal: Error {}
        let fixture = try Fixture()
        #expect(throws: Refusal.self) {
            try fixture.store.write { (_: inout WriteTransaction) throws(Refusal) in throw Refusal() }
        }
        #expect(fixture.store.currentRevision == 1)
    }

    /// A list keeps its revision while compaction wants it gone; compaction waits, and goes on afterwards.
    @Test func openPlansHoldCompactionBack() throws {
        let fixture = try Fixture(tailBytesMax: 0)
        for round in 0..<3 {
            for number in 0..<50 { try fixture.put(Bytes(utf8: "k\(100 + number)"), Bytes(utf8: "v\(round)")) }
        }
        try fixture.persistAll()
        let reader = try fixture.store.makeReader()
        var query = ModelQuery(key: Bytes([0]), end: Bytes([0]))
        query.revision = 60
        let isWaiting: () throws -> Bool = {
            var progress = fixture.store.sweepStep(maxKeys: 1000)
            while progress == .more { progress = fixture.store.sweepStep(maxKeys: 1000) }
            if case .finished = progress { progress = fixture.store.sweepStep(maxKeys: 1000) }
            try fixture.persistAll()
            return progress == .waiting
        }
        do {
            var plan = try query.with { (query) throws(StoreError) in try reader.plan(query) }
            let first = plan.prepareSlice(maxBytes: 100)
            try fixture.compact(151)
            #expect(fixture.store.sweepStep(maxKeys: 10) == .waiting, "the compaction itself is not persisted yet")
            try fixture.persistAll()
            #expect(try isWaiting())
            #expect(fixture.store.numbers().sweptRevision == 60)
            #expect(throws: StoreError.compacted(compactRevision: 151)) { try query.with(reader.plan).count }
            var rows = [UInt8](repeating: 0, count: plan.rowBytes)
            try rows.withUnsafeMutableBytes { rows in
                try plan.writeSlice(into: UnsafeMutableRawBufferPointer(rebasing: rows[..<first]))
                try plan.writeAll(into: UnsafeMutableRawBufferPointer(rebasing: rows[first...]))
            }
            #expect(plan.count == 50 && plan.queryRevision == 60 && plan.headerRevision == 151)
        }
        #expect(try !isWaiting())
        #expect(fixture.store.numbers().sweptRevision == 151 && fixture.store.numbers().versions == 50)
    }

    @Test func slicesAreWholeRows() throws {
        let fixture = try Fixture()
        for number in 0..<200 {
            let size = number == 77 ? 100_000 : number
            try fixture.put(Bytes(utf8: "k\(1000 + number)"), Bytes([UInt8](repeating: 7, count: size)))
        }
        let reader = try fixture.store.makeReader()
        let query = ModelQuery(key: Bytes([0]), end: Bytes([0]))
        for maxBytes in [1, 100, 5_000, 1 << 30] {
            var plan = try query.with { (query) throws(StoreError) in try reader.plan(query) }
            var sum = 0
            while true {
                let count = plan.prepareSlice(maxBytes: maxBytes)
                if count == 0 { break }
                var slice = [UInt8](repeating: 0, count: count)
                try slice.withUnsafeMutableBytes { try plan.writeSlice(into: $0) }
                let rows = try slice.withUnsafeBytes { bytes in
                    var rows = 0
                    var outer = ProtoReader(bytes)
                    while let tag = try outer.nextField() {
                        #expect(tag == .bytes(2))
                        _ = try KeyValueView(decoding: try outer.bytes())
                        rows += 1
                    }
                    return rows
                }
                #expect(rows == 1 || count <= maxBytes)
                sum += count
            }
            #expect(sum == plan.rowBytes)
        }
    }

    @Test func aFullTailSaysSo() throws {
        let fixture = try Fixture(tailBytesMax: 3000)
        var puts = 0
        while !fixture.store.isTailFull {
            try fixture.put("k", Bytes([UInt8](repeating: 1, count: 100)))
            puts += 1
        }
        #expect(puts > 5 && puts < 30)
        #expect(fixture.store.tailEvents(after: 1, through: 100, maxBytes: 1 << 20)?.count == puts)
        try fixture.persistAll()
        #expect(!fixture.store.isTailFull)
        for _ in 0..<100 {
            try fixture.put("k", "v")
            try fixture.persistAll()
        }
        #expect(fixture.store.numbers().tailBytes <= 3000)
        #expect(fixture.store.tailEvents(after: 1, through: 100, maxBytes: 1 << 20) == nil)
    }

    @Test func batchesEndWhereEntriesEnd() throws {
        let fixture = try Fixture()
        for number in 1...20 {
            // Each entry: a revision and a meta entry that must agree on disk.
            fixture.store.setMeta("number", Bytes(utf8: "\(number)"))
            try fixture.put("k", Bytes(utf8: "\(number)"))
        }
        while let batch = fixture.store.nextBatch(maxBytes: 1) {
            try fixture.backend.commit(batch)
            fixture.store.persisted(batch)
            let reopened = try Store.open(backend: fixture.backend)
            let number = reopened.currentRevision - 1
            #expect(reopened.meta("number") == Bytes(utf8: "\(number)"))
            #expect(reopened.appliedIndex == LogIndex(UInt64(number)))
        }
        #expect(fixture.store.numbers().persistedIndex == LogIndex(20))
    }

    /// What a member is founded with is closed before the first entry, and counts as persisted like any other.
    @Test func foundingMetaIsPersistedAtIndexZero() throws {
        let fixture = try Fixture()
        fixture.store.setMeta("member", "1")
        fixture.store.entryApplied(index: .zero, term: .zero)
        try fixture.persistAll()
        #expect(fixture.store.numbers().unpersistedBytes == 0)
        let reopened = try Store.open(backend: fixture.backend)
        #expect(reopened.meta("member") == "1" && reopened.appliedIndex == .zero && reopened.currentRevision == 1)
    }

    /// etcd #17780: the newest revisions' records are all removed, and still the revision does not go back.
    @Test func theRevisionDoesNotGoBack() throws {
        let fixture = try Fixture()
        try fixture.put("a", "1")
        try fixture.delete("a")
        try fixture.put("b", "1")
        try fixture.delete("b")
        try fixture.put("c", "1")
        try fixture.delete("c")
        try fixture.compact(7)
        try fixture.persistAll()
        while fixture.store.sweepStep(maxKeys: 1) != .idle {}
        try fixture.persistAll()
        let reopened = try Store.open(backend: fixture.backend)
        #expect(reopened.currentRevision == 7 && reopened.compactRevision == 7)
        // Only the tombstone at the compact revision is left, for a watcher that starts there (etcd #19179).
        #expect(reopened.numbers().versions == 1 && reopened.numbers().keys == 0)
        let events = try reopened.makeReader().historyEvents(
            after: 6, maxRevisions: 10, maxBytes: 1000, wantPrevious: true)
        #expect(events.events.count == 1 && events.events[0].events[0].isDelete && events.through == 7)
    }

    /// Where no key exists, etcd hashes what its compaction has left, also of keys that were deleted since.
    @Test func hashWithoutAnyKey() throws {
        let fixture = try Fixture()
        var model = Model()
        for (main, key) in zip(Int64(2)..., ["a", "b", "a"] as [Bytes]) {
            try fixture.put(key, "v")
            model.put(key, "v", .none, at: Revision(main: main))
        }
        try fixture.compact(4)
        model.compact = 4
        for (main, key) in zip(Int64(5)..., ["a", "b"] as [Bytes]) {
            try fixture.delete(key)
            model.delete(key, at: Revision(main: main))
        }
        let reader = try fixture.store.makeReader()
        #expect(try reader.hashKV(revision: 0).hash == model.hashKV(6))
        #expect(try reader.hashKV(revision: 4).hash == model.hashKV(4))
        try fixture.persistAll()
        while fixture.store.sweepStep(maxKeys: 1) != .idle {}
        try fixture.persistAll()
        #expect(try reader.hashKV(revision: 0).hash == model.hashKV(6))
        #expect(throws: StoreError.compacted(compactRevision: 4)) { try reader.hashKV(revision: 3) }
        #expect(throws: StoreError.futureRevision(currentRevision: 6)) { try reader.hashKV(revision: 7) }
    }

    /// etcd reads a previous value at the revision before: below the compact revision there is none, swept or not.
    @Test func previousValuesEndAtTheCompactRevision() throws {
        let fixture = try Fixture(tailBytesMax: 0)
        for value in ["1", "2", "3", "4"] as [Bytes] { try fixture.put("a", value) }
        try fixture.compact(4)
        try fixture.persistAll()
        try fixture.put("b", "1")
        try fixture.persistAll()
        let reader = try fixture.store.makeReader()
        #expect(throws: StoreError.compacted(compactRevision: 4)) {
            try reader.historyEvents(after: 2, maxRevisions: 9, maxBytes: 1000, wantPrevious: true).through
        }
        let found = try reader.historyEvents(after: 3, maxRevisions: 9, maxBytes: 1000, wantPrevious: true)
        #expect(found.events.map(\.main) == [4, 5, 6] && found.through == 6)
        #expect(found.events[0].events[0].previous == nil)
        #expect(found.events[1].events[0].previous == found.events[0].events[0].record)
        #expect(found.events[2].events[0].previous == nil)
    }

    @Test func usageOfAPrefix() throws {
        let fixture = try Fixture()
        for number in 0..<300 { try fixture.put(Bytes(utf8: "/p\(number % 3)/\(number)"), "v") }
        let usage = withPointersNoThrow("/p1/", "/p10") { fixture.store.usage(key: $0, end: $1) }
        #expect(usage.keys == 100 && usage.rowBytes > 100 * 10)
    }

    private func withPointersNoThrow<R>(
        _ a: Bytes, _ b: Bytes, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> R
    ) -> R {
        a.withUnsafeBytes { a in b.withUnsafeBytes { b in body(a, b) } }
    }
}
