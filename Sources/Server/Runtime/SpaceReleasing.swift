import MVCC

/// A call that waits until disk space has been given back.
package struct DefragmentRequest: Sendable {
    /// Why nothing, or not all, was given back.
    package enum Failure: Sendable {
        case stopped
        /// What the file system said.
        case disk(String)
    }

    /// Nil for success. Called once, on the backend thread.
    package let answer: @Sendable (Failure?) -> Void

    package init(answer: @escaping @Sendable (Failure?) -> Void) { self.answer = answer }
}

/// When the backend thread does which part of giving disk space back. It begins when a call asks for it, or by itself while
/// the disk is full. First what compaction is to remove has to be removed and persisted. Then come the slices of a pass, and
/// between two of them the disk is left to others for as long as a slice took. Pure; times are in nanoseconds. Owner: the
/// backend thread.
struct SpaceReleasing {
    /// How long compaction may take to remove what it has made unreachable, before a pass begins without the rest.
    static let patience: UInt64 = 3_000_000_000
    /// How often it is looked at.
    static let pollMilliseconds = 5
    /// The longest rest between two slices.
    static let restMax: UInt64 = 100_000_000

    /// Free pages that are worth a pass without being asked, in bytes.
    static let ownBytesMin = 4 << 20
    /// From one such pass to the next, at least.
    static let ownPeriod: UInt64 = 10_000_000_000

    private enum Phase {
        case idle
        /// Removals are under way; not after this time.
        case waiting(until: UInt64)
        case releasing(SpaceRelease)
    }

    enum Step {
        case nothing
        /// Persist whatever waits.
        case persist
        /// Begin a pass by `begin`.
        case begin
        /// Do a slice, and note it by `didSlice`.
        case slice(SpaceRelease)
    }

    private var phase = Phase.idle
    private var callers: [DefragmentRequest] = []
    private var restsUntil: UInt64 = 0
    private var nextOwn: UInt64 = 0

    var isIdle: Bool { if case .idle = phase { true } else { false } }

    /// How long the owner may sleep, in milliseconds.
    func patienceMilliseconds(now: UInt64) -> Int {
        switch phase {
        case .idle: .max
        case .waiting: Self.pollMilliseconds
        case .releasing: restsUntil > now ? Int((restsUntil - now + 999_999) / 1_000_000) : 0
        }
    }

    /// Takes callers in, while idle: those who come during a pass wait for the next one.
    ///
    /// - Parameter isFull: the disk is full, and a pass would make room.
    mutating func start(_ requests: [DefragmentRequest], isFull: Bool, now: UInt64) {
        guard isIdle, !requests.isEmpty || isFull && now >= nextOwn else { return }
        callers = requests
        phase = .waiting(until: now + Self.patience)
        nextOwn = now + Self.ownPeriod
    }

    /// What is to be done now.
    ///
    /// - Parameter hasRemovals: something that compaction removes is not persisted yet.
    func next(hasRemovals: Bool, now: UInt64) -> Step {
        switch phase {
        case .idle: .nothing
        case .waiting(let until): hasRemovals && now < until ? .persist : .begin
        case .releasing(let pass): now >= restsUntil ? .slice(pass) : .nothing
        }
    }

    /// Notes that a pass begins.
    ///
    /// - Parameter hasRoom: the disk has room for commits.
    mutating func begin(hasRoom: Bool) {
        phase = .releasing(SpaceRelease(agingCommits: hasRoom ? SpaceRelease.agingCommits : 0))
    }

    /// Notes a slice. At the end of the pass: the callers, to be answered.
    mutating func didSlice(_ pass: SpaceRelease, from start: UInt64, to end: UInt64) -> [DefragmentRequest] {
        guard pass.isFinished else {
            phase = .releasing(pass)
            restsUntil = end + min(end - start, Self.restMax)
            return []
        }
        return finish()
    }

    /// Ends whatever is under way. Returns the callers, to be answered.
    mutating func finish() -> [DefragmentRequest] {
        phase = .idle
        restsUntil = 0
        defer { callers = [] }
        return callers
    }
}
