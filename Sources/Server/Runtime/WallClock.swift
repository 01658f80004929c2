import Glibc

/// The calendar's time; only for identities and log lines, never for decisions.
enum WallClock {
    /// Nanoseconds since 1970.
    static func nanoseconds() -> UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}
