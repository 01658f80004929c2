import Primitives

extension Raft {
    /// One tick of time.
    package mutating func tick() {
        electionElapsedTicks += 1
        guard role == .leader else {
            if isPromotable, electionElapsedTicks >= randomizedElectionTicks {
                electionElapsedTicks = 0
                campaign()
                // Not allowed yet, because of a change that is not applied: the leader is not heard all the same, and its
                // lease must not stand against others who may.
                if role == .follower { leader = .none }
            }
            return
        }
        heartbeatElapsedTicks += 1
        if electionElapsedTicks >= configuration.electionTicks {
            electionElapsedTicks = 0
            if configuration.checkQuorum, !checkQuorum() { return }
        }
        if isAbdicating || transferTarget != .none {
            transferElapsedTicks += 1
            if transferElapsedTicks >= configuration.electionTicks { endTransfer() }
            if role != .leader { return }
        }
        if heartbeatElapsedTicks >= configuration.heartbeatTicks {
            heartbeatElapsedTicks = 0
            if canStartReadRound { openReadRound() }
            sendHeartbeats()
        }
    }

    /// Steps down if no quorum was heard from in the last election timeout; returns false then.
    private mutating func checkQuorum() -> Bool {
        if let own = tracker.progress.position(of: id) { tracker.progress[at: own].recentlyActive = true }
        if !tracker.isQuorumActive {
            becomeFollower(term: term, leader: .none)
            return false
        }
        for position in 0..<tracker.progress.count where tracker.progress.members[position] != id {
            tracker.progress[at: position].recentlyActive = false
        }
        return true
    }

    /// Processes a message from another member. On error the message was dropped.
    package mutating func step(_ message: Message) throws(RaftError) {
        try validate(message)
        guard settleTerm(message) else { return }
        switch message.type {
        case .vote, .preVote: handleVoteRequest(message)
        case .propose: try handleForwardedProposal(message)
        case .readIndex: handleForwardedRead(message)
        case .readIndexResponse: try handleReadIndexResponse(message)
        case .transferLeader:
            if role == .leader { transferLeadership(to: message.from) }
        case .timeoutNow: handleTimeoutNow(message)
        case .append, .heartbeat, .snapshot: try stepFromLeader(message)
        case .appendResponse, .heartbeatResponse:
            if role == .leader { try stepLeader(message) }
        case .voteResponse, .preVoteResponse: handleVoteResponse(message)
        }
    }

    private func validate(_ message: Message) throws(RaftError) {
        if message.to != id || message.from == .none { throw .misaddressed }
        if message.from == id, message.type != .transferLeader { throw .misaddressed }
        switch message.type {
        case .propose, .readIndex:
            if message.term != .zero { throw .malformed(message.type) }
        case .append:
            if message.term == .zero || message.logTerm > message.term { throw .malformed(message.type) }
            var previous = EntryID(term: message.logTerm, index: message.index)
            for entry in message.entries {
                let isNext = entry.index == previous.index.advanced(by: 1) && entry.term >= previous.term
                if !isNext || entry.term > message.term { throw .malformed(message.type) }
                previous = EntryID(term: entry.term, index: entry.index)
            }
        case .snapshot:
            guard let snapshot = message.snapshot, snapshot.index > .zero, snapshot.term <= message.term,
                snapshot.configurationState.isConsistent
            else { throw .malformed(message.type) }
        default:
            if message.term == .zero { throw .malformed(message.type) }
        }
    }

    /// Compares the message's term with ours, follows a newer one, and answers or drops what is of the past. Returns
    /// true when the message is to be processed further. Source: the paper, section 5.1.
    private mutating func settleTerm(_ message: Message) -> Bool {
        if message.term == .zero || message.term == term { return true }
        return message.term > term ? settleNewerTerm(message) : settleOlderTerm(message)
    }

    private mutating func settleNewerTerm(_ message: Message) -> Bool {
        switch message.type {
        case .vote, .preVote:
            // While a leader is heard from, candidates are ignored, unless that leader sent them. Source: the
            // thesis, section 4.2.3.
            let isForced = message.context == Message.transferContext
            let isInLease =
                configuration.checkQuorum && leader != .none && electionElapsedTicks < configuration.electionTicks
            if isInLease, !isForced { return false }
            // A pre-vote only asks; it changes no term.
            if message.type == .vote { becomeFollower(term: message.term, leader: .none) }
        case .preVoteResponse where !message.reject:
            // Granted for the term asked about, which is not ours yet.
            break
        case .append, .heartbeat, .snapshot:
            becomeFollower(term: message.term, leader: message.from)
        default:
            becomeFollower(term: message.term, leader: .none)
        }
        return true
    }

    private mutating func settleOlderTerm(_ message: Message) -> Bool {
        switch message.type {
        case .heartbeat, .append:
            // A leader of the past: tell it the term. With check-quorum or pre-vote this may be the only way for a
            // member that has a greater term and can win no election to rejoin.
            send(Message(type: .appendResponse, to: message.from))
        case .preVote:
            refuseVote(.preVoteResponse, to: message.from)
        case .vote:
            // The paper's figure 2 answers; etcd keeps silent. Without pre-votes silence can last for ever: of two voters
            // one may campaign at ever higher terms among members that are gone, and the other, which alone can win,
            // is told of them by nobody else.
            refuseVote(.voteResponse, to: message.from)
        case .preVoteResponse:
            learnCommit(fromRefusal: message)
        default: break
        }
        return false
    }

    private mutating func stepFromLeader(_ message: Message) throws(RaftError) {
        // Two leaders in one term are impossible; `role` tells ours, `leader` the one heard from.
        if role == .leader || (leader != .none && leader != message.from) { throw .malformed(message.type) }
        if role == .follower {
            electionElapsedTicks = 0
            leader = message.from
        } else {
            becomeFollower(term: term, leader: message.from)
        }
        switch message.type {
        case .append: try handleAppend(message)
        case .heartbeat: try handleHeartbeat(message)
        default: try handleSnapshot(message)
        }
    }

    private mutating func stepLeader(_ message: Message) throws(RaftError) {
        guard let position = tracker.progress.position(of: message.from) else {
            throw .unknownSender(message.from)
        }
        tracker.progress[at: position].recentlyActive = true
        if message.type == .appendResponse {
            try handleAppendResponse(message, position: position)
        } else {
            handleHeartbeatResponse(message, position: position)
        }
    }
}
