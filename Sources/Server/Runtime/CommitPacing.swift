/// When the store's next commit begins, and how much it takes.
///
/// A commit and the log's sync share a disk: while the one is under way the other waits, and with it every write of a
/// client. So commits are small, and after each the disk is left to the log for a few times as long as the commit took.
/// The more waits the shorter that rest: from half of what the tail may hold on there is none, so that writes are not
/// refused as long as the disk can keep up. Pure; times are in nanoseconds. Owner: the backend thread.
struct CommitPacing {
    /// So many bytes are worth a commit, and are about what one takes; fewer wait for `delay`.
    static let commitBytes = 2 << 20
    /// Bytes are committed at the latest so long after they came, as far as the rests allow. With the tail's limit it
    /// bounds what a restart replays.
    static let delay: UInt64 = 1_000_000_000
    /// What a removal counts for, in bytes: neighbours on disk are removed together.
    static let removalBytes = 256
    /// How many times as long as the commit the rest after it is, at most.
    static let restFactor = 3.0
    /// The longest rest.
    static let restMax: UInt64 = 500_000_000
    /// Up to so many waiting bytes the rest is a full one ...
    static let relaxedBytes = 8 << 20
    /// ... and from so many on there is none.
    static let urgentBytes = 32 << 20

    private var waitingSince: UInt64?
    /// What waited when that was last looked at.
    private var waitingBytes = 0
    private var restsUntil: UInt64 = 0

    /// How long the owner may sleep before it looks again, in milliseconds.
    func patienceMilliseconds(now: UInt64) -> Int {
        guard waitingSince != nil else { return 100 }
        if restsUntil > now { return Int((restsUntil - now + 999_999) / 1_000_000) }
        return waitingBytes >= Self.commitBytes ? 0 : 20
    }

    /// Notes that nothing waits.
    mutating func nothingWaits() { waitingSince = nil }

    /// Whether a commit is to begin now.
    ///
    /// - Parameters:
    ///   - bytes: what waits.
    ///   - isUrgent: somebody waits for the commit.
    mutating func mustCommit(bytes: Int, isUrgent: Bool, now: UInt64) -> Bool {
        let since = waitingSince ?? now
        waitingSince = since
        waitingBytes = bytes
        if isUrgent || bytes >= Self.urgentBytes { return true }
        return now >= restsUntil && (bytes >= Self.commitBytes || now - since >= Self.delay)
    }

    /// Notes a commit; `bytes` is what waits after it.
    mutating func committed(from start: UInt64, to end: UInt64, bytes: Int) {
        // What waits now came after the commit had begun, or had its turn in waiting already.
        waitingSince = start
        waitingBytes = bytes
        let share = Double(Self.urgentBytes - bytes) / Double(Self.urgentBytes - Self.relaxedBytes)
        let rest = Double(end - start) * Self.restFactor * min(1, max(0, share))
        restsUntil = end + min(UInt64(rest), Self.restMax)
    }

    /// Notes that no commit could be begun: the disk is full.
    mutating func postponed(now: UInt64) { restsUntil = now + Self.restMax }
}
