import MVCC
import Primitives
import Testing
import Watch
import Wire

@Suite struct WatchProgressTests {
    let store = FakeStore()

    @Test func requestedWhenSynced() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        _ = stream.stream.requestProgress()
        #expect(stream.read().map(\.watchID) == [-1], "a stream without watchers is synced")
        stream.create("a")
        store.put("b")
        try test.publish(store)
        _ = stream.read()
        _ = stream.stream.requestProgress()
        let response = try #require(stream.read().first)
        #expect(response.isProgress && response.watchID == -1 && response.header.revision == 2)
    }

    /// etcd drops a request that it cannot answer at once; here it is kept, and several are one.
    @Test func requestedWhenLagging() throws {
        for _ in 0..<50 { store.put("a") }
        var configuration = WatchConfiguration()
        configuration.historyRevisionsMax = 10
        configuration.turnScansMax = 1
        store.shortenTail()
        let test = TestHub(store, configuration)
        let stream = TestStream(test.hub)
        stream.create("b")
        stream.create("a", start: 2)
        _ = stream.read()
        for _ in 0..<5 {
            for _ in 0..<3 { _ = stream.stream.requestProgress() }
            #expect(!stream.read().contains { $0.isProgress })
            try test.turn()
        }
        let responses = stream.read()
        #expect(responses.map(\.isProgress) == [false, true], "after the last events, and once")
        #expect(responses.last?.header.revision == 51)
        #expect(responses.last?.watchID == -1)
        #expect(!test.isScheduled)
    }

    @Test func waitsForRoomInTheSink() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a")
        stream.sink.highMark = 1
        _ = stream.stream.requestProgress()
        #expect(stream.read().map(\.created) == [true])
        stream.stream.becameWritable()
        #expect(stream.read().map(\.isProgress) == [true])
        // Cancelling the only watcher that lags answers, too.
        store.put("a")
        stream.sink.highMark = 0
        try test.publish(store)
        _ = stream.stream.requestProgress()
        stream.sink.highMark = 1
        _ = stream.stream.cancel(watchID: 0)
        #expect(stream.read().map(\.isProgress) == [false], "no room after the reply")
        stream.stream.becameWritable()
        #expect(stream.read().map(\.isProgress) == [true])
    }

    @Test func notifiesIdleWatchersOnly() throws {
        var configuration = WatchConfiguration()
        configuration.progressIntervalNanoseconds = 1000
        let test = TestHub(store, configuration)
        let stream = TestStream(test.hub)
        stream.create("a") { $0.progressNotify = true }
        stream.create("b") { $0.progressNotify = true }
        stream.create("c")
        _ = stream.read()
        var notified: [Int64: [UInt64]] = [:]
        for now in stride(from: UInt64(0), to: 10_000, by: 10) {
            if now % 500 == 0, now > 4000, now < 8000 {
                store.put("a")
                try test.publish(store)
            }
            test.hub.tick(now: now)
            for response in stream.read() where response.isProgress {
                #expect(response.header.revision == store.currentRevision)
                notified[response.watchID, default: []].append(now)
            }
        }
        #expect(notified[2] == nil && notified[-1] == nil)
        let gaps = zip(notified[1]!, notified[1]!.dropFirst()).map { $1 - $0 }
        #expect(gaps.count >= 8)
        #expect(gaps.allSatisfy { $0 >= 1000 && $0 <= 1120 }, "an interval and up to a tenth")
        #expect(Set(gaps).count > 1, "with jitter")
        #expect(notified[0]!.filter { $0 > 5200 && $0 < 8000 }.isEmpty, "it was sent events in these periods")
        #expect(notified[0]!.count >= 4)
    }

    @Test func notifiesLaggingWatcherLater() throws {
        var configuration = WatchConfiguration()
        configuration.progressIntervalNanoseconds = 1000
        let test = TestHub(store, configuration)
        let stream = TestStream(test.hub)
        stream.create("a") { $0.progressNotify = true }
        stream.create("b") { $0.progressNotify = true }
        test.hub.tick(now: 0)
        store.put("b")
        stream.sink.highMark = 0
        try test.publish(store)
        test.hub.tick(now: 2000)
        #expect(stream.read().allSatisfy { $0.created }, "no room, no notification")
        stream.sink.highMark = Int.max
        stream.stream.becameWritable()
        try test.settle()
        test.hub.tick(now: 2001)
        let responses = stream.read()
        #expect(responses.filter(\.isProgress).map(\.watchID) == [0], "the other was sent an event meanwhile")
        test.hub.tick(now: 2002)
        #expect(stream.read().isEmpty)
    }
}
