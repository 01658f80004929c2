import Primitives
import Synchronization
import Testing
import Wire

@testable import MVCC

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// Readers on threads of their own while the apply thread writes, compacts and sweeps, and the backend thread persists.
@Suite struct ConcurrencyTests {
    /// A POSIX thread that runs a closure.
    private final class Thread {
        private var id = pthread_t()
        private final class Box {
            let body: () -> Void
            init(_ body: @escaping () -> Void) { self.body = body }
        }

        init(_ body: @escaping @Sendable () -> Void) {
            let box = Unmanaged.passRetained(Box(body)).toOpaque()
            let result = pthread_create(
                &id, nil,
                { argument in
                    Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
                    return nil
                }, box)
            precondition(result == 0)
        }

        func join() { pthread_join(id, nil) }
    }

    private final class Shared: Sendable {
        let isDone = Atomic<Bool>(false)
        let failures = Mutex<[String]>([])
        let reads = Atomic<Int>(0)

        func fail(_ text: String) { failures.withLock { if $0.count < 20 { $0.append(text) } } }
    }

    private static let pairs = 40

    /// Every transaction writes one value under two keys; so at every revision the two are equal.
    private static func write(_ store: Store, _ shared: Shared, revisions: Int) {
        var random = PRNG(seed: 7)
        for round in 1...revisions {
            let number = random.next(in: 0..<pairs)
            let value = Bytes(utf8: "\(round)")
            do {
                try store.write { (transaction) throws(StoreError) in
                    for side in ["a", "b"] {
                        try withPointers(Bytes(utf8: "\(side)\(100 + number)"), value) {
                            (key, value) throws(StoreError) in
                            _ = try transaction.put(key: key, value: value, lease: .none, wantPrevious: false)
                        }
                    }
                }
                store.entryApplied(index: LogIndex(UInt64(round)), term: Term(1))
                if round % 200 == 0 { try store.compact(to: store.currentRevision - 50) }
                _ = store.sweepStep(maxKeys: 16)
            } catch {
                shared.fail("writer: \(error)")
            }
        }
        shared.isDone.store(true, ordering: .releasing)
    }

    private static func persist(_ store: Store, _ shared: Shared) {
        do {
            while true {
                let isLast = shared.isDone.load(ordering: .acquiring)
                if let batch = store.nextBatch(maxBytes: 4000) {
                    try store.backend.commit(batch)
                    store.persisted(batch)
                } else if isLast {
                    return
                }
            }
        } catch {
            shared.fail("backend: \(error)")
        }
    }

    private static func read(_ store: Store, _ shared: Shared, seed: UInt64) {
        var random = PRNG(seed: seed)
        do {
            let reader = try store.makeReader()
            var newest: Int64 = 0
            while !shared.isDone.load(ordering: .acquiring) {
                do {
                    newest = try readOnce(store, reader, shared, &random, newest)
                } catch StoreError.compacted {
                    continue
                }
                shared.reads.wrappingAdd(1, ordering: .relaxed)
            }
        } catch {
            shared.fail("reader: \(error)")
        }
    }

    /// The same revision has the same hash however far persisting, trimming and sweeping have come.
    private static func hash(_ store: Store, _ shared: Shared) {
        do {
            let reader = try store.makeReader()
            while !shared.isDone.load(ordering: .acquiring) {
                let first = try reader.hashKV(revision: 0)
                do {
                    let second = try reader.hashKV(revision: first.hashRevision)
                    if first.compactRevision == second.compactRevision, first != second {
                        shared.fail("two hashes of revision \(first.hashRevision)")
                    }
                } catch StoreError.compacted {
                    continue
                }
                shared.reads.wrappingAdd(1, ordering: .relaxed)
            }
        } catch {
            shared.fail("hash: \(error)")
        }
    }

    private static func readOnce(
        _ store: Store, _ reader: StoreReader, _ shared: Shared, _ random: inout PRNG, _ newest: Int64
    ) throws -> Int64 {
        var query = ModelQuery(key: Bytes([0]), end: Bytes([0]))
        if random.chance(oneIn: 3) { query.revision = max(store.currentRevision - 40, 1) }
        if random.chance(oneIn: 4) {
            let events = try history(store, reader, after: max(store.currentRevision - 30, 1))
            if events.contains(where: { $0.events.count != 2 }) { shared.fail("a revision without its two events") }
        }
        var plan = try query.with { (query) throws(StoreError) in try reader.plan(query) }
        if plan.headerRevision < newest { shared.fail("the revision went back") }
        var rows = [UInt8](repeating: 0, count: plan.rowBytes)
        try rows.withUnsafeMutableBytes { rows in
            var done = 0
            while true {
                let count = plan.prepareSlice(maxBytes: 300)
                if count == 0 { break }
                try plan.writeSlice(into: UnsafeMutableRawBufferPointer(rebasing: rows[done..<done + count]))
                done += count
            }
        }
        let values = try decode(rows)
        if Int64(values.count) != plan.count { shared.fail("\(values.count) rows of \(plan.count)") }
        for number in 0..<pairs where values["a\(100 + number)"] != values["b\(100 + number)"] {
            shared.fail("a torn read at \(plan.queryRevision)")
        }
        return plan.headerRevision
    }

    private static func history(_ store: Store, _ reader: StoreReader, after: Int64) throws -> [RevisionEvents] {
        if let events = store.tailEvents(after: after, through: store.currentRevision, maxBytes: 10_000) {
            return events
        }
        return try reader.historyEvents(after: after, maxRevisions: 50, maxBytes: 10_000, wantPrevious: true).events
    }

    private static func decode(_ rows: [UInt8]) throws -> [String: Bytes] {
        var result: [String: Bytes] = [:]
        try rows.withUnsafeBytes { bytes in
            var outer = ProtoReader(bytes)
            while try outer.nextField() != nil {
                let view = try KeyValueView(decoding: try outer.bytes())
                result[String(decoding: view.key, as: UTF8.self)] = Bytes(copying: view.value)
            }
        }
        return result
    }

    @Test(arguments: [true, false])
    func readersNeverSeeHalfAChange(onDisk: Bool) throws {
        let directory = try TemporaryDirectory()
        let backend: any Backend =
            onDisk ? try LMDBBackend.open(path: directory.path + "/data", options: .forTests) : MemoryBackend()
        var options = StoreOptions()
        options.tailBytesMax = 6000
        options.markBytesMin = 0
        let store = try Store.open(backend: backend, options: options)
        let shared = Shared()
        let threads = [
            Thread { Self.persist(store, shared) },
            Thread { Self.read(store, shared, seed: 1) },
            Thread { Self.read(store, shared, seed: 2) },
            Thread { Self.hash(store, shared) },
            Thread { Self.write(store, shared, revisions: 4000) },
        ]
        for thread in threads { thread.join() }
        #expect(shared.failures.withLock { $0 } == [])
        #expect(shared.reads.load(ordering: .relaxed) > 0)
        #expect(store.currentRevision == 4001)
        #expect(store.numbers().persistedRevision == 4001)
        store.state.pointee.index.checkInvariants()
    }
}
