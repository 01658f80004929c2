package import Primitives

/// What a leader knows about one member's log, and how it sends to it. Source: the paper, section 5.3 (nextIndex,
/// matchIndex); the thesis, section 10.2 (pipelining).
package struct Progress: Sendable, Hashable {
    package enum State: UInt8, Sendable, Hashable {
        /// The member's log end is not known: one append message per heartbeat interval, until one is answered.
        case probe
        /// Appends are pipelined, optimistically, within the inflight window.
        case replicate
        /// The member is being sent a snapshot; no appends.
        case snapshot
    }

    /// The last entry known to be durable on the member and equal to the leader's.
    package internal(set) var match: LogIndex = .zero
    /// The next entry to send; after `match`.
    package internal(set) var next: LogIndex
    /// The highest commit index sent to the member, as far as the entries sent reach; before `next`.
    package internal(set) var sentCommit: LogIndex = .zero
    package internal(set) var state: State = .probe
    /// In state `snapshot`: the index of the snapshot sent.
    package internal(set) var pendingSnapshot: LogIndex = .zero
    /// True when the member was heard from since the last quorum check.
    package internal(set) var recentlyActive = true
    /// True when an append was sent, and another that carries nothing new must wait for a heartbeat's answer.
    package internal(set) var probesPaused = false
    package internal(set) var isLearner: Bool
    package internal(set) var inflights: Inflights
    /// The latest read round the member has confirmed.
    package internal(set) var confirmedReadRound: UInt64 = 0

    package init(next: LogIndex, isLearner: Bool, inflights: Inflights) {
        self.next = next
        self.isLearner = isLearner
        self.inflights = inflights
    }

    private var lastSent: LogIndex { next.advanced(by: -1) }

    private mutating func reset(_ state: State) {
        probesPaused = false
        pendingSnapshot = .zero
        self.state = state
        inflights.reset()
    }

    mutating func becomeProbe() {
        // After a snapshot the member is known (or hoped) to have all before it.
        let snapshotEnd = state == .snapshot ? pendingSnapshot : .zero
        reset(.probe)
        next = max(match, snapshotEnd).advanced(by: 1)
        sentCommit = min(sentCommit, match)
    }

    mutating func becomeReplicate() {
        reset(.replicate)
        next = match.advanced(by: 1)
        sentCommit = min(sentCommit, match)
    }

    mutating func becomeSnapshot(index: LogIndex) {
        reset(.snapshot)
        pendingSnapshot = index
    }

    /// Whether an append message is due, the leader's log ending at `last` and committed through `commit`: there are
    /// entries to send and room in the window, or the commit index is news, or nothing was sent since the last
    /// heartbeat's answer though not all is acknowledged (so that lost messages, even a whole window, are noticed).
    func owesAppend(last: LogIndex, commit: LogIndex) -> Bool {
        switch state {
        case .probe: !probesPaused
        case .replicate:
            sentCommit < min(commit, lastSent)
                || (match < last && (!probesPaused || (next <= last && !inflights.isFull)))
        case .snapshot: false
        }
    }

    /// Whether an append message may carry entries.
    var admitsEntries: Bool { state == .probe || (state == .replicate && !inflights.isFull) }

    /// Notes that an append message with `count` entries, `bytes` in sum, was sent.
    mutating func sentEntries(count: Int, bytes: Int) {
        invariant(state != .snapshot, "append sent to a member that awaits a snapshot")
        if state == .replicate, count > 0 {
            next = next.advanced(by: count)
            inflights.add(last: lastSent, bytes: bytes)
        }
        probesPaused = true
    }

    /// Notes that a commit index was sent; the member can use it only as far as its entries reach.
    mutating func sentCommit(_ commit: LogIndex) {
        sentCommit = min(max(sentCommit, commit), lastSent)
    }

    /// Notes an acknowledgement; returns true when it is news.
    mutating func acknowledge(_ index: LogIndex) -> Bool {
        if index <= match { return false }
        match = index
        next = max(next, index.advanced(by: 1))
        return true
    }

    /// Notes that the append after `rejected` was refused and that `hint` is the best guess of where the logs agree.
    /// Returns false for a refusal that is out of date.
    mutating func retreat(rejected: LogIndex, hint: LogIndex) -> Bool {
        if state == .replicate {
            if rejected <= match { return false }
            next = match.advanced(by: 1)
            sentCommit = min(sentCommit, match)
            return true
        }
        // A probe has one message outstanding: any other refusal is stale.
        if lastSent != rejected { return false }
        next = max(min(rejected, hint.advanced(by: 1)), match.advanced(by: 1))
        sentCommit = min(sentCommit, lastSent)
        probesPaused = false
        return true
    }
}
