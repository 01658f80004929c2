import Primitives

/// Reads that wait for a quorum to confirm that this member still leads. Reads that arrive are gathered; a round starts
/// with one heartbeat to every member and serves all that had arrived by then. Rounds are confirmed in order: a member
/// that has answered round n has answered all before. Source: the thesis, section 6.4.
struct ReadQueue {
    enum Origin {
        case local(UInt64)
        /// Forwarded by a follower; its context is echoed.
        case remote(MemberID, Bytes)
    }

    private struct Round {
        var number: UInt64
        var index: LogIndex
        var reads: [Origin]
    }

    /// Rounds in flight at once. More than one, so that a read that just missed a round does not wait for its end
    /// before its own starts; few, so that reads share rounds when the network is slow.
    static let roundsMax = 2

    private var gathered: [Origin] = []
    private var rounds: [Round] = []
    /// The number of the last round started in this term; 0 for none.
    private(set) var lastRound: UInt64 = 0
    private(set) var count = 0

    var hasGathered: Bool { !gathered.isEmpty }
    var hasRounds: Bool { !rounds.isEmpty }
    var canStartRound: Bool { !gathered.isEmpty && rounds.count < ReadQueue.roundsMax }

    mutating func add(_ origin: Origin) {
        gathered.append(origin)
        count += 1
    }

    /// Starts a round for all gathered reads, to be answered with `index`.
    mutating func startRound(index: LogIndex) {
        lastRound += 1
        rounds.append(Round(number: lastRound, index: index, reads: gathered))
        gathered = []
    }

    /// Removes the reads of all rounds through `number`, with their index.
    mutating func confirm(through number: UInt64) -> [(Origin, LogIndex)] {
        var confirmed: [(Origin, LogIndex)] = []
        while let round = rounds.first, round.number <= number {
            for read in round.reads { confirmed.append((read, round.index)) }
            rounds.removeFirst()
        }
        count -= confirmed.count
        return confirmed
    }

    /// Forgets everything; gives the contexts of the local reads.
    mutating func abort() -> [UInt64] {
        var contexts: [UInt64] = []
        for read in rounds.flatMap(\.reads) + gathered {
            if case .local(let context) = read { contexts.append(context) }
        }
        self = ReadQueue()
        return contexts
    }

    /// Eight bytes, big endian: the context of heartbeats and forwarded reads.
    static func encode(_ value: UInt64) -> Bytes {
        Bytes((0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) })
    }

    /// The inverse of `encode`; nil for anything else.
    static func decode(_ bytes: Bytes) -> UInt64? {
        guard bytes.count == 8 else { return nil }
        return bytes.array.reduce(0) { $0 << 8 | UInt64($1) }
    }
}
