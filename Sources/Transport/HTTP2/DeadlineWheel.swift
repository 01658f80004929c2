import NIOCore
import Primitives

/// Something a `DeadlineWheel` can wake: a call with a deadline, a connection with its timers.
/// Owner: the wheel's event loop. The wheel does not retain it: leave the wheel before the last reference goes.
package class DeadlineEntry {
    fileprivate final var nextEntry: Unmanaged<DeadlineEntry>?
    fileprivate final var previousEntry: Unmanaged<DeadlineEntry>?
    fileprivate final var slot = -1
    fileprivate final var due = NIODeadline.distantFuture

    init() {}

    deinit { invariant(slot < 0, "a deadline entry was freed inside its wheel") }

    /// Called on the wheel's loop, once, not before the due time and at most one tick after it; the entry has left the
    /// wheel.
    func expired(now: NIODeadline) {}
}

/// A hashed timing wheel: thousands of deadlines per second cost neither an allocation nor a heap operation each,
/// because almost all of them are taken out again before they are due. Insert and remove are O(1).
///
/// Owner: one event loop. One NIO timer, for the next slot that holds anything; none while the wheel is empty.
final class DeadlineWheel {
    static let tickNanoseconds: UInt64 = 8_000_000
    private static let slotCount = 1024

    private let loop: any EventLoop
    private var slots: [Unmanaged<DeadlineEntry>?]
    private var occupied: [UInt64]
    /// The last tick whose slot was looked at.
    private var cursor: UInt64
    private var timer: Scheduled<Void>?
    private var timerTick = UInt64.max

    init(loop: any EventLoop) {
        self.loop = loop
        slots = Array(repeating: nil, count: Self.slotCount)
        occupied = Array(repeating: 0, count: Self.slotCount / 64)
        cursor = loop.now.uptimeNanoseconds / Self.tickNanoseconds
    }

    /// Wakes `entry` at `due` instead of when it was to be woken before, if it was.
    func schedule(_ entry: DeadlineEntry, due: NIODeadline) {
        if entry.slot >= 0 { cancel(entry) }
        let tick = max(Self.tick(atOrAfter: due), cursor + 1)
        let slot = Int(tick % UInt64(Self.slotCount))
        let reference = Unmanaged.passUnretained(entry)
        entry.due = due
        entry.slot = slot
        entry.nextEntry = slots[slot]
        entry.previousEntry = nil
        slots[slot]?._withUnsafeGuaranteedRef { $0.previousEntry = reference }
        slots[slot] = reference
        occupied[slot >> 6] |= 1 << UInt64(slot & 63)
        let firstVisit = min(tick, cursor + UInt64(Self.slotCount))
        if firstVisit < timerTick { startTimer(at: firstVisit) }
    }

    /// Takes `entry` out, if it is in.
    func cancel(_ entry: DeadlineEntry) {
        let slot = entry.slot
        guard slot >= 0 else { return }
        if let previous = entry.previousEntry {
            previous._withUnsafeGuaranteedRef { $0.nextEntry = entry.nextEntry }
        } else {
            slots[slot] = entry.nextEntry
            if entry.nextEntry == nil { occupied[slot >> 6] &= ~(1 << UInt64(slot & 63)) }
        }
        entry.nextEntry?._withUnsafeGuaranteedRef { $0.previousEntry = entry.previousEntry }
        entry.nextEntry = nil
        entry.previousEntry = nil
        entry.slot = -1
    }

    /// Stops the timer; entries still inside are no longer woken.
    func stop() {
        timer?.cancel()
        timer = nil
        timerTick = 0
    }

    private static func tick(atOrAfter time: NIODeadline) -> UInt64 {
        let ticks = time.uptimeNanoseconds / tickNanoseconds
        return ticks == UInt64.max / tickNanoseconds ? ticks : ticks + 1
    }

    private func startTimer(at tick: UInt64) {
        timer?.cancel()
        timerTick = tick
        // The wheel and its loop are one owner: the task runs where every other method runs.
        let wheel = NIOLoopBound(self, eventLoop: loop)
        timer = loop.scheduleTask(deadline: .uptimeNanoseconds(tick * Self.tickNanoseconds)) {
            wheel.value.timerFired()
        }
    }

    private func timerFired() {
        timer = nil
        timerTick = UInt64.max
        let now = loop.now
        let nowTick = now.uptimeNanoseconds / Self.tickNanoseconds
        let span = min(nowTick - min(cursor, nowTick), UInt64(Self.slotCount))
        let first = nowTick - span + 1
        cursor = max(cursor, nowTick)
        if span > 0 {
            for tick in first...nowTick { visit(slot: Int(tick % UInt64(Self.slotCount)), now: now) }
        }
        if timerTick == UInt64.max, let next = nextOccupiedTick() { startTimer(at: next) }
    }

    /// Expires what is due in `slot`. All of it is taken out first, because an expiry may add and remove entries.
    private func visit(slot: Int, now: NIODeadline) {
        guard occupied[slot >> 6] & (1 << UInt64(slot & 63)) != 0 else { return }
        var due: [DeadlineEntry] = []
        var position = slots[slot]
        while let current = position {
            let entry = current.takeUnretainedValue()
            position = entry.nextEntry
            if entry.due <= now { due.append(entry) }
        }
        for entry in due { cancel(entry) }
        for entry in due { entry.expired(now: now) }
    }

    private func nextOccupiedTick() -> UInt64? {
        for step in 1...UInt64(Self.slotCount) {
            let slot = Int((cursor + step) % UInt64(Self.slotCount))
            if occupied[slot >> 6] == 0, slot & 63 != 63 { continue }
            if occupied[slot >> 6] & (1 << UInt64(slot & 63)) != 0 { return cursor + step }
        }
        return nil
    }
}
