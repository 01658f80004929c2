import MVCC
import Primitives
import Testing
import Watch
import Wire

/// Bugs that etcd had (kubernetes-contract.md, section 10), each as a test of ours.
@Suite struct WatchBugTests {
    let store = FakeStore()

    @Test("etcd#15220: progress is not announced while a watcher lags") func issue15220() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a")
        stream.sink.highMark = 40
        _ = stream.read()
        for _ in 0..<20 {
            store.put("a", "0123456789")
            try test.publish(store)
            _ = stream.stream.requestProgress()
        }
        var delivered: Int64 = 1
        var progress = 0
        for _ in 0..<100 {
            for response in stream.read() {
                if let last = response.events.last { delivered = last.modRevision }
                if response.isProgress {
                    #expect(response.header.revision == delivered)
                    progress += 1
                }
            }
            stream.stream.becameWritable()
            try test.settle()
        }
        #expect(delivered == 21)
        #expect(progress > 0)
    }

    @Test("etcd#15271: a watch does not go back when the store is replaced by a snapshot") func issue15271() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a")
        stream.create("a", start: 8)
        stream.create("b")
        for _ in 0..<4 { store.put("a") }
        try test.publish(store)
        let newer = FakeStore()
        for _ in 0..<12 { newer.put("a") }
        newer.shortenTail()
        test.hub.sourceReplaced(by: newer)
        try test.settle()
        newer.put("a")
        try test.publish(newer)
        var revisions: [Int64: [Int64]] = [:]
        for response in stream.read() { revisions[response.watchID, default: []] += response.events.map(\.modRevision) }
        #expect(revisions[0] == Array(2...14))
        #expect(revisions[1] == Array(8...14))
        #expect(revisions[2] == [])
        // What the snapshot has compacted is said so, and nothing else.
        let compacted = FakeStore()
        for _ in 0..<30 { compacted.put("a") }
        compacted.compact(to: 20)
        compacted.shortenTail()
        test.hub.sourceReplaced(by: compacted)
        try test.settle()
        let canceled = stream.read().map { [$0.watchID, $0.canceled ? $0.compactRevision : 0] }
        #expect(canceled == [[0, 20], [1, 20], [2, 20]])
    }

    @Test("etcd#17247: no event twice when a watcher falls behind and catches up") func issue17247() throws {
        var configuration = WatchConfiguration()
        configuration.historyRevisionsMax = 3
        configuration.turnResponsesMax = 2
        let test = TestHub(store, configuration)
        let streams = (0..<7).map { _ in TestStream(test.hub) }
        for stream in streams { stream.create("a", end: "b") }
        var received = Array(repeating: [Int64](), count: streams.count)
        for round in 0..<200 {
            store.put("a", Bytes(utf8: "\(round)"))
            if round % 3 == 0 { store.shortenTail() }
            test.hub.newRevisions(upTo: store.currentRevision)
            for (index, stream) in streams.enumerated() {
                stream.sink.highMark = (round + index) % 4 == 0 ? 0 : Int.max
                stream.stream.becameWritable()
                received[index] += stream.readEvents().map(\.modRevision)
            }
            if round % 2 == 0 { try test.turn() }
        }
        for (index, stream) in streams.enumerated() {
            stream.sink.highMark = Int.max
            stream.stream.becameWritable()
            try test.settle()
            received[index] += stream.readEvents().map(\.modRevision)
            #expect(received[index] == Array(2...201))
        }
    }

    @Test("etcd#17529: under load every slow watcher is brought up, and none loses events") func issue17529() throws {
        var configuration = WatchConfiguration()
        configuration.historyRevisionsMax = 64
        configuration.batchBytesMax = 4096
        configuration.turnResponsesMax = 64
        configuration.turnBytesMax = 64 << 10
        let test = TestHub(store, configuration)
        for _ in 0..<2000 { store.put("a") }
        store.shortenTail()
        try test.publish(store)
        let streams = (0..<300).map { _ in TestStream(test.hub) }
        for (index, stream) in streams.enumerated() { stream.create("a", start: Int64(2 + index * 6)) }
        var next = streams.indices.map { Int64(2 + $0 * 6) }
        var turns = 0
        var isOrdered = true
        var writing = true
        while writing || test.isScheduled {
            if writing {
                store.put("a")
                if turns % 10 == 0 { store.shortenTail() }
                test.hub.newRevisions(upTo: store.currentRevision)
            }
            try test.turn()
            for (index, stream) in streams.enumerated() {
                for event in stream.readEvents() {
                    isOrdered = isOrdered && event.modRevision == next[index]
                    next[index] += 1
                }
            }
            turns += 1
            // With more to be sent in a turn than a turn may, they stay a few revisions behind, all of them equally.
            writing = writing && test.hub.counters.pendingRevisions > 300 * 10
            #expect(turns < 3000, "they do not catch up")
            if turns >= 3000 { break }
        }
        #expect(isOrdered)
        #expect(next.allSatisfy { $0 == store.currentRevision + 1 })
        #expect(test.hub.counters.slowWatchers == 0)
        #expect(test.hub.counters.historyScans < 3000, "watchers share scans")
    }

    @Test("etcd#18089, #19179: a delete at the compact revision is delivered") func issue18089() throws {
        let test = TestHub(store)
        store.put("a")
        store.put("a")
        store.delete("a")
        store.compact(to: 4)
        store.shortenTail()
        try test.publish(store)
        let stream = TestStream(test.hub)
        stream.create("a", start: 4) { $0.prevKv = true }
        stream.create("a", start: 3)
        try test.settle()
        let responses = stream.read()
        #expect(responses.first { $0.watchID == 0 && !$0.created }?.events.map(\.isDelete) == [true])
        #expect(responses.first { $0.watchID == 1 && $0.canceled }?.compactRevision == 4)
    }

    @Test("etcd#20221: a watch from a future revision hears nothing from before it") func issue20221() throws {
        var configuration = WatchConfiguration()
        configuration.progressIntervalNanoseconds = 1000
        let test = TestHub(store, configuration)
        let stream = TestStream(test.hub)
        stream.create("a", start: 10) { $0.progressNotify = true }
        #expect(stream.read().map(\.created) == [true])
        _ = stream.stream.requestProgress()
        for now in 1...8 {
            store.put("a")
            if now == 4 { stream.sink.highMark = 0 }
            if now == 6 { stream.sink.highMark = Int.max }
            try test.publish(store)
            stream.stream.becameWritable()
            test.hub.tick(now: UInt64(now) * 2000)
            #expect(stream.read().isEmpty)
        }
        store.put("a")
        try test.publish(store)
        test.hub.tick(now: 100_000)
        let responses = stream.read()
        #expect(responses.flatMap(\.events).map(\.modRevision) == [10])
        #expect(responses.filter(\.isProgress).map(\.header.revision) == [10], "the request from before is answered")
    }

    @Test("k8s#76675: prev_kv is there even when compaction overtakes delivery") func issue76675() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a") { $0.prevKv = true }
        _ = stream.read()
        store.put("a", "1")
        store.put("a", "2")
        store.delete("a")
        store.compact(to: 4)
        test.hub.compacted(to: 4)
        try test.publish(store)
        let response = try #require(stream.read().first)
        #expect(response.events.map(\.previousValue) == ["", "1", "2"])
        #expect(response.hasPrevious == [false, true, true])
    }

    @Test("k8s#76675: prev_kv is there for writes from before anybody wanted it") func previousFromBefore() throws {
        store.keepsPrevious = false
        store.put("a", "1")
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a", start: 2) { $0.prevKv = true }
        stream.create("a")
        try test.settle()
        #expect(store.isPreviousWanted)
        store.put("a", "2")
        store.delete("a")
        store.put("a", "3")
        try test.publish(store)
        let responses = stream.read().filter { $0.watchID == 0 && !$0.created }
        #expect(responses.flatMap(\.events).map(\.previousValue) == ["", "1", "2", ""])
        #expect(responses.flatMap(\.hasPrevious) == [false, true, true, false])
        store.put("a", "4")
        store.historyError = .closed
        #expect(throws: StoreError.closed) { try test.publish(store) }
        store.historyError = nil
        // The process stops then; if it did not, nothing would be lost.
        test.hub.newRevisions(upTo: store.currentRevision)
        try test.settle()
        #expect(stream.read().flatMap(\.events).map(\.value) == ["4", "4"])
    }

    @Test("a compaction cancels the lagging watchers that need it, and no others")
    func compactionWhileLagging() throws {
        let test = TestHub(store)
        let stalled = TestStream(test.hub)
        let open = TestStream(test.hub)
        stalled.create("a")
        stalled.create("b")
        open.create("a")
        _ = stalled.read()
        stalled.sink.highMark = 0
        for _ in 0..<10 { store.put("a") }
        try test.publish(store)
        store.put("b")
        try test.publish(store)
        store.compact(to: 8)
        test.hub.compacted(to: 8)
        try test.publish(store)
        #expect(stalled.read().isEmpty, "nothing is sent where there is no room")
        stalled.sink.highMark = Int.max
        stalled.stream.becameWritable()
        try test.settle()
        let responses = stalled.read()
        #expect(responses.filter(\.canceled).map { [$0.watchID, $0.compactRevision] } == [[0, 8]])
        #expect(responses.filter { $0.watchID == 1 }.flatMap(\.events).map(\.modRevision) == [12])
        #expect(open.readEvents().count == 10)
    }

    @Test("history that cannot be read is an error, and nobody is told anything") func brokenHistory() throws {
        for _ in 0..<10 { store.put("a") }
        store.shortenTail()
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a", start: 2)
        store.historyError = .closed
        #expect(throws: StoreError.closed) { try test.turn() }
        #expect(stream.read().map(\.created) == [true])
    }
}
