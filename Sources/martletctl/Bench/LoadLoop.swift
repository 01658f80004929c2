import NIOCore
import Transport

/// One call that a workload wants made.
struct LoadCall {
    /// The method.
    var path: RPCPath
    /// The encoded request.
    var message: [UInt8]
    /// Which of the workload's kinds of operation it is: an index into its `operations`.
    var operation: Int
    /// Anything the workload wants back with the answer.
    var token: Int = 0
}

/// What a load loop asks a workload for. One instance per loop, used on that loop alone.
protocol LoadSource: AnyObject {
    /// The kinds of operation, in the order of their numbers; latencies are reported for each.
    var operations: [String] { get }

    /// The next call; nil when there is none to be made now (others may come when calls in flight end).
    func next() -> LoadCall?

    /// The answer to `call`. Returns why it is wrong, or nil when it is right.
    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String?

    /// A call that failed; what it asked for may have been done or not.
    func failed(_ call: LoadCall)
}

extension LoadSource {
    func failed(_ call: LoadCall) {}
}

/// When to send and when to stop.
struct LoadPlan: Sendable {
    /// Calls in flight on each connection.
    var clientsPerConnection: Int
    /// How many calls to make; nil for no bound.
    var total: Int?
    /// How long to make calls; nil for no bound.
    var duration: TimeAmount?
    /// Calls per second, at even distances, or 0 for as many as can be. Latencies are then counted from the moment a
    /// call was due, so that a server that stops for a second is charged for every call that fell into it.
    var rate: Double = 0
}

/// What one loop, or all together, measured.
struct LoadResult: Sendable {
    var histograms: [Histogram] = []
    /// Calls that failed, or whose answer was wrong.
    var errors = 0
    /// The first few reasons.
    var errorTexts: [String] = []

    var calls: UInt64 { histograms.reduce(0) { $0 + $1.count } }

    mutating func merge(_ other: LoadResult) {
        for (index, histogram) in other.histograms.enumerated() {
            if index == histograms.count { histograms.append(Histogram()) }
            histograms[index].merge(histogram)
        }
        errors += other.errors
        errorTexts = Array((errorTexts + other.errorTexts).prefix(5))
    }
}

/// Keeps a number of calls in flight on the connections of one event loop. Owner: that loop.
final class LoadLoop {
    private let eventLoop: any EventLoop
    private let source: any LoadSource
    private let plan: LoadPlan
    /// The connection of each place in which one call at a time is in flight.
    private let slots: [LoadConnection]
    private var idle: [Int] = []
    private var inFlight = 0
    private var remaining: Int
    private var end: NIODeadline?
    private var nextDue = NIODeadline.now()
    private let interval: TimeAmount
    private var isWaiting = false
    private var isFinished = false
    private var result: LoadResult
    private let promise: EventLoopPromise<LoadResult>
    private let onCall: (Int) -> Void
    /// Calls that have ended and `onCall` was not told of, and when it was told last.
    private var unreported = 0
    private var reported = NIODeadline.now()

    /// `onCall` is told of calls that have ended, every 1,000 of them and at least ten times a second.
    init(
        eventLoop: any EventLoop, connections: [LoadConnection], source: any LoadSource, plan: LoadPlan,
        onCall: @escaping (Int) -> Void
    ) {
        self.eventLoop = eventLoop
        self.source = source
        self.plan = plan
        self.onCall = onCall
        slots = (0..<plan.clientsPerConnection).flatMap { _ in connections }
        remaining = plan.total ?? .max
        interval = plan.rate > 0 ? .nanoseconds(Int64(1e9 / plan.rate)) : .zero
        result = LoadResult(histograms: source.operations.map { _ in Histogram() })
        promise = eventLoop.makePromise(of: LoadResult.self)
    }

    /// Runs to the end of the plan; the future is fulfilled when no call is in flight any more.
    func start() -> EventLoopFuture<LoadResult> {
        eventLoop.preconditionInEventLoop()
        end = plan.duration.map { .now() + $0 }
        nextDue = .now()
        idle = Array(slots.indices.reversed())
        fill()
        if plan.duration != nil { eventLoop.assumeIsolated().scheduleTask(deadline: end!) { self.finishIfDone() } }
        return promise.futureResult
    }

    private var isOver: Bool { remaining <= 0 || end.map { NIODeadline.now() >= $0 } ?? false }

    /// Gives work to every idle place for which there is a call and, with a rate, time.
    private func fill() {
        while let slot = idle.last {
            if isOver { break }
            var start = NIODeadline.now()
            if plan.rate > 0 {
                if nextDue > start {
                    wait(until: nextDue)
                    break
                }
                start = nextDue
            }
            guard let call = source.next() else {
                // Nothing in flight that could bring more: the workload is done.
                if inFlight == 0 { remaining = 0 }
                break
            }
            idle.removeLast()
            if plan.rate > 0 { nextDue = nextDue + interval }
            send(call, slot: slot, start: start)
        }
        finishIfDone()
    }

    private func send(_ call: LoadCall, slot: Int, start: NIODeadline) {
        remaining -= 1
        inFlight += 1
        slots[slot].call(call.path, call.message) { outcome in
            self.completed(call, outcome, slot: slot, start: start)
        }
    }

    private func completed(_ call: LoadCall, _ outcome: LoadConnection.Outcome, slot: Int, start: NIODeadline) {
        let now = NIODeadline.now()
        let took = now.uptimeNanoseconds &- start.uptimeNanoseconds
        inFlight -= 1
        unreported += 1
        if unreported >= 1000 || now - reported >= .milliseconds(100) {
            onCall(unreported)
            unreported = 0
            reported = now
        }
        switch outcome {
        case .reply(let bytes):
            result.histograms[call.operation].add(took)
            if let error = source.completed(call, reply: bytes) { note(error) }
        case .failure(let error):
            source.failed(call)
            note(error)
            idle.append(slot)
            // A dead connection fails each call at once: on the stack of the last one there would be no end of them.
            return eventLoop.assumeIsolated().execute { self.fill() }
        }
        idle.append(slot)
        fill()
    }

    private func note(_ error: String) {
        result.errors += 1
        if result.errorTexts.count < 5, !result.errorTexts.contains(error) { result.errorTexts.append(error) }
        // A server that is gone answers nothing any more: do not spin.
        if result.errors > 10_000 { remaining = 0 }
    }

    private func wait(until deadline: NIODeadline) {
        if isWaiting { return }
        isWaiting = true
        eventLoop.assumeIsolated().scheduleTask(deadline: deadline) {
            self.isWaiting = false
            self.fill()
        }
    }

    private func finishIfDone() {
        if inFlight == 0, isOver, !isFinished {
            isFinished = true
            promise.succeed(result)
        }
    }
}
