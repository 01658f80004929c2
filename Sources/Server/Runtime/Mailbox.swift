import CPlatform
import Synchronization

/// The bounded inbox of one owner thread: any thread puts items in, the owner takes all of them at once.
///
/// A sender wakes the owner only when the owner sleeps, so under load a batch costs one wake-up. The bound is in items;
/// what a full inbox means is the sender's to decide (`push` answers false).
///
/// The owner sleeps on a futex and not on a condition variable, which would cost a third system call for each wake-up
/// (the C library takes the mutex back as contended); with one request in flight these calls are most of its cost.
package final class Mailbox<Item: Sendable>: @unchecked Sendable {
    private struct State {
        var items: [Item] = []
        var isClosed = false
    }

    private static var awake: UInt32 { 0 }
    private static var asleep: UInt32 { 1 }

    private let state = Mutex(State())
    // Changed only with `state` locked, except that the kernel reads it.
    private let word: UnsafeMutablePointer<UInt32>
    private let itemsMax: Int

    package init(itemsMax: Int) {
        self.itemsMax = itemsMax
        word = .allocate(capacity: 1)
        word.initialize(to: Self.awake)
    }

    deinit { word.deallocate() }

    /// Puts an item in; false when the inbox is full or closed.
    ///
    /// - Parameters:
    ///   - wakesOwner: false for news that may wait until the owner wakes for another reason.
    ///   - isOwed: the item answers what the owner has asked for, so there are only so many of them, and losing one would
    ///     stop the member: as many as the bound may go in beyond it.
    @discardableResult
    package func push(_ item: Item, wakesOwner: Bool = true, isOwed: Bool = false) -> Bool {
        let (accepted, wake) = state.withLock { state in
            guard state.items.count < (isOwed ? 2 * itemsMax : itemsMax), !state.isClosed else { return (false, false) }
            state.items.append(item)
            return (true, wakesOwner && rouse())
        }
        if wake { martlet_futex_wake(word) }
        return accepted
    }

    /// Takes everything into `batch` (emptied first), waiting up to `nanoseconds` for the first item; false once the
    /// inbox is closed and empty. Owner thread only.
    package func takeAll(into batch: inout [Item], waiting nanoseconds: UInt64) -> Bool {
        batch.removeAll(keepingCapacity: true)
        if take(into: &batch, sleeping: nanoseconds > 0) { return !batch.isEmpty }
        guard nanoseconds > 0 else { return true }
        // Woken early or for nothing, the owner simply looks around once more: its loop bears it.
        martlet_futex_wait(word, Self.asleep, nanoseconds)
        return take(into: &batch, sleeping: false) ? !batch.isEmpty : true
    }

    /// Refuses further items and lets the owner run dry.
    package func close() {
        let wake = state.withLock { state in
            state.isClosed = true
            return rouse()
        }
        if wake { martlet_futex_wake(word) }
    }

    /// True when there was something, or the inbox is closed; otherwise notes that the owner goes to sleep, if it does.
    private func take(into batch: inout [Item], sleeping: Bool) -> Bool {
        let items = state.withLock { state -> [Item]? in
            if state.items.isEmpty, !state.isClosed {
                martlet_store_release(word, sleeping ? Self.asleep : Self.awake)
                return nil
            }
            martlet_store_release(word, Self.awake)
            var items = batch
            batch = []
            swap(&state.items, &items)
            return items
        }
        guard let items else { return false }
        batch = items
        return true
    }

    /// Notes that the owner is awake; true when it has to be told. With the lock held.
    private func rouse() -> Bool {
        guard martlet_load_acquire(word) == Self.asleep else { return false }
        martlet_store_release(word, Self.awake)
        return true
    }
}

/// A flag that one thread waits for and others raise; raising twice before the waiter looks counts once.
package final class Signal: Sendable {
    private struct Raised: Sendable {}

    private let mailbox = Mailbox<Raised>(itemsMax: 1)

    package init() {}

    package func raise() { mailbox.push(Raised()) }

    /// Waits until raised or the time is over.
    package func wait(milliseconds: Int) {
        var batch: [Raised] = []
        _ = mailbox.takeAll(into: &batch, waiting: UInt64(milliseconds) * 1_000_000)
    }
}
