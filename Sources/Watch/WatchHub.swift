import DequeModule
package import MVCC
package import Primitives
import Wire

// Watch: brings every change to everybody who asked for it, in order, once, without a gap.
//
// Purpose: one hub for each event loop serves the Watch streams of that loop's connections. It reads the store's tail
// (or, for watchers far behind, its history), finds the watchers of each event, and writes `WatchResponse` messages into
// the streams' sinks. It does no I/O, reads no clock and starts nothing by itself.
//
// Owner: the event loop the hub belongs to. Hub, streams and watchers are used by that thread alone; nothing is locked.
//
// How it works: the hub has a *position*: all revisions up to it have been distributed. A watcher is *synced* when it
// has been sent everything up to the position, and then it costs nothing until one of its keys changes; otherwise it
// *lags*, and is nothing but a cursor: the next revision it needs. Lagging watchers never hold events. Those whose
// stream has no room are parked until it has; the others are brought up in turns, first come first served, watchers
// at similar revisions sharing one scan, until they reach the position. A watcher becomes lagging when it asks for the
// past, when its stream has no room for an event, when a turn's budget is spent before its event is sent, or when the
// hub was so slow that the tail no longer holds what comes after its position.
//
// Invariants:
//  - a watcher is sent the events of its keys in ascending revisions, each once, from its start revision on;
//  - the events of one revision are in one response (or, if asked for, in its fragments, which follow each other);
//  - a progress response with revision r leaves only after every event up to r of all watchers it speaks for;
//  - memory for a watcher does not grow with what it has yet to receive; a sink holds at most one response (or one
//    tick's worth of small ones) more than its own high mark.
//
// Limits: see `WatchConfiguration`.

/// The watchers of one event loop: see the head of this file.
///
/// Calls from inside a sink's `send` or from inside `scheduleTurn` are not allowed.
package final class WatchHub {
    let configuration: WatchConfiguration
    private(set) var source: any WatchSource
    private let scheduleTurn: () -> Void
    private var random: PRNG

    /// Everything up to this revision has been distributed to synced watchers.
    var position: Int64
    /// What the store has published; distribution goes on until `position` is there.
    private var target: Int64
    private(set) var compactRevision: Int64
    private var isTurnScheduled = false

    var matcher = RangeMatcher()
    /// Watchers that lag and whose stream had room when they were put here. Stale entries are skipped.
    var lagging = Deque<Watcher>()
    private var streams: [WatchStream] = []
    /// Streams with an unanswered progress request.
    private var progressWaiters: [WatchStream] = []

    var totals = WatchCounters()
    /// The sum of `next` over lagging watchers, so that the revisions they have to go through are known at once.
    var laggingNextSum: Int64 = 0
    var laggingWantsPreviousCount = 0

    // Scratch memory of one distribution.
    var batch = EventBatch()
    let payload = EventPayload()
    var touchedGroups: [WatcherGroup] = []
    var leftBehind: [Watcher] = []
    let headerMemory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
    /// The encoded header in `headerMemory`.
    var headerField = UnsafeRawBufferPointer(start: nil, count: 0)

    /// Makes a hub at the source's current revision.
    ///
    /// - Parameters:
    ///   - random: draws the jitter of progress notifications.
    ///   - scheduleTurn: called when there is work to be done in a turn and none is scheduled: the owner must call
    ///     `turn()` once, soon, after having looked after its other work.
    package init(
        source: any WatchSource, configuration: WatchConfiguration = WatchConfiguration(), random: PRNG,
        scheduleTurn: @escaping () -> Void
    ) {
        self.source = source
        self.configuration = configuration
        self.random = random
        self.scheduleTurn = scheduleTurn
        position = source.currentRevision
        target = position
        compactRevision = source.compactRevision
    }

    deinit { headerMemory.deallocate() }

    // MARK: Entry points

    /// Makes a stream without watchers. The hub holds it, and it its sink, until `WatchStream.close()`.
    package func openStream(sink: any WatchStreamSink) -> WatchStream {
        let stream = WatchStream(hub: self, sink: sink, index: streams.count)
        streams.append(stream)
        totals.streams += 1
        return stream
    }

    /// Says that the store has published everything up to `revision`: call it once for each wake-up, however many
    /// revisions there are. Sends as much of it as one turn may, the rest in turns.
    package func newRevisions(upTo revision: Int64) {
        target = max(target, revision)
        var budget = TurnBudget(configuration)
        advance(&budget)
        count(budget)
        answerProgress()
        scheduleIfNeeded()
    }

    /// Does one turn of bounded work: see `WatchConfiguration`. Called because of `scheduleTurn`.
    ///
    /// - Throws: what the source threw when it read history, except for compaction. The store cannot be trusted then:
    ///   stop the process.
    package func turn() throws(StoreError) {
        isTurnScheduled = false
        noteCompaction()
        var budget = TurnBudget(configuration)
        advance(&budget)
        count(budget)
        budget = TurnBudget(configuration)
        defer { count(budget) }
        try catchUp(&budget)
        answerProgress()
        scheduleIfNeeded()
    }

    /// Sends the progress notifications that are due. Call it at least ten times in `progressIntervalNanoseconds`.
    /// `now` is a monotonic clock's nanoseconds.
    package func tick(now: UInt64) {
        for stream in streams { stream.notifyProgress(now: now) }
    }

    /// Says that revisions before `revision` are gone. The hub finds it out by itself, too, before it reads history.
    package func compacted(to revision: Int64) {
        compactRevision = max(compactRevision, revision)
        scheduleIfNeeded()
    }

    /// Says that the store was replaced, as by a received snapshot. Every watcher goes on from where it was, by history,
    /// or is canceled where that has been compacted.
    package func sourceReplaced(by source: any WatchSource) {
        self.source = source
        noteCompaction()
        target = max(target, source.currentRevision)
        leaveTail()
        answerProgress()
        scheduleIfNeeded()
    }

    /// What the metrics show. O(1).
    package var counters: WatchCounters {
        var counters = totals
        counters.pendingRevisions = max(0, Int64(counters.slowWatchers) * (position + 1) - laggingNextSum)
        return counters
    }

    /// Everything up to this revision has been distributed.
    package var currentPosition: Int64 { position }

    // MARK: Distribution to synced watchers

    private func advance(_ budget: inout TurnBudget) {
        while position < target {
            if totals.watchers == totals.slowWatchers {
                // Nobody is to be told; those who lag read for themselves.
                position = target
                return
            }
            guard budget.remains else { return }
            let events = source.tailEvents(
                after: position, through: target, maxBytes: configuration.batchBytesMax)
            guard let events else { return leaveTail() }
            guard let last = events.last else {
                position = target
                return
            }
            distribute(events, &budget)
            position = last.main
        }
    }

    /// The tail no longer holds what comes after the position: everybody goes on by history.
    private func leaveTail() {
        for stream in streams {
            for watcher in stream.watchers where watcher.state == .synced {
                let next = max(watcher.next, position + 1)
                if next <= target { becomeLagging(watcher, next: next) }
            }
        }
        position = target
    }

    // MARK: Watchers

    func becomeLagging(_ watcher: Watcher, next: Int64) {
        watcher.variant.remove(watcher)
        watcher.next = next
        watcher.state = .parked
        watcher.stream.laggingCount += 1
        totals.slowWatchers += 1
        laggingNextSum += next
        if watcher.wantsPrevious { laggingWantsPreviousCount += 1 }
        enqueueIfWritable(watcher)
    }

    func becomeSynced(_ watcher: Watcher) {
        forgetLagging(watcher)
        watcher.variant.add(watcher)
        watcher.state = .synced
    }

    private func forgetLagging(_ watcher: Watcher) {
        watcher.stream.laggingCount -= 1
        totals.slowWatchers -= 1
        laggingNextSum -= watcher.next
        if watcher.wantsPrevious { laggingWantsPreviousCount -= 1 }
    }

    /// Puts a parked watcher in line when its stream has room. Its turn comes later, in `turn()`.
    func enqueueIfWritable(_ watcher: Watcher) {
        guard watcher.stream.isWritable else { return }
        watcher.state = .queued
        lagging.append(watcher)
    }

    /// Takes a watcher out of everything but its stream.
    func drop(_ watcher: Watcher) {
        switch watcher.state {
        case .synced: watcher.variant.remove(watcher)
        case .parked, .queued: forgetLagging(watcher)
        case .closed: return
        }
        watcher.state = .closed
        totals.watchers -= 1
        matcher.release(watcher.variant.group)
    }

    // MARK: Helpers

    /// Takes a closed stream out of the hub.
    func remove(_ stream: WatchStream) {
        let last = streams.removeLast()
        if last !== stream {
            streams[stream.index] = last
            last.index = stream.index
        }
        progressWaiters.removeAll { $0 === stream }
        totals.streams -= 1
    }

    func waitForProgress(_ stream: WatchStream) { progressWaiters.append(stream) }

    private func answerProgress() {
        progressWaiters.removeAll { stream in
            guard stream.answerProgress() else { return false }
            stream.isInProgressLine = false
            return true
        }
    }

    func scheduleIfNeeded() {
        guard !isTurnScheduled, position < target || !lagging.isEmpty else { return }
        isTurnScheduled = true
        scheduleTurn()
    }

    private func count(_ budget: TurnBudget) {
        totals.eventsSent += budget.eventsSent
        totals.responsesSent += UInt64(budget.responsesSent)
    }

    func noteCompaction() { compactRevision = max(compactRevision, source.compactRevision) }

    func noteCompaction(to revision: Int64) { compactRevision = max(compactRevision, revision) }

    /// The header of a response that says `revision`.
    func header(revision: Int64) -> ResponseHeader {
        let identity = source.identity
        return ResponseHeader(
            clusterID: identity.clusterID, memberID: identity.memberID, revision: revision,
            raftTerm: identity.raftTerm)
    }

    /// An interval and up to a tenth of it more, so that streams opened together are not notified together.
    func nextProgressDelay() -> UInt64 {
        let interval = configuration.progressIntervalNanoseconds
        return interval + UInt64(random.next(in: 0..<max(1, Int(interval / 10))))
    }
}

/// What one turn may still send, and what it has sent.
struct TurnBudget {
    private let responsesMax: Int
    private var bytesLeft: Int
    private(set) var responsesSent = 0
    var eventsSent: UInt64 = 0

    init(_ configuration: WatchConfiguration) {
        responsesMax = configuration.turnResponsesMax
        bytesLeft = configuration.turnBytesMax
    }

    var remains: Bool { responsesSent < responsesMax && bytesLeft > 0 }

    mutating func spend(responses: Int, bytes: Int) {
        responsesSent += responses
        bytesLeft -= bytes
    }
}
