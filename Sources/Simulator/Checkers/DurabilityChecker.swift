package import Primitives
package import RaftCore

/// Durability of acknowledged writes. What is applied anywhere was on the disks of a quorum before; what a disk was
/// told to keep is there after every crash; a term that was promised to others is not forgotten.
///
/// It learns of durability from the disk's own answers, not from what the member makes of them.
package struct DurabilityChecker {
    /// What is durable on one disk.
    private struct Disk {
        /// Everything through here is in the store.
        var base = LogIndex.zero
        /// Terms of the entries after `base`.
        var terms: [Term] = []
        /// The greatest term another member was told of.
        var promisedTerm = Term.zero
        var vote = MemberID.none
        var voteTerm = Term.zero
        /// From here on the disk was asked to write something else and has not answered yet: either may be there after
        /// a crash.
        var attemptedFrom: LogIndex?

        var last: LogIndex { base.advanced(by: terms.count) }

        func holds(_ index: LogIndex, _ term: Term) -> Bool {
            if index <= base { return true }
            return index <= last && terms[Int(index.rawValue - base.rawValue) - 1] == term
        }
    }

    private var disks: [MemberID: Disk] = [:]
    private var acknowledged = LogIndex.zero

    package init() {}

    /// The last index whose answer a client has received.
    package var lastAcknowledged: LogIndex { acknowledged }

    /// A member's disk is asked to write entries from `index` on.
    package mutating func attempted(_ member: MemberID, from index: LogIndex) {
        let known = disks[member]?.attemptedFrom ?? index
        disks[member, default: Disk()].attemptedFrom = min(known, index)
    }

    /// A member's disk has synced entries; the first may replace what was there.
    package mutating func synced(_ member: MemberID, _ entries: [Entry]) {
        guard let first = entries.first else { return }
        var disk = disks[member] ?? Disk()
        if first.index <= disk.base || first.index > disk.last.advanced(by: 1) {
            disk.base = first.index.advanced(by: -1)
            disk.terms = []
        }
        disk.terms.removeSubrange(Int(first.index.rawValue - disk.base.rawValue - 1)...)
        disk.terms += entries.map(\.term)
        disk.attemptedFrom = nil
        disks[member] = disk
    }

    /// A member's store begins with its foundation, or with a snapshot behind which its log was begun anew: what the log
    /// held is gone.
    package mutating func installed(_ member: MemberID, through index: LogIndex) {
        disks[member, default: Disk()].terms = []
        disks[member, default: Disk()].base = index
        disks[member, default: Disk()].attemptedFrom = nil
    }

    /// A member's disk was emptied.
    package mutating func wiped(_ member: MemberID) { disks[member] = nil }

    /// A message left a member.
    package mutating func sent(_ message: Message) {
        switch message.type {
        case .preVote, .preVoteResponse, .propose, .readIndex, .transferLeader: return
        case .voteResponse where !message.reject:
            disks[message.from, default: Disk()].vote = message.to
            disks[message.from, default: Disk()].voteTerm = message.term
            disks[message.from, default: Disk()].promisedTerm = max(
                disks[message.from]?.promisedTerm ?? .zero, message.term)
        // Without an index it only tells a leader of the past that it is one.
        case .appendResponse where !message.reject && message.index > .zero:
            disks[message.from, default: Disk()].promisedTerm = max(
                disks[message.from]?.promisedTerm ?? .zero, message.term)
        default: return
        }
    }

    /// An entry is applied for the first time by anybody: a quorum's disks must have it.
    ///
    /// - Parameter configurations: those that may have been in force when it was committed.
    package func committed(_ entry: Entry, _ configurations: [ConfigurationState]) throws(Violation) {
        for configuration in configurations {
            let halves = [configuration.voters, configuration.votersOutgoing].filter { !$0.isEmpty }
            let isDurable = halves.allSatisfy { voters in
                let holders = voters.filter { disks[$0]?.holds(entry.index, entry.term) == true }
                return holders.count > voters.count / 2
            }
            if isDurable { return }
        }
        throw complaint(
            "entry \(entry.index.rawValue) of term \(entry.term.rawValue) is applied, and no quorum's disks have it")
    }

    /// A client received the answer of the request at `index`.
    package mutating func acknowledged(_ index: LogIndex) { acknowledged = max(acknowledged, index) }

    /// A member has started from its disk.
    package mutating func restarted(
        _ member: MemberID, term: Term, vote: MemberID, firstIndex: LogIndex, lastIndex: LogIndex,
        logTerm: (LogIndex) -> Term?
    ) throws(Violation) {
        guard var disk = disks[member] else { return }
        if term < disk.promisedTerm {
            throw complaint(
                "member \(member.rawValue) promised term \(disk.promisedTerm.rawValue) and starts with \(term.rawValue)"
            )
        }
        if term == disk.voteTerm, disk.vote != .none, vote != disk.vote {
            throw complaint(
                "member \(member.rawValue) voted for \(disk.vote.rawValue) in term \(term.rawValue) and forgot it"
            )
        }
        var index = max(disk.base.advanced(by: 1), firstIndex)
        while index <= disk.last {
            let synced = disk.terms[Int(index.rawValue - disk.base.rawValue) - 1]
            if let from = disk.attemptedFrom, index >= from, index > lastIndex || logTerm(index) != synced {
                disk.terms.removeSubrange(Int(index.rawValue - disk.base.rawValue) - 1..<disk.terms.count)
                break
            }
            guard index <= lastIndex, logTerm(index) == synced else {
                throw complaint(
                    "member \(member.rawValue) lost entry \(index.rawValue) of term \(synced.rawValue), which it synced"
                )
            }
            index = index.advanced(by: 1)
        }
        disk.attemptedFrom = nil
        // More than was synced may have survived; it is as durable now.
        while index <= lastIndex, let term = logTerm(index) {
            if index > disk.last { disk.terms.append(term) }
            index = index.advanced(by: 1)
        }
        disks[member] = disk
    }

    /// A member has caught up after all faults ended: it holds everything that was acknowledged.
    package func finish(_ member: MemberID, applied: LogIndex) throws(Violation) {
        guard applied >= acknowledged else {
            throw complaint(
                "member \(member.rawValue) ends at \(applied.rawValue), and \(acknowledged.rawValue) was acknowledged")
        }
    }

    private func complaint(_ message: String) -> Violation { Violation("durability", message) }
}
