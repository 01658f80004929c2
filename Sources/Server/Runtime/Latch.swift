import Glibc
import Synchronization

/// Something that happens once, and that one thread waits for, though not for ever. Any thread may `open`.
final class Latch: Sendable {
    private let isOpen = Atomic<Bool>(false)
    private let signal = Signal()

    func open() {
        isOpen.store(true, ordering: .releasing)
        signal.raise()
    }

    /// Waits until opened or the time is over. True: it is open.
    @discardableResult
    func wait(milliseconds: Int) -> Bool {
        let end = Self.now() + milliseconds
        // A signal may wake its waiter for nothing.
        while !isOpen.load(ordering: .acquiring) {
            let left = end - Self.now()
            guard left > 0 else { return false }
            signal.wait(milliseconds: left)
        }
        return true
    }

    private static func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }
}
