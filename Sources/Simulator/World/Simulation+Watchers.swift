import MVCC
import Primitives
import ServerCore
import Watch

/// One watch client: it watches a range for as long as the run lasts, on one stream after the other.
struct Watcher {
    let index: Int
    var random: PRNG
    var checker: WatchChecker?
    var member = 0
    var life = 0
    var stream: WatchStream?
    var sink: SimulatedSink?
    /// Events received by watches that ended since.
    var receivedBefore = 0

    var received: Int { receivedBefore + (checker?.received ?? 0) }

    init(index: Int, random: PRNG) {
        self.index = index
        self.random = random
    }
}

/// Watches that are resumed wherever there is a member.
extension Simulation {
    func wakeWatcher(_ index: Int) throws(Violation) {
        if isUnwatchable(machines[watchers[index].member]) { close(index) }
        // One that was removed, and does not know it, has nothing new to tell.
        if phase == .convergence, !isMember(machines[watchers[index].member]) { close(index) }
        if watchers[index].stream == nil { open(index) } else { try use(index) }
        let pause = phase == .safety ? time(1_000_000..<120_000_000) : time(1_000_000..<20_000_000)
        queue.add(.watcher(index), at: now + pause)
    }

    /// A member whose state is wrong: once it knows, it ends its watches, and until then nothing can be checked.
    private func isUnwatchable(_ machine: Machine) -> Bool {
        machine.wrongSince != nil || options.generation >= 2 && machine.driver?.isCorrupt == true
    }

    private func open(_ index: Int) {
        let running = machines.filter {
            $0.status == .running && (phase == .safety || isMember($0)) && !isUnwatchable($0)
        }
        guard !running.isEmpty else { return }
        let machine = running[watchers[index].random.next(in: 0..<running.count)]
        guard let front = machine.watchFront else { return }
        if watchers[index].checker == nil {
            let number = watchers[index].random.next(in: 0..<options.keyCount)
            let ranges = [
                Client.pods, Client.events, KeyRange(prefix: "/registry/"), KeyRange(key: Client.key(number)),
            ]
            let start = max(2, history.model.revision - Int64(watchers[index].random.next(in: 0..<4)))
            watchers[index].checker = WatchChecker(
                range: ranges[watchers[index].random.next(in: 0..<ranges.count)],
                wantsPrevious: options.bug == .dropPrevious || watchers[index].random.chance(oneIn: 2), start: start)
        }
        guard let checker = watchers[index].checker else { return }
        let sink = SimulatedSink(bug: options.bug)
        if watchers[index].random.chance(oneIn: 3) { sink.highMark = watchers[index].random.next(in: 100..<4000) }
        counters.watchResumes += 1
        trace.note(.resumeWatch, time: now, member: machine.index, UInt64(index), UInt64(checker.next))
        watchers[index].stream = front.open(
            checker.range, from: checker.next, wantsPrevious: checker.wantsPrevious, sink: sink)
        watchers[index].sink = sink
        watchers[index].member = machine.index
        watchers[index].life = machine.life
        schedule(machine)
    }

    private func use(_ index: Int) throws(Violation) {
        let machine = machines[watchers[index].member]
        guard let stream = watchers[index].stream, let sink = watchers[index].sink else { return }
        let isCalm = phase != .safety
        let slow = options.bug == .earlyProgress && watchers[index].random.chance(oneIn: 2)
        if !slow, isCalm || !watchers[index].random.chance(oneIn: 4) {
            try receive(index, isCalm ? .max : watchers[index].random.next(in: 1..<20))
        }
        // The watch may have ended by what was received.
        guard watchers[index].stream != nil, machine.status == .running else { return }
        if sink.isWritable { stream.becameWritable() }
        if watchers[index].random.chance(oneIn: 5) {
            if options.bug == .earlyProgress, let store = machine.driver?.core.store {
                sink.forge(progress: store.currentRevision)
            } else {
                _ = stream.requestProgress()
            }
        }
        if !isCalm, watchers[index].random.chance(oneIn: 60) {
            close(index)
        }
        schedule(machine)
    }

    /// The client breaks its stream; what it has not read is lost to it.
    private func close(_ index: Int) {
        watchers[index].stream?.close()
        watchers[index].stream = nil
        watchers[index].sink = nil
    }

    private func receive(_ index: Int, _ count: Int) throws(Violation) {
        guard let sink = watchers[index].sink, var checker = watchers[index].checker else { return }
        if sink.isBroken { throw Violation("watch", "a response cannot be decoded") }
        for delivery in sink.read(count) {
            if delivery.canceled {
                guard delivery.compactRevision > 0 else {
                    throw Violation("watch", "a watch is canceled: \(delivery.reason)")
                }
                try checker.compacted(at: delivery.compactRevision, in: history)
                counters.watchCompactions += 1
                // As a client does: list again, and watch from there.
                watchers[index].receivedBefore += checker.received
                watchers[index].checker = nil
                close(index)
                return
            }
            if delivery.created { continue }
            if delivery.events.isEmpty {
                try checker.progress(revision: delivery.revision, in: history)
                counters.progressReplies += 1
                trace.note(
                    .progress, time: now, member: watchers[index].member, UInt64(index), UInt64(delivery.revision))
            } else {
                try checker.receive(delivery.events, headerRevision: delivery.revision, in: history)
                trace.note(
                    .watch, time: now, member: watchers[index].member, UInt64(index), UInt64(delivery.revision),
                    UInt64(delivery.events.count))
            }
        }
        watchers[index].checker = checker
    }

    /// The member is gone, and the streams with it. What had been sent before may still be read.
    func breakWatches(at machine: Machine) {
        for index in watchers.indices where watchers[index].stream != nil && watchers[index].member == machine.index {
            watchers[index].stream?.close()
            watchers[index].stream = nil
            watchers[index].sink = nil
        }
    }

    /// Whether nobody has anything to receive.
    func watchersAreDone() -> Bool {
        watchers.allSatisfy { watcher in
            guard let checker = watcher.checker else { return true }
            return watcher.stream != nil && watcher.sink?.isEmpty == true
                && history.model.changes(in: checker.range, from: checker.next, through: history.model.revision).isEmpty
        }
    }
}
