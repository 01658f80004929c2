import Primitives
import Testing
import Watch
import Wire

/// What a test knows of one watch that was created, and what it has received.
struct WatchRecord {
    let id: Int64
    let request: WatchPlan
    /// The first revision it must be sent.
    let start: Int64
    /// What it received is what it must have been sent up to this revision.
    var checkedRevision: Int64 = 0
    /// Collected until the last fragment.
    var fragments: [ExpectedEvent] = []
    var isInFragments = false
    var isCanceled = false
    var compactRevision: Int64 = 0
}

/// A create request of the simulation.
struct WatchPlan {
    var key: Bytes
    var end: Bytes
    var start: Int64
    var chosenID: Int64
    var isFragmented: Bool
    var wantsPrevious: Bool
    var withoutPuts: Bool
    var withoutDeletes: Bool
    var notifiesProgress: Bool

    func wants(_ event: ExpectedEvent) -> Bool {
        guard !(event.isDelete ? withoutDeletes : withoutPuts) else { return false }
        if end.isEmpty { return event.key == key }
        return event.key >= key && (end == Bytes([0]) || event.key < end)
    }
}

/// One client stream: what it asked for, what it must be answered, and what it got.
struct SimulatedStream {
    enum Reply {
        case created(WatchPlan, id: Int64?)
        case canceled(Int64)
    }

    let client: TestStream
    var replies: [Reply] = []
    var watches: [WatchRecord] = []
    var nextID: Int64 = 0
    var openIDs: Set<Int64> = []
    var owesProgress = false
    var progressRevision: Int64 = 0
}

/// A hub, a store and streams under random operations, with the guarantees of kubernetes-contract.md, section 9, checked
/// on everything a client receives. All randomness comes from the seed.
struct WatchSimulation {
    var random: PRNG
    let store: any TestStore
    let test: TestHub
    let configuration: WatchConfiguration
    var model = EventModel()
    var streams: [SimulatedStream] = []
    var now: UInt64 = 0
    var delivered = 0
    var compactedWatches = 0
    var progressSeen = 0
    var fragmentsSeen = 0

    init(seed: UInt64, store: any TestStore) {
        random = PRNG(seed: seed)
        var configuration = WatchConfiguration()
        configuration.batchBytesMax = random.next(in: 1..<3000)
        configuration.historyRevisionsMax = random.next(in: 1..<30)
        configuration.turnScansMax = random.next(in: 1..<5)
        configuration.turnResponsesMax = random.next(in: 1..<30)
        configuration.lineLookMax = random.next(in: 1..<20)
        configuration.turnBytesMax = random.next(in: 1..<8000)
        configuration.fragmentBytesMax = random.next(in: 100..<600)
        configuration.progressIntervalNanoseconds = 50
        self.configuration = configuration
        self.store = store
        test = TestHub(store.source, configuration, seed: seed)
    }

    mutating func run(steps: Int) throws {
        for _ in 0..<steps { try step() }
        try finish()
    }

    private mutating func step() throws {
        now += 1
        switch random.next(in: 0..<32) {
        case 0..<8: try write()
        case 8..<13: test.hub.newRevisions(upTo: store.currentRevision)
        case 13..<18: try test.turn()
        case 18, 19, 20: create()
        case 21: cancel()
        case 22, 23: requestProgress()
        case 24..<28: readSome()
        case 28 where random.chance(oneIn: 4): try compact()
        case 29: if random.chance(oneIn: 6) { try store.shortenTail() }
        case 30: changeStreams()
        default: test.hub.tick(now: now)
        }
        let position = test.hub.currentPosition
        #expect(position <= store.currentRevision)
    }

    // MARK: The store

    private func key(_ random: inout PRNG) -> Bytes {
        Bytes(utf8: "\("abc".randomElement(using: &random)!)\(random.next(in: 0..<8))")
    }

    private mutating func write() throws {
        var changes: [Change] = []
        for _ in 0..<(random.chance(oneIn: 4) ? random.next(in: 2..<12) : 1) {
            let key = key(&random)
            if changes.contains(where: { $0.key == key }) { continue }
            if random.chance(oneIn: 3), model.isLive(key) {
                changes.append(Change(key: key, value: nil))
            } else {
                let value = Bytes(Array(repeating: 0x61, count: random.next(in: 0..<90)))
                changes.append(Change(key: key, value: value))
            }
        }
        _ = model.write(changes)
        try store.write(changes)
        #expect(store.currentRevision == model.currentRevision)
    }

    private mutating func compact() throws {
        let low = max(1, Int(store.compactRevision))
        let revision = Int64(random.next(in: low..<Int(store.currentRevision) + 1))
        guard revision > store.compactRevision else { return }
        try store.compact(to: revision)
        if random.chance(oneIn: 2) { test.hub.compacted(to: revision) }
    }

    // MARK: Requests

    private mutating func changeStreams() {
        if streams.count < 6, random.chance(oneIn: 2) {
            let client = TestStream(test.hub)
            client.sink.highMark = random.chance(oneIn: 3) ? Int.max : random.next(in: 1..<600)
            streams.append(SimulatedStream(client: client))
        } else if !streams.isEmpty, random.chance(oneIn: 6) {
            let index = random.next(in: 0..<streams.count)
            receive(index, Int.max)
            streams[index].client.stream.close()
            streams.remove(at: index)
        }
    }

    private mutating func create() {
        guard !streams.isEmpty else { return }
        let index = random.next(in: 0..<streams.count)
        // What the hub has canceled by itself frees ids: know of it before saying which ids are free.
        receive(index, Int.max)
        let plan = plan()
        let isTaken = plan.chosenID != 0 && streams[index].openIDs.contains(plan.chosenID)
        let isRefused = plan.start < 0 || plan.isEmptyRange || isTaken
        let id = isRefused ? nil : streams[index].takeID(plan.chosenID)
        streams[index].replies.append(.created(plan, id: id))
        let outcome = streams[index].client.create(plan.key, end: plan.end, start: plan.start) { request in
            request.watchID = plan.chosenID
            request.fragment = plan.isFragmented
            request.prevKv = plan.wantsPrevious
            request.filtersPuts = plan.withoutPuts
            request.filtersDeletes = plan.withoutDeletes
            request.progressNotify = plan.notifiesProgress
        }
        #expect(outcome == .accepted)
    }

    private mutating func plan() -> WatchPlan {
        let low = key(&random)
        let ends: [Bytes] = [Bytes(), Bytes(), Bytes([0]), key(&random), Bytes([low[0] + 1]), "c"]
        let current = store.currentRevision
        let starts: [Int64] = [
            0, current, current + 1, current + 20, max(0, store.compactRevision),
            Int64(random.next(in: -1..<Int(current) + 3)),
        ]
        return WatchPlan(
            key: random.chance(oneIn: 3) ? Bytes([low[0]]) : low, end: ends[random.next(in: 0..<ends.count)],
            start: starts[random.next(in: 0..<starts.count)],
            chosenID: random.chance(oneIn: 5) ? Int64(random.next(in: 1..<12)) : 0,
            isFragmented: random.chance(oneIn: 3), wantsPrevious: random.chance(oneIn: 2),
            withoutPuts: random.chance(oneIn: 8), withoutDeletes: random.chance(oneIn: 8),
            notifiesProgress: random.chance(oneIn: 3))
    }

    private mutating func cancel() {
        guard !streams.isEmpty else { return }
        let index = random.next(in: 0..<streams.count)
        receive(index, Int.max)
        let id = Int64(random.next(in: 0..<12))
        if streams[index].openIDs.remove(id) != nil { streams[index].replies.append(.canceled(id)) }
        #expect(streams[index].client.stream.cancel(watchID: id) == .accepted)
    }

    private mutating func requestProgress() {
        guard !streams.isEmpty else { return }
        let index = random.next(in: 0..<streams.count)
        streams[index].owesProgress = true
        #expect(streams[index].client.stream.requestProgress() == .accepted)
    }

    // MARK: The clients

    private mutating func readSome() {
        guard !streams.isEmpty else { return }
        receive(random.next(in: 0..<streams.count), random.next(in: 1..<8))
    }

    private mutating func receive(_ index: Int, _ count: Int) {
        for response in streams[index].client.sink.read(count) {
            #expect(response.header.clusterID == store.source.identity.clusterID)
            #expect(response.header.revision <= store.currentRevision)
            if response.created {
                receiveCreated(index, response)
            } else if response.canceled {
                receiveCanceled(index, response)
            } else if response.isProgress {
                receiveProgress(index, response)
            } else {
                receiveEvents(index, response)
            }
        }
        if streams[index].client.sink.isWritable { streams[index].client.stream.becameWritable() }
    }

    private mutating func receiveCreated(_ index: Int, _ response: Response) {
        guard !streams[index].replies.isEmpty, case .created(let plan, let id) = streams[index].replies.removeFirst()
        else {
            Issue.record("a created reply out of order")
            return
        }
        #expect(response.watchID == id ?? -1)
        #expect(response.canceled == (id == nil))
        #expect(response.reason.isEmpty == (id != nil))
        guard let id else { return }
        let start = plan.start == 0 ? response.header.revision + 1 : plan.start
        streams[index].watches.append(WatchRecord(id: id, request: plan, start: start))
    }

    private mutating func receiveCanceled(_ index: Int, _ response: Response) {
        guard let place = streams[index].place(response.watchID) else {
            Issue.record("watch \(response.watchID) is canceled and was not created")
            return
        }
        streams[index].watches[place].isCanceled = true
        streams[index].watches[place].compactRevision = response.compactRevision
        if response.compactRevision == 0 {
            guard !streams[index].replies.isEmpty, case .canceled(let id) = streams[index].replies.removeFirst() else {
                Issue.record("a canceled reply out of order")
                return
            }
            #expect(id == response.watchID)
        } else {
            compactedWatches += 1
            streams[index].openIDs.remove(response.watchID)
            #expect(response.compactRevision <= store.compactRevision)
        }
        #expect(!streams[index].watches[place].isInFragments)
    }

    private mutating func receiveEvents(_ index: Int, _ response: Response) {
        guard let place = streams[index].place(response.watchID) else {
            Issue.record("events of watch \(response.watchID), which is not open")
            return
        }
        delivered += response.events.count
        let request = streams[index].watches[place].request
        if response.fragment { fragmentsSeen += 1 }
        #expect(!response.fragment || request.isFragmented)
        #expect(
            !request.isFragmented || response.size < configuration.fragmentBytesMax || response.events.count == 1)
        var events = response.events
        for (place, event) in events.enumerated() {
            if request.wantsPrevious, event.createRevision != event.modRevision, !response.hasPrevious[place] {
                // Only what was compacted before the watch saw it may be missing.
                #expect(event.modRevision - 1 < store.compactRevision)
                let whole = model.revisions[Int(event.modRevision) - 2].first { $0.key == event.key }
                events[place].previousModRevision = whole?.previousModRevision ?? 0
                events[place].previousValue = whole?.previousValue ?? Bytes()
            }
            #expect(request.wantsPrevious || !response.hasPrevious[place])
        }
        streams[index].watches[place].fragments += events
        streams[index].watches[place].isInFragments = response.fragment
        guard !response.fragment else { return }
        let list = streams[index].watches[place].fragments
        streams[index].watches[place].fragments = []
        // Ordered, unique, reliable and atomic at once: each response goes on where the last one ended, lacks nothing
        // and ends at the end of a revision.
        let last = list.last!.modRevision
        #expect(response.header.revision >= last)
        #expect(list == expected(streams[index].watches[place], through: last))
        streams[index].watches[place].checkedRevision = last
    }

    private mutating func receiveProgress(_ index: Int, _ response: Response) {
        progressSeen += 1
        let revision = response.header.revision
        #expect(response.watchID == -1 || streams[index].place(response.watchID) != nil)
        for watch in streams[index].watches where !watch.isCanceled {
            guard response.watchID == -1 || response.watchID == watch.id else { continue }
            #expect(!watch.isInFragments)
            #expect(watch.request.start <= revision, "etcd#20221")
            #expect(expected(watch, through: revision).isEmpty, "progress is early")
        }
        guard response.watchID == -1 else { return }
        #expect(revision >= streams[index].progressRevision)
        streams[index].progressRevision = revision
        streams[index].owesProgress = false
    }

    // MARK: Guarantees

    /// What a watch must be sent up to a revision and has not received.
    private func expected(_ watch: WatchRecord, through: Int64) -> [ExpectedEvent] {
        let first = max(2, watch.start, watch.checkedRevision + 1)
        guard through >= first else { return [] }
        var events: [ExpectedEvent] = []
        for revision in first...through {
            for event in model.revisions[Int(revision) - 2] where watch.request.wants(event) {
                events.append(watch.request.wantsPrevious ? event : event.withoutPrevious)
            }
        }
        return events
    }

    /// Lets everybody read everything: then nobody may lack anything, and every progress request has been answered.
    private mutating func finish() throws {
        for _ in 0..<3 {
            test.hub.newRevisions(upTo: store.currentRevision)
            for index in streams.indices { streams[index].client.sink.highMark = Int.max }
            for index in streams.indices { receive(index, Int.max) }
            try test.settle()
        }
        for index in streams.indices { receive(index, Int.max) }
        #expect(test.hub.counters.slowWatchers == 0)
        #expect(test.hub.counters.pendingRevisions == 0)
        #expect(test.hub.counters.watchers == streams.reduce(0) { $0 + $1.openIDs.count })
        #expect(test.hub.currentPosition == store.currentRevision)
        for stream in streams {
            #expect(stream.replies.isEmpty, "requests without replies")
            var isFuture = false
            for watch in stream.watches where !watch.isCanceled {
                #expect(expected(watch, through: store.currentRevision).isEmpty)
                isFuture = isFuture || watch.request.start > store.currentRevision
            }
            #expect(!stream.owesProgress || isFuture, "a progress request is lost")
        }
    }
}

extension WatchPlan {
    var isEmptyRange: Bool { !end.isEmpty && end != Bytes([0]) && key >= end }
}

extension ExpectedEvent {
    var withoutPrevious: ExpectedEvent {
        var copy = self
        copy.previousModRevision = 0
        copy.previousValue = Bytes()
        return copy
    }
}

extension SimulatedStream {
    /// The id a watch gets: the chosen one, or the next that is free.
    mutating func takeID(_ chosen: Int64) -> Int64 {
        var id = chosen
        if id == 0 {
            while openIDs.contains(nextID) { nextID += 1 }
            id = nextID
            nextID += 1
        }
        openIDs.insert(id)
        return id
    }

    /// Where the open watch with this id is.
    func place(_ id: Int64) -> Int? { watches.lastIndex { $0.id == id && !$0.isCanceled } }
}
