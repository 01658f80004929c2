import Primitives
import RaftCore

/// One message on its way.
struct Envelope {
    let from: Int
    let to: Int
    /// The sender's life: what a dead process sent may still arrive.
    let life: Int
    let message: Message
}

/// How a network behaves while nothing in particular is broken. Odds are "one in"; 0 means never.
struct NetworkOptions: Sendable {
    var delayNanosecondsMin: UInt64 = 100_000
    var delayNanosecondsMax: UInt64 = 2_000_000
    var lossOneIn = 0
    var duplicateOneIn = 0
    /// A message may overtake another.
    var reorders = false
    /// One message in so many takes up to a second.
    var slowOneIn = 0
}

/// The links between members: which are cut, which are clogged, and how long a message takes.
///
/// As the transport does, it never doubles a proposal, a read or a transfer: those are sent once on a stream.
struct Network {
    let options: NetworkOptions
    /// Overlapping faults that cut a link.
    private var cuts: [[Int]]
    private var cloggedUntil: [[UInt64]]
    private var lastArrival: [[UInt64]]
    private var random: PRNG
    /// Set for the liveness phase: from now on nothing is lost, doubled or held up.
    var isCalm = false
    /// A planted bug: proposals may arrive twice too.
    var doublesProposals = false
    /// For a planted bug: appends may arrive without their last entries, as if messages were smaller.
    var splitsAppends = false

    init(options: NetworkOptions, capacity: Int, random: PRNG) {
        self.options = options
        self.random = random
        cuts = Array(repeating: Array(repeating: 0, count: capacity), count: capacity)
        cloggedUntil = Array(repeating: Array(repeating: 0, count: capacity), count: capacity)
        lastArrival = cloggedUntil
    }

    var capacity: Int { cuts.count }

    func isCut(from: Int, to: Int) -> Bool { cuts[from][to] > 0 }

    /// Whether no message reaches `member`.
    func isDeaf(_ member: Int) -> Bool { cuts.indices.allSatisfy { $0 == member || cuts[$0][member] > 0 } }

    mutating func cut(_ links: [(from: Int, to: Int)]) { for link in links { cuts[link.from][link.to] += 1 } }

    mutating func mend(_ links: [(from: Int, to: Int)]) { for link in links { cuts[link.from][link.to] -= 1 } }

    mutating func mendAll() {
        for from in cuts.indices {
            for to in cuts.indices {
                cuts[from][to] = 0
                cloggedUntil[from][to] = 0
            }
        }
    }

    /// Holds back everything on a link until `time`.
    mutating func clog(from: Int, to: Int, until time: UInt64) {
        cloggedUntil[from][to] = max(cloggedUntil[from][to], time)
    }

    /// When a message sent now arrives; empty when it is lost, two times when it is doubled.
    mutating func arrivals(from: Int, to: Int, now: UInt64, type: MessageType) -> [UInt64] {
        if isCut(from: from, to: to) { return [] }
        if !isCalm, options.lossOneIn > 0, random.chance(oneIn: options.lossOneIn) { return [] }
        var result = [arrival(from: from, to: to, now: now)]
        let maybeTwice: Bool =
            switch type {
            case .propose: doublesProposals
            case .readIndex, .transferLeader, .timeoutNow, .snapshot: false
            default: true
            }
        if maybeTwice, !isCalm, options.duplicateOneIn > 0, random.chance(oneIn: options.duplicateOneIn) {
            result.append(arrival(from: from, to: to, now: now))
        }
        return result
    }

    /// What of a message arrives.
    mutating func part(of message: Message) -> Message {
        guard splitsAppends, message.type == .append, message.entries.count > 1, random.chance(oneIn: 2) else {
            return message
        }
        var part = message
        part.entries.removeLast(random.next(in: 1..<message.entries.count))
        return part
    }

    /// When one of a stream's bytes that leave now arrive.
    mutating func arrival(from: Int, to: Int, now: UInt64) -> UInt64 {
        let span = options.delayNanosecondsMax - options.delayNanosecondsMin
        var delay = options.delayNanosecondsMin + UInt64(random.next(in: 0..<Int(span) + 1))
        if !isCalm, options.slowOneIn > 0, random.chance(oneIn: options.slowOneIn) {
            delay += UInt64(random.next(in: 0..<1_000_000_000))
        }
        var time = max(now, cloggedUntil[from][to]) + delay
        if !options.reorders { time = max(time, lastArrival[from][to]) }
        lastArrival[from][to] = max(lastArrival[from][to], time)
        return time
    }
}
