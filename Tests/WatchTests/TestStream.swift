import Primitives
import Testing
import Watch
import Wire

/// A response as a client sees it.
struct Response {
    var size: Int
    var header: ResponseHeader
    var watchID: Int64
    var created: Bool
    var canceled: Bool
    var compactRevision: Int64
    var reason: String
    var fragment: Bool
    var events: [ExpectedEvent]
    /// Whether each event came with its previous version.
    var hasPrevious: [Bool]

    var isProgress: Bool { !created && !canceled && events.isEmpty }

    init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        let view = try WatchResponseView(decoding: bytes)
        size = bytes.count
        header = view.header
        watchID = view.watchID
        created = view.created
        canceled = view.canceled
        compactRevision = view.compactRevision
        reason = view.cancelReason
        fragment = view.fragment
        events = []
        hasPrevious = []
        for event in view.events {
            guard let keyValue = event.keyValue else { continue }
            var copy = ExpectedEvent(key: Bytes(copying: keyValue.key), modRevision: keyValue.modRevision)
            copy.isDelete = event.isDelete
            copy.value = Bytes(copying: keyValue.value)
            copy.createRevision = keyValue.createRevision
            copy.version = keyValue.version
            copy.previousModRevision = event.previous?.modRevision ?? 0
            copy.previousValue = event.previous.map { Bytes(copying: $0.value) } ?? Bytes()
            if let previous = event.previous { #expect(Bytes(copying: previous.key) == copy.key) }
            events.append(copy)
            hasPrevious.append(event.previous != nil)
        }
    }
}

/// A sink that holds what it was sent until the test reads it, and is writable below `highMark` bytes.
final class TestSink: WatchStreamSink {
    var highMark = Int.max
    private(set) var bufferedBytes = 0
    private(set) var bufferedBytesMax = 0
    private var buffered: [Response] = []

    var isWritable: Bool { bufferedBytes < highMark }

    func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
        defer { memory.deallocate() }
        fill(memory)
        bufferedBytes += size
        bufferedBytesMax = max(bufferedBytesMax, bufferedBytes)
        do {
            buffered.append(try Response(UnsafeRawBufferPointer(memory)))
        } catch {
            Issue.record("a response cannot be decoded: \(error)")
        }
    }

    /// Takes up to so many responses.
    func read(_ count: Int = Int.max) -> [Response] {
        let taken = Array(buffered.prefix(count))
        buffered.removeFirst(taken.count)
        for response in taken { bufferedBytes -= response.size }
        return taken
    }
}

/// A watch stream and its sink, with requests as a client writes them.
struct TestStream {
    let sink = TestSink()
    let stream: WatchStream

    init(_ hub: WatchHub) { stream = hub.openStream(sink: sink) }

    @discardableResult
    func create(
        _ key: Bytes, end: Bytes = Bytes(), start: Int64 = 0,
        _ change: (inout WatchCreateRequestView) -> Void = { _ in }
    ) -> WatchRequestOutcome {
        key.withUnsafeBytes { key in
            end.withUnsafeBytes { end in
                var request = WatchCreateRequestView()
                request.key = key
                request.rangeEnd = end
                request.startRevision = start
                change(&request)
                return stream.handle(.create(request))
            }
        }
    }

    func read() -> [Response] { sink.read() }
    func readEvents() -> [ExpectedEvent] { read().flatMap(\.events) }
}

/// A hub over a store, with turns run by the test.
final class TestHub {
    private(set) var hub: WatchHub!
    private(set) var isScheduled = false

    init(_ source: any WatchSource, _ configuration: WatchConfiguration = WatchConfiguration(), seed: UInt64 = 1) {
        hub = WatchHub(source: source, configuration: configuration, random: PRNG(seed: seed)) { [unowned self] in
            #expect(!isScheduled, "a turn was scheduled twice")
            isScheduled = true
        }
    }

    func turn() throws {
        guard isScheduled else { return }
        isScheduled = false
        try hub.turn()
    }

    /// Runs turns until there is no work; fails when that takes more than `turnsMax`.
    func settle(turnsMax: Int = 100_000) throws {
        var turns = 0
        while isScheduled {
            try turn()
            turns += 1
            try #require(turns <= turnsMax, "the hub does not come to rest")
        }
    }

    /// Says that everything is published, and lets the hub come to rest.
    func publish(_ store: any TestStore) throws {
        hub.newRevisions(upTo: store.currentRevision)
        try settle()
    }
}
