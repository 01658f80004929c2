import Glibc

/// The bounded inbox of one owner thread: any thread puts items in, the owner takes all of them at once.
///
/// A sender wakes the owner only when the owner sleeps, so under load a batch costs one wake-up. The bound is in items;
/// what a full inbox means is the sender's to decide (`push` answers false).
package final class Mailbox<Item>: @unchecked Sendable {
    // `lock` protects everything below it.
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var items: [Item] = []
    private var sleeping = false
    private var closed = false
    private let itemsMax: Int

    package init(itemsMax: Int) {
        self.itemsMax = itemsMax
        lock = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(lock)
        condition.deallocate()
        lock.deallocate()
    }

    /// Puts an item in; false when the inbox is full or closed.
    @discardableResult
    package func push(_ item: Item) -> Bool {
        pthread_mutex_lock(lock)
        guard items.count < itemsMax, !closed else {
            pthread_mutex_unlock(lock)
            return false
        }
        items.append(item)
        let wake = sleeping
        sleeping = false
        pthread_mutex_unlock(lock)
        if wake { pthread_cond_signal(condition) }
        return true
    }

    /// Takes everything into `batch` (emptied first), waiting up to `nanoseconds` for the first item; false once the
    /// inbox is closed and empty. Owner thread only.
    package func takeAll(into batch: inout [Item], waiting nanoseconds: UInt64) -> Bool {
        batch.removeAll(keepingCapacity: true)
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        if items.isEmpty, !closed, nanoseconds > 0 {
            var deadline = timespec()
            clock_gettime(CLOCK_MONOTONIC, &deadline)
            let total = UInt64(deadline.tv_nsec) + min(nanoseconds, 1 << 60)
            deadline.tv_sec += Int(total / 1_000_000_000)
            deadline.tv_nsec = Int(total % 1_000_000_000)
            sleeping = true
            while items.isEmpty, !closed {
                if pthread_cond_timedwait(condition, lock, &deadline) == ETIMEDOUT { break }
            }
            sleeping = false
        }
        swap(&items, &batch)
        return !(closed && batch.isEmpty)
    }

    /// Refuses further items and lets the owner run dry.
    package func close() {
        pthread_mutex_lock(lock)
        closed = true
        pthread_mutex_unlock(lock)
        pthread_cond_broadcast(condition)
    }
}

/// A flag that one thread waits for and others raise; raising twice before the waiter looks counts once.
package final class Signal: Sendable {
    private let mailbox = Mailbox<Void>(itemsMax: 1)

    package init() {}

    package func raise() { mailbox.push(()) }

    /// Waits until raised or the time is over.
    package func wait(milliseconds: Int) {
        var batch: [Void] = []
        _ = mailbox.takeAll(into: &batch, waiting: UInt64(milliseconds) * 1_000_000)
    }
}
