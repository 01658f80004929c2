/// When the background check of stored records takes its next step.
///
/// A pass over a large store is as long as its bytes and records take at the rate below, and the next one begins when it
/// is over. A small store is not read over and over: passes begin at least `passPeriod` apart. The first is due a period
/// after the start, because opening a store verifies every record. Pure; times are in nanoseconds. Owner: the maintenance
/// thread.
struct ScrubPacing {
    /// From the beginning of a pass to that of the next one, at least: six hours.
    static let passPeriod: UInt64 = 6 * 3600 * 1_000_000_000
    /// Records verified in one step, at most: about 1 % of a core at one step in `stepPause`.
    static let stepRecordsMax = 1000
    /// Bytes of records verified in one step, about: 10 MB a second, or 100 GB in three hours.
    static let stepBytesMax = 1 << 20
    /// The pause after a step.
    static let stepPause: UInt64 = 100_000_000

    private var passStart: UInt64
    private var nextStep: UInt64

    /// - Parameter now: when the store had been opened.
    init(now: UInt64) {
        passStart = now
        nextStep = now + Self.passPeriod
    }

    /// How long the owner may sleep before a step is due.
    func patience(now: UInt64) -> UInt64 { nextStep > now ? nextStep - now : 0 }

    /// Whether a step is to be taken now.
    func isDue(now: UInt64) -> Bool { now >= nextStep }

    /// Notes a step that is over.
    ///
    /// - Parameters:
    ///   - isFirst: it began a pass.
    ///   - isLast: it ended one.
    mutating func stepped(from start: UInt64, to end: UInt64, isFirst: Bool, isLast: Bool) {
        if isFirst { passStart = start }
        nextStep = end + Self.stepPause
        if isLast { nextStep = max(nextStep, passStart + Self.passPeriod) }
    }
}
