package import Primitives

extension Raft {
    private var softState: SoftState { SoftState(leader: leader, role: role) }

    private var owesTermOrVote: Bool { term != emittedHardState.term || vote != emittedHardState.vote }

    /// Whether `ready()` has something to say. Cheap; true at most once in vain (when log storage cannot serve a
    /// member yet).
    package var hasReady: Bool {
        if owesAppends && role == .leader || !outbox.isEmpty || !outboxAfterAppend.isEmpty { return true }
        if owesTermOrVote || log.hasAppends || softState != emittedSoftState { return true }
        if !readStates.isEmpty || !abortedReads.isEmpty || canStartReadRound { return true }
        return log.hasCommitted(outstandingBytesMax: configuration.applyOutstandingBytesMax)
    }

    /// Takes the work the core has for its caller; see `Ready` for what to do with it. Several Readys may be in flight.
    /// A changed commit index alone is not written: it goes with the next entries, vote or term, as it may lag.
    package mutating func ready() -> Ready {
        if canStartReadRound { startReadRound() }
        sendOwedAppends()
        lastReadyNumber += 1
        var ready = Ready(number: lastReadyNumber)
        if softState != emittedSoftState {
            emittedSoftState = softState
            ready.softState = softState
        }
        ready.snapshot = log.takeSnapshot()
        ready.appends = log.takeAppends()
        ready.mustSync = owesTermOrVote || ready.snapshot != nil || !ready.appends.isEmpty
        let hardState = HardState(term: term, vote: vote, commit: log.commit)
        if ready.mustSync, hardState != emittedHardState {
            emittedHardState = hardState
            ready.hardState = hardState
        }
        if ready.needsAppend {
            log.flights.add(
                AppendFlights.Flight(
                    number: ready.number, last: ready.appends.last?.index ?? .zero, hardState: ready.hardState,
                    snapshot: ready.snapshot?.entryID))
        }
        ready.messages = take(&outbox)
        let promises = take(&outboxAfterAppend)
        if log.flights.isEmpty {
            ready.messages += promises
        } else {
            ready.messagesAfterAppend = promises
        }
        ready.committed = log.takeCommitted(
            batchBytesMax: configuration.applyBatchBytesMax,
            outstandingBytesMax: configuration.applyOutstandingBytesMax)
        ready.readStates = take(&readStates)
        ready.abortedReads = take(&abortedReads)
        return ready
    }

    /// Notes that everything of the Ready with this number, and of all before it, is durable: hard state and entries
    /// are synced, a snapshot is installed. Numbers may be skipped and repeated.
    package mutating func appendDurable(through number: UInt64) {
        invariant(number <= lastReadyNumber, "a Ready that was never handed out is reported durable")
        while let flight = log.flights.landFirst(through: number) {
            if let hardState = flight.hardState { durableHardState = hardState }
            log.land(flight)
        }
        switch role {
        case .leader: acknowledgeOwnLog()
        case .candidate: countOwnVote()
        case .follower, .preCandidate: break
        }
    }

    /// Notes that the state machine has applied every entry through `index`; at most the last one handed out. Call
    /// `applyConfigurationChange(_:)` for a membership change before.
    package mutating func applied(through index: LogIndex) {
        log.applied(through: index)
        leaveJointIfDue()
    }

    /// Frees the memory of entries through `index`, or of as many as may go: entries that are applied and durable.
    /// `LogStorage` must be able to read them from now on.
    package mutating func evict(through index: LogIndex) {
        log.evict(through: min(index, log.applied, log.durable))
    }

    /// As `evict(through:)`, from the front, until at most `bytesMax` bytes of entries are in memory or no more may go.
    package mutating func evict(keepingBytes bytesMax: Int) { log.evict(keepingBytes: bytesMax) }

    /// Drops entries through `index`, or of as many as are applied, for good: members that need them get a snapshot.
    /// Returns false when nothing was dropped (also when log storage could not tell the term at `index`; try again).
    @discardableResult
    package mutating func compactLog(through index: LogIndex) -> Bool {
        log.compact(through: min(index, log.applied))
    }

    /// Queues a message. What promises durability of the log or of a vote waits for the disk; nothing else does: a
    /// refusal promises nothing, and a leader's appends rest on the followers' disks as much as on its own. A candidate's
    /// requests wait too: one that won by others' votes alone, died and had forgotten its term would be voted for a second
    /// time by the same members, and lead that term twice with different entries. Source: the thesis, sections 3.8 and
    /// 10.2.1.
    mutating func send(_ message: Message) {
        var message = message
        message.from = id
        invariant(message.to != id && message.to != .none, "message to nobody or to itself")
        switch message.type {
        case .propose, .readIndex: break
        case .preVote, .preVoteResponse: invariant(message.term != .zero, "vote messages name their term")
        default: message.term = term
        }
        let isPromise: Bool =
            switch message.type {
            case .appendResponse: !message.reject && message.index > .zero
            case .voteResponse: !message.reject
            case .vote: true
            default: false
            }
        if isPromise { outboxAfterAppend.append(message) } else { outbox.append(message) }
    }
}

/// Empties an array and gives what was in it.
private func take<Element>(_ array: inout [Element]) -> [Element] {
    if array.isEmpty { return [] }
    let taken = array
    array = []
    return taken
}
