import Primitives
import Testing
import Watch
import Wire

/// Random operations against a model: see `WatchSimulation`.
@Suite struct WatchTests {
    @Test(arguments: Array(1...60) as [UInt64]) func keepsItsGuarantees(seed: UInt64) throws {
        let store = FakeStore()
        store.keepsPrevious = seed % 3 > 0
        var simulation = WatchSimulation(seed: seed, store: store)
        try simulation.run(steps: 1500)
        #expect(simulation.delivered > 0)
    }

    /// The same over the real store in memory, with its tail, persistence, compaction and sweeping.
    @Test(arguments: Array(1...40) as [UInt64]) func keepsItsGuaranteesOverTheStore(seed: UInt64) throws {
        var simulation = WatchSimulation(seed: seed, store: try RealStore(seed: seed))
        try simulation.run(steps: 1500)
        #expect(simulation.delivered > 0)
    }

    /// The simulation reaches what it is meant to reach.
    @Test func simulationIsNotIdle() throws {
        var compacted = 0
        var progress = 0
        var fragments = 0
        var history = 0
        for seed in 1001...1010 as ClosedRange<UInt64> {
            let store = FakeStore()
            var simulation = WatchSimulation(seed: seed, store: store)
            try simulation.run(steps: 1500)
            compacted += simulation.compactedWatches
            progress += simulation.progressSeen
            fragments += simulation.fragmentsSeen
            history += store.historyReads
        }
        #expect(compacted > 20)
        #expect(progress > 100)
        #expect(fragments > 100)
        #expect(history > 100)
    }

    /// The same seed does the same, to the byte count.
    @Test func isDeterministic() throws {
        let counters = try (0..<2).map { _ in
            var simulation = WatchSimulation(seed: 77, store: FakeStore())
            try simulation.run(steps: 2000)
            return simulation.test.hub.counters
        }
        #expect(counters[0] == counters[1])
    }

    /// Thousands of different ranges, nested and apart, that come and go: each event finds exactly its watchers.
    @Test(arguments: Array(1...4) as [UInt64]) func matchesManyRanges(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let store = FakeStore()
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        func randomKey() -> Bytes {
            Bytes((0..<random.next(in: 1..<4)).map { _ in UInt8(0x61 + random.next(in: 0..<6)) })
        }
        var open: [(id: Int64, key: Bytes, end: Bytes)] = []
        var nextID: Int64 = 0
        for _ in 0..<60 {
            for _ in 0..<random.next(in: 0..<60) {
                let key = randomKey()
                let end = [Bytes(), Bytes([0]), randomKey(), key.successor][random.next(in: 0..<4)]
                if end.count > 0, end != Bytes([0]), key >= end { continue }
                stream.create(key, end: end)
                open.append((nextID, key, end))
                nextID += 1
            }
            for _ in 0..<random.next(in: 0..<40) where !open.isEmpty {
                let index = random.next(in: 0..<open.count)
                _ = stream.stream.cancel(watchID: open[index].id)
                open.swapAt(index, open.count - 1)
                open.removeLast()
            }
            _ = stream.read()
            let key = randomKey()
            store.put(key)
            try test.publish(store)
            let expected = open.filter { watch in
                watch.end.isEmpty
                    ? watch.key == key : watch.key <= key && (watch.end == Bytes([0]) || key < watch.end)
            }
            #expect(stream.read().map(\.watchID).sorted() == expected.map(\.id).sorted())
        }
        #expect(nextID > 1000)
    }

    /// A stream that does not read costs a cursor: its sink gets no more than one response above its mark, and nothing
    /// else grows with what it misses.
    @Test func stalledStreamHoldsNothing() throws {
        var configuration = WatchConfiguration()
        configuration.batchBytesMax = 64 << 10
        let store = FakeStore()
        let test = TestHub(store, configuration)
        let stalled = TestStream(test.hub)
        let open = TestStream(test.hub)
        stalled.sink.highMark = 16 << 10
        for _ in 0..<50 { stalled.create("k", end: "l") { $0.prevKv = true } }
        open.create("k", end: "l")
        let value = Bytes(Array(repeating: 1, count: 1000))
        var received = 0
        for index in 0..<20_000 {
            store.put(Bytes(utf8: "k\(index % 10)"), value)
            if index % 7 == 0 { try test.publish(store) }
            if index % 1000 == 0 { store.shortenTail() }
            _ = stalled.stream.requestProgress()
            test.hub.tick(now: UInt64(index) << 40)
            received += open.readEvents().count
        }
        try test.publish(store)
        received += open.readEvents().count
        #expect(received == 20_000, "others do not wait for it")
        #expect(stalled.sink.bufferedBytesMax < (16 << 10) + (64 << 10) + 4096)
        #expect(test.hub.counters.slowWatchers == 50)
        #expect(test.hub.counters.pendingRevisions > 900_000)
        #expect(!test.isScheduled, "nothing to do until it reads")
        // And then it gets everything, in bounded portions.
        var events = 0
        while stalled.sink.bufferedBytes > 0 {
            events += stalled.readEvents().count
            stalled.stream.becameWritable()
            try test.settle()
        }
        #expect(events == 50 * 20_000)
        #expect(stalled.sink.bufferedBytesMax < (16 << 10) + (64 << 10) + 4096)
        #expect(test.hub.counters.slowWatchers == 0)
    }

    /// A thousand watchers of one prefix, on as many streams: all get all of it, from one encoding.
    @Test func manyWatchersOfOnePrefix() throws {
        let store = FakeStore()
        let test = TestHub(store)
        let streams = (0..<1000).map { _ in TestStream(test.hub) }
        for stream in streams { stream.create("/registry/pods/", end: "/registry/pods0") }
        for index in 0..<30 {
            store.put(Bytes(utf8: "/registry/pods/\(index)"))
            store.put(Bytes(utf8: "/registry/nodes/\(index)"))
            if index % 3 == 0 { try test.publish(store) }
        }
        try test.publish(store)
        for stream in streams { #expect(stream.readEvents().count == 30) }
        #expect(test.hub.counters.eventsSent == 30_000)
    }
}

extension Bytes {
    /// The end of the range of keys that begin with these bytes.
    var successor: Bytes {
        var copy = array
        copy[copy.count - 1] += 1
        return Bytes(copy)
    }
}
