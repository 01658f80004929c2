import MVCC
import Primitives
import Watch
import Wire

/// What a watch client receives, decoded.
struct WatchDelivery {
    var revision: Int64
    var created: Bool
    var canceled: Bool
    var compactRevision: Int64
    var reason: String
    var events: [WatchedEvent]
}

/// A stream's way to the client: holds what was sent until the client reads it, and is writable below `highMark` bytes.
final class SimulatedSink: WatchStreamSink {
    var highMark = Int.max
    private let bug: PlantedBug?
    private var bufferedBytes = 0
    private var buffered: [(delivery: WatchDelivery, size: Int)] = []
    private var sent = 0
    /// A response that cannot be decoded.
    private(set) var isBroken = false

    init(bug: PlantedBug?) { self.bug = bug }

    var isWritable: Bool { bufferedBytes < highMark }
    var isEmpty: Bool { buffered.isEmpty }

    func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
        defer { memory.deallocate() }
        fill(memory)
        guard let view = try? WatchResponseView(decoding: UnsafeRawBufferPointer(memory)) else {
            isBroken = true
            return
        }
        var delivery = WatchDelivery(
            revision: view.header.revision, created: view.created, canceled: view.canceled,
            compactRevision: view.compactRevision, reason: view.cancelReason, events: [])
        for event in view.events {
            guard let keyValue = event.keyValue else { continue }
            let previous = bug == .dropPrevious ? nil : event.previous.map { Record($0) }
            delivery.events.append(
                WatchedEvent(record: Record(keyValue), isDelete: event.isDelete, previous: previous))
        }
        sent += 1
        let actsNow = sent % 16 == 0 && !delivery.events.isEmpty
        if bug == .loseEvents, actsNow { return }
        add(delivery, size)
        if bug == .repeatEvents, actsNow { add(delivery, size) }
    }

    /// A response that the hub did not make: of a planted bug.
    func forge(progress revision: Int64) {
        add(
            WatchDelivery(
                revision: revision, created: false, canceled: false, compactRevision: 0, reason: "", events: []), 16)
    }

    private func add(_ delivery: WatchDelivery, _ size: Int) {
        buffered.append((delivery, size))
        bufferedBytes += size
    }

    /// Takes up to so many responses.
    func read(_ count: Int) -> [WatchDelivery] {
        let taken = buffered.prefix(count)
        buffered.removeFirst(taken.count)
        for item in taken { bufferedBytes -= item.size }
        return taken.map(\.delivery)
    }
}

/// The watches of one process: the hub of production over the member's store.
final class WatchFront {
    let hub: WatchHub
    private let store: Store
    private let state: State

    private final class State {
        var wantsTurn = false
    }

    init(store: Store, clusterID: UInt64, memberID: MemberID, random: inout PRNG) throws(StoreError) {
        self.store = store
        var configuration = WatchConfiguration()
        configuration.batchBytesMax = [500, 5000, 256 << 10][random.next(in: 0..<3)]
        configuration.historyRevisionsMax = random.next(in: 2..<50)
        configuration.turnScansMax = random.next(in: 1..<5)
        configuration.turnResponsesMax = random.next(in: 2..<40)
        configuration.turnBytesMax = random.next(in: 500..<20_000)
        configuration.progressIntervalNanoseconds = 500_000_000
        let state = State()
        self.state = state
        hub = WatchHub(
            source: StoreWatchSource(store: store, reader: try store.makeReader()) {
                WatchIdentity(clusterID: clusterID, memberID: memberID.rawValue, raftTerm: 1)
            }, configuration: configuration, random: PRNG(seed: random.next())
        ) { state.wantsTurn = true }
    }

    /// Whether the event loop has something to do for watchers.
    var hasWork: Bool { state.wantsTurn || hub.currentPosition < store.currentRevision }

    /// One turn of the event loop.
    func turn(now: UInt64) throws(StoreError) {
        hub.newRevisions(upTo: store.currentRevision)
        if state.wantsTurn {
            state.wantsTurn = false
            try hub.turn()
        }
        hub.tick(now: now)
    }

    /// Opens a stream with one watcher.
    func open(
        _ range: KeyRange, from start: Int64, wantsPrevious: Bool, sink: SimulatedSink
    ) -> WatchStream {
        let stream = hub.openStream(sink: sink)
        range.key.withUnsafeBytes { key in
            range.end.withUnsafeBytes { end in
                var request = WatchCreateRequestView()
                request.key = key
                request.rangeEnd = end
                request.startRevision = start
                request.prevKv = wantsPrevious
                request.progressNotify = true
                _ = stream.create(request)
            }
        }
        return stream
    }
}
