internal import CPlatform
internal import Synchronization

/// The operating system's monotonic clock.
package struct SystemClock: MonotonicClock {
    package init() {}
    package func now() -> UInt64 { martlet_monotonic_nanoseconds() }
}

/// A clock that stands still until it is told to go on. Safe for any thread.
package final class ManualClock: MonotonicClock {
    private let nanoseconds: Atomic<UInt64>

    package init(startNanoseconds: UInt64 = 0) { nanoseconds = Atomic(startNanoseconds) }
    package func now() -> UInt64 { nanoseconds.load(ordering: .acquiring) }
    /// Moves time on; it can not go back.
    package func advance(nanoseconds step: UInt64) { nanoseconds.add(step, ordering: .acquiringAndReleasing) }
}
