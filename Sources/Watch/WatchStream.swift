import Primitives
package import Wire

/// What became of a request on a watch stream.
package enum WatchRequestOutcome: Equatable, Sendable {
    case accepted
    /// The client asks and does not read the replies: end the stream with RESOURCE_EXHAUSTED and
    /// `WatchCancelReason.tooManyRequests`. Better not to read requests at all from a stream that is not writable.
    case overloaded
}

/// One gRPC Watch stream. Owner: the hub's event loop.
///
/// Requests are answered, in order, before the call returns; events and progress responses come through the hub.
package final class WatchStream {
    private let hub: WatchHub
    private(set) var sink: (any WatchStreamSink)?
    /// Its place in the hub's list.
    var index: Int

    /// Every watcher that is not closed, in an order that depends only on the requests.
    private(set) var watchers: [Watcher] = []
    private var watcherOfID: [Int64: Watcher] = [:]
    private var nextID: Int64 = 0
    var laggingCount = 0
    private var stalledReplies = 0

    private var isProgressRequested = false
    /// Whether the hub looks after the request. It may still do so when the request has been answered.
    var isInProgressLine = false
    private var progressNotifyCount = 0
    /// When the period for progress notifications ends; nil before the first tick that saw one wanted.
    private var progressDeadline: UInt64?

    init(hub: WatchHub, sink: any WatchStreamSink, index: Int) {
        self.hub = hub
        self.sink = sink
        self.index = index
    }

    /// Whether events may be sent now.
    var isWritable: Bool { sink?.isWritable ?? false }

    /// Sends one response if there is room; false when there is none.
    @inline(__always)
    func offer(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        guard let sink, sink.isWritable else { return false }
        sink.send(size: size, fill)
        return true
    }

    /// Sends what belongs to a response that has begun, room or not.
    func push(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) { sink?.send(size: size, fill) }

    // MARK: Requests

    /// Handles one request; on a closed stream nothing happens. The caller has checked that the stream may watch these keys, else it calls `refuse`.
    package func handle(_ request: WatchRequestView) -> WatchRequestOutcome {
        switch request {
        case .create(let request): create(request)
        case .cancel(let id): cancel(watchID: id)
        case .progress: requestProgress()
        case .empty: .accepted
        }
    }

    /// Makes a watcher and replies `created`; or `created` and `canceled`, with a reason, when it cannot be.
    package func create(_ request: WatchCreateRequestView) -> WatchRequestOutcome {
        guard sink != nil else { return .accepted }
        guard request.startRevision >= 0 else { return refuse(reason: WatchCancelReason.compacted) }
        guard let range = WatchRange(request) else { return refuse(reason: WatchCancelReason.emptyRange) }
        guard request.watchID == 0 || watcherOfID[request.watchID] == nil else {
            return refuse(reason: WatchCancelReason.duplicateID)
        }
        guard watchers.count < hub.configuration.streamWatchersMax else {
            return refuse(reason: WatchCancelReason.tooManyRequests)
        }
        let id = request.watchID == 0 ? freeID() : request.watchID
        hub.noteCompaction()
        // The hub may still have to distribute what the client has seen already: a watch from now on begins after it.
        let current = hub.source.currentRevision
        let outcome = reply(watchID: id, revision: current) { $0.created = true }
        guard outcome == .accepted else { return outcome }
        let start = request.startRevision
        guard start == 0 || start >= hub.compactRevision else {
            replyCompacted(watchID: id)
            return outcome
        }
        if request.prevKv { hub.source.wantPrevious() }
        // Revision 1 is the empty store's: no change bears it.
        let watcher = Watcher(
            stream: self, variant: hub.matcher.acquire(range).variant(EventOptions(request)), id: id,
            isFragmented: request.fragment, notifiesProgress: request.progressNotify, startRevision: start,
            next: start == 0 ? current + 1 : max(start, 2))
        insert(watcher)
        return outcome
    }

    /// Replies to a create request that it may not be: `created` and `canceled` at once.
    package func refuse(reason: String) -> WatchRequestOutcome {
        reply(watchID: -1, revision: hub.source.currentRevision) { response in
            response.created = true
            response.canceled = true
            response.cancelReason = reason
        }
    }

    /// Cancels a watcher and replies so; does nothing when there is none with that id.
    package func cancel(watchID id: Int64) -> WatchRequestOutcome {
        guard let watcher = watcherOfID[id] else { return .accepted }
        remove(watcher)
        let outcome = reply(watchID: id, revision: hub.source.currentRevision) { $0.canceled = true }
        answerProgressIfRequested()
        return outcome
    }

    /// Asks for a response, for the whole stream, that says how far all its watchers are. It leaves now or as soon as
    /// they have all been sent everything; several requests that wait are answered by one response.
    package func requestProgress() -> WatchRequestOutcome {
        guard sink != nil, !isProgressRequested else { return .accepted }
        isProgressRequested = true
        if !answerProgress(), !isInProgressLine {
            isInProgressLine = true
            hub.waitForProgress(self)
        }
        return .accepted
    }

    // MARK: The sink

    /// Says that the sink is writable again.
    package func becameWritable() {
        guard isWritable else { return }
        stalledReplies = 0
        if laggingCount > 0 {
            for watcher in watchers where watcher.state == .parked { hub.enqueueIfWritable(watcher) }
            hub.scheduleIfNeeded()
        }
        answerProgressIfRequested()
    }

    /// Ends the stream: nothing is sent any more, and hub and sink are let go of. May be called twice.
    package func close() {
        guard sink != nil else { return }
        sink = nil
        for watcher in watchers { hub.drop(watcher) }
        watchers = []
        watcherOfID = [:]
        isProgressRequested = false
        hub.remove(self)
    }

    // MARK: Watchers

    private func freeID() -> Int64 {
        while watcherOfID[nextID] != nil { nextID += 1 }
        defer { nextID += 1 }
        return nextID
    }

    private func insert(_ watcher: Watcher) {
        watcher.streamIndex = watchers.count
        watchers.append(watcher)
        watcherOfID[watcher.id] = watcher
        if watcher.notifiesProgress { progressNotifyCount += 1 }
        hub.totals.watchers += 1
        watcher.variant.add(watcher)
        watcher.state = .synced
        guard watcher.next <= hub.position else { return }
        hub.becomeLagging(watcher, next: watcher.next)
        hub.scheduleIfNeeded()
    }

    private func remove(_ watcher: Watcher) {
        hub.drop(watcher)
        watcherOfID.removeValue(forKey: watcher.id)
        if watcher.notifiesProgress { progressNotifyCount -= 1 }
        let last = watchers.removeLast()
        if last !== watcher {
            watchers[watcher.streamIndex] = last
            last.streamIndex = watcher.streamIndex
        }
    }

    /// Cancels a watcher that needs what has been compacted; the stream goes on.
    func cancelCompacted(_ watcher: Watcher) {
        remove(watcher)
        replyCompacted(watchID: watcher.id)
    }

    private func replyCompacted(watchID: Int64) {
        let compactRevision = hub.compactRevision
        // The header names no revision, as etcd's does not: nothing up to any was told.
        _ = reply(watchID: watchID, revision: 0) { response in
            response.canceled = true
            response.compactRevision = compactRevision
        }
    }

    // MARK: Progress

    /// Answers a progress request if it can be. False: it must wait.
    func answerProgress() -> Bool {
        guard isProgressRequested else { return true }
        guard laggingCount == 0, isWritable else { return false }
        let revision = hub.position
        for watcher in watchers where watcher.progressFloor > revision { return false }
        isProgressRequested = false
        sendProgress(watchID: -1, revision: revision)
        return true
    }

    /// Like `answerProgress`; the hub forgets the stream at its next look.
    private func answerProgressIfRequested() {
        if isProgressRequested { _ = answerProgress() }
    }

    /// At the end of each period, notifies the watchers that want it and were idle; one that lags then, or whose stream
    /// has no room, is notified when that has changed, unless it was sent events by then.
    func notifyProgress(now: UInt64) {
        guard progressNotifyCount > 0 else { return }
        guard let deadline = progressDeadline else {
            progressDeadline = now + hub.nextProgressDelay()
            return
        }
        let isDue = now >= deadline
        if isDue { progressDeadline = now + hub.nextProgressDelay() }
        let revision = hub.position
        for watcher in watchers where watcher.notifiesProgress && (isDue || watcher.isOwedProgress) {
            if watcher.hasSentEvents {
                watcher.isOwedProgress = false
            } else if watcher.state == .synced, watcher.progressFloor <= revision, isWritable {
                watcher.isOwedProgress = false
                sendProgress(watchID: watcher.id, revision: revision)
            } else {
                watcher.isOwedProgress = true
            }
            if isDue { watcher.hasSentEvents = false }
        }
    }

    private func sendProgress(watchID: Int64, revision: Int64) {
        send(WatchResponse(header: hub.header(revision: revision), watchID: watchID))
    }

    // MARK: Helpers

    /// Sends a reply, counting those that the client lets pile up.
    private func reply(
        watchID: Int64, revision: Int64, _ change: (inout WatchResponse) -> Void
    ) -> WatchRequestOutcome {
        guard sink != nil else { return .accepted }
        if !isWritable { stalledReplies += 1 }
        guard stalledReplies <= hub.configuration.stalledRepliesMax else { return .overloaded }
        var response = WatchResponse(header: hub.header(revision: revision), watchID: watchID)
        change(&response)
        send(response)
        return .accepted
    }

    private func send(_ response: WatchResponse) {
        sink?.send(size: response.encodedSize) { buffer in
            var writer = ProtoWriter(buffer)
            response.write(to: &writer)
            writer.finish()
        }
        hub.totals.responsesSent += 1
    }
}

extension WatchRange {
    /// The keys a request names, or nil when there are none.
    init?(_ request: WatchCreateRequestView) {
        let key = request.key.isEmpty ? Bytes([0]) : Bytes(copying: request.key)
        if request.rangeEnd.isEmpty {
            self.init(key: key, end: nil)
        } else if request.rangeEnd.count == 1, request.rangeEnd[0] == 0 {
            self.init(key: key, end: Bytes())
        } else {
            let end = Bytes(copying: request.rangeEnd)
            guard key < end else { return nil }
            self.init(key: key, end: end)
        }
    }
}

extension EventOptions {
    init(_ request: WatchCreateRequestView) {
        self = []
        if request.prevKv { insert(.previous) }
        if request.filtersPuts { insert(.withoutPuts) }
        if request.filtersDeletes { insert(.withoutDeletes) }
    }
}
