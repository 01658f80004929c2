import MVCC
import Primitives
import Testing
import Watch
import Wire

/// The rows of etcd-behaviour.md, section 1.2, one by one.
@Suite struct WatchRequestTests {
    let store = FakeStore()

    @Test func createdComesFirstAndIDsCountUp() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        store.put("a")
        for _ in 0..<3 { stream.create("a", start: 2) }
        try test.publish(store)
        let responses = stream.read()
        #expect(responses.prefix(3).map(\.watchID) == [0, 1, 2])
        #expect(responses.prefix(3).allSatisfy { $0.created && !$0.canceled && $0.events.isEmpty })
        #expect(responses.dropFirst(3).map(\.watchID) == [0, 1, 2])
        #expect(responses.dropFirst(3).allSatisfy { !$0.created && $0.events.map(\.key) == ["a"] })
        #expect(responses[0].header == ResponseHeader(clusterID: 0xcafe, memberID: 0xbeef, revision: 2, raftTerm: 7))
    }

    @Test func chosenIDs() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a") { $0.watchID = 1 }
        stream.create("a")
        stream.create("a")
        stream.create("a") { $0.watchID = 1 }
        stream.create("a")
        let responses = stream.read()
        #expect(responses.map(\.watchID) == [1, 0, 2, -1, 3])
        #expect(responses.allSatisfy { $0.created })
        #expect(responses.map(\.canceled) == [false, false, false, true, false])
        #expect(responses[3].reason == "mvcc: duplicate watch ID provided on the WatchStream")
        store.put("a")
        try test.publish(store)
        #expect(Set(stream.read().map(\.watchID)) == [0, 1, 2, 3], "the stream lives on")
    }

    @Test(arguments: [("b", "b"), ("b", "a"), ("", "")] as [(Bytes, Bytes)])
    func emptyRange(key: Bytes, end: Bytes) throws {
        let stream = TestStream(TestHub(store).hub)
        stream.create(key, end: end)
        let response = try #require(stream.read().first)
        if key.isEmpty {
            #expect(!response.canceled, "an empty key is the least key")
        } else {
            #expect(response.created && response.canceled && response.watchID == -1)
            #expect(response.reason == "mvcc: watcher range is empty")
            #expect(response.compactRevision == 0)
        }
    }

    @Test func ranges() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("b")
        stream.create("b", end: "c")
        stream.create("b", end: Bytes([0]))
        stream.create("", end: Bytes([0]))
        stream.create("")
        stream.create("b", end: "b\u{0}")
        _ = stream.read()
        for key in ["a", "b", "b1", "c", "\u{0}"] as [Bytes] { store.put(key) }
        try test.publish(store)
        var keys: [Int64: [Bytes]] = [:]
        for response in stream.read() { keys[response.watchID, default: []] += response.events.map(\.key) }
        #expect(keys[0] == ["b"])
        #expect(keys[1] == ["b", "b1"])
        #expect(keys[2] == ["b", "b1", "c"])
        #expect(keys[3] == ["a", "b", "b1", "c", "\u{0}"])
        #expect(keys[4] == ["\u{0}"])
        #expect(keys[5] == ["b"])
    }

    @Test func startRevisions() throws {
        for index in 0..<9 { store.put("k", Bytes(utf8: "\(index)")) }
        store.compact(to: 5)
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("k", start: -1)
        stream.create("k", start: 4)
        stream.create("k", start: 5)
        stream.create("k", start: 10)
        stream.create("k", start: 11)
        stream.create("k", start: 13)
        stream.create("k")
        let created = stream.read()
        #expect(created.map(\.watchID) == [-1, 0, 0, 1, 2, 3, 4, 5])
        #expect(created[0].created && created[0].canceled && created[0].compactRevision == 0)
        #expect(created[0].reason == "etcdserver: mvcc: required revision has been compacted")
        #expect(created[1].created && !created[1].canceled)
        #expect(!created[2].created && created[2].canceled && created[2].compactRevision == 5)
        // As etcd's: told at no revision.
        #expect(created[1].header.revision == 10 && created[2].header.revision == 0)
        #expect(created.dropFirst(3).allSatisfy { $0.created && !$0.canceled })
        for index in 9..<14 { store.put("k", Bytes(utf8: "\(index)")) }
        try test.publish(store)
        var revisions: [Int64: [Int64]] = [:]
        for response in stream.read() { revisions[response.watchID, default: []] += response.events.map(\.modRevision) }
        #expect(revisions[1] == Array(5...15))
        #expect(revisions[2] == Array(10...15))
        #expect(revisions[3] == Array(11...15))
        #expect(revisions[4] == Array(13...15))
        #expect(revisions[5] == Array(11...15))
    }

    /// A watch from now on begins after the newest published revision, even when the hub has yet to hear of it.
    @Test func fromNowOnIsAfterWhatWasPublished() throws {
        let test = TestHub(store)
        store.put("a", "before")
        let stream = TestStream(test.hub)
        stream.create("a")
        #expect(stream.read().first?.header.revision == 2)
        _ = stream.stream.requestProgress()
        #expect(stream.read().isEmpty, "the hub is behind what the reply said")
        store.put("a", "after")
        try test.publish(store)
        let responses = stream.read()
        #expect(responses.flatMap(\.events).map(\.value) == ["after"])
        #expect(responses.last?.isProgress == true && responses.last?.header.revision == 3)
    }

    @Test func filtersAndPrevious() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a") { $0.filtersPuts = true }
        stream.create("a") { request in
            request.filtersDeletes = true
            request.prevKv = true
        }
        stream.create("a") { request in
            request.filtersDeletes = true
            request.filtersPuts = true
        }
        stream.create("a") { $0.prevKv = true }
        stream.create("a")
        _ = stream.read()
        store.put("a", "1")
        store.put("a", "2")
        store.delete("a")
        try test.publish(store)
        let responses = stream.read()
        #expect(responses.map(\.watchID) == [0, 1, 3, 4].map(Int64.init), "nothing is sent when all is filtered")
        #expect(responses[0].events.map(\.isDelete) == [true])
        #expect(responses[1].events.map(\.isDelete) == [false, false])
        #expect(responses[2].hasPrevious == [false, true, true])
        #expect(responses[2].events.map(\.previousValue) == ["", "1", "2"])
        #expect(responses[2].events.map(\.previousModRevision) == [0, 2, 3])
        #expect(responses[3].hasPrevious == [false, false, false])
        let deletion = responses[3].events[2]
        #expect(deletion == ExpectedEvent(key: "a", isDelete: true, modRevision: 4), "key and mod revision only")
    }

    @Test func cancel() throws {
        let test = TestHub(store)
        let stream = TestStream(test.hub)
        stream.create("a")
        stream.create("a")
        #expect(stream.stream.cancel(watchID: 7) == .accepted)
        #expect(stream.read().count == 2, "an unknown id is ignored")
        _ = stream.stream.cancel(watchID: 0)
        let reply = try #require(stream.read().first)
        #expect(reply.canceled && !reply.created && reply.watchID == 0 && reply.reason.isEmpty)
        _ = stream.stream.cancel(watchID: 0)
        store.put("a")
        try test.publish(store)
        #expect(stream.read().map(\.watchID) == [1])
        stream.create("a") { $0.watchID = 0 }
        #expect(stream.read().first?.watchID == 2, "0 asks the server to choose, and ids are not used again")
    }

    @Test func refused() throws {
        let stream = TestStream(TestHub(store).hub)
        #expect(stream.stream.refuse(reason: WatchCancelReason.permissionDenied) == .accepted)
        let response = try #require(stream.read().first)
        #expect(response.created && response.canceled && response.watchID == -1)
        #expect(response.reason == "etcdserver: permission denied")
    }

    /// A revision is one response; many revisions that wait are one, too; fragments only where asked for.
    @Test func coalescedAndFragmented() throws {
        var configuration = WatchConfiguration()
        configuration.fragmentBytesMax = 300
        let test = TestHub(store, configuration)
        let stream = TestStream(test.hub)
        stream.create("k", end: "l")
        stream.create("k", end: "l") { $0.fragment = true }
        _ = stream.read()
        store.write((0..<10).map { Change(key: Bytes(utf8: "k\($0)"), value: Bytes(Array(repeating: 7, count: 100))) })
        store.write([Change(key: "k0", value: Bytes(Array(repeating: 7, count: 1000)))])
        try test.publish(store)
        let responses = stream.read()
        let whole = responses.filter { $0.watchID == 0 }
        #expect(whole.count == 1 && whole[0].events.count == 11 && !whole[0].fragment)
        let fragments = responses.filter { $0.watchID == 1 }
        #expect(fragments.flatMap(\.events) == whole[0].events)
        #expect(fragments.map(\.fragment) == Array(repeating: true, count: fragments.count - 1) + [false])
        #expect(fragments.allSatisfy { $0.size < 300 || $0.events.count == 1 })
        #expect(fragments.dropLast().allSatisfy { $0.events.count == 2 })
        // One large event is not split, and is no fragment.
        store.put("k", Bytes(Array(repeating: 7, count: 1000)))
        try test.publish(store)
        #expect(stream.read().map(\.fragment) == [false, false])
    }

    @Test func limits() throws {
        var configuration = WatchConfiguration()
        configuration.streamWatchersMax = 2
        configuration.stalledRepliesMax = 5
        let stream = TestStream(TestHub(store, configuration).hub)
        for _ in 0..<3 { stream.create("a") }
        let responses = stream.read()
        #expect(responses.map(\.canceled) == [false, false, true])
        #expect(responses[2].reason == "etcdserver: too many requests")
        stream.sink.highMark = 0
        for _ in 0..<5 { #expect(stream.create("b") == .accepted) }
        #expect(stream.create("b") == .overloaded)
        #expect(stream.read().count == 5)
        stream.sink.highMark = 1
        stream.stream.becameWritable()
        #expect(stream.create("b") == .accepted)
    }

    @Test func closedStreamIsForgotten() throws {
        let test = TestHub(store)
        weak var sink: TestSink?
        weak var forgotten: WatchStream?
        do {
            let stream = TestStream(test.hub)
            let other = TestStream(test.hub)
            for start in [0, 1, 9] as [Int64] { stream.create("a", start: start) { $0.progressNotify = true } }
            other.create("a")
            _ = stream.stream.requestProgress()
            #expect(test.hub.counters.watchers == 4)
            stream.stream.close()
            stream.stream.close()
            _ = stream.read()
            _ = other.read()
            store.put("a")
            try test.publish(store)
            test.hub.tick(now: 1)
            test.hub.tick(now: 1 << 60)
            #expect(stream.read().isEmpty)
            #expect(other.read().count == 1)
            stream.stream.becameWritable()
            stream.create("a", start: 1)
            _ = stream.stream.cancel(watchID: 0)
            _ = stream.stream.requestProgress()
            store.put("a")
            try test.publish(store)
            #expect(stream.read().isEmpty)
            sink = stream.sink
            forgotten = stream.stream
        }
        #expect(sink == nil)
        #expect(forgotten == nil)
        #expect(test.hub.counters.watchers == 1)
        #expect(test.hub.counters.streams == 1)
        #expect(test.hub.counters.slowWatchers == 0)
        #expect(test.hub.counters.pendingRevisions == 0)
    }
}
