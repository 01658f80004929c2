package import Primitives

/// Leader election. Source: the paper, section 5.2; the thesis, sections 3.4, 9.6.
extension Raft {
    enum CampaignKind {
        /// Ask whether an election could be won; no term changes.
        case preElection
        case election
        /// The leader told us to: its lease does not stand against us.
        case transfer
    }

    /// True when this member may become leader: a voter, with its state machine in place.
    var isPromotable: Bool {
        guard let own = tracker.progress[id] else { return false }
        return !own.isLearner && log.pendingSnapshot == nil
    }

    /// Campaigns now, as if the election timeout had passed. Does nothing on a leader, on a member that is no voter,
    /// and while committed membership changes are unapplied (the campaign would count with old quorums).
    package mutating func campaign() {
        campaignIfAllowed(configuration.preVote ? .preElection : .election)
    }

    /// Forgets the leader without changing the term, so that pre-votes may be granted although its lease lasts: for
    /// callers that know it to be gone. Does nothing on a leader or candidate.
    package mutating func forgetLeader() {
        if role == .follower { leader = .none }
    }

    /// The leader is known to be gone: forgets it, and campaigns within a third of an election timeout instead of waiting
    /// for one. The random part still tells rivals apart. Does nothing on a leader or candidate, nor for another member
    /// than the leader.
    ///
    /// Safe whatever the truth is: timeouts are no part of Raft's safety, and members that still hear the leader refuse
    /// the pre-vote.
    package mutating func leaderIsGone(_ member: MemberID) {
        guard role == .follower, leader == member else { return }
        forgetLeader()
        let left = 1 + random.next(in: 0..<max(1, configuration.electionTicks / 3))
        electionElapsedTicks = max(electionElapsedTicks, randomizedElectionTicks - left)
    }

    mutating func resetElectionTimer() {
        electionElapsedTicks = 0
        randomizedElectionTicks = configuration.electionTicks + random.next(in: 0..<configuration.electionTicks)
    }

    private mutating func campaignIfAllowed(_ kind: CampaignKind) {
        if role == .leader || !isPromotable || log.hasUnappliedChanges { return }
        campaign(kind)
    }

    private mutating func campaign(_ kind: CampaignKind) {
        let request: MessageType
        let requestTerm: Term
        if kind == .preElection {
            becomePreCandidate()
            (request, requestTerm) = (.preVote, Term(term.rawValue + 1))
        } else {
            becomeCandidate()
            (request, requestTerm) = (.vote, term)
        }
        let last = log.last
        for member in tracker.configuration.voters.members where member != id {
            send(
                Message(
                    type: request, to: member, term: requestTerm, logTerm: last.term, index: last.index,
                    context: kind == .transfer ? Message.transferContext : Bytes()))
        }
        // A pre-vote is no promise; a vote counts once it is durable (`countOwnVote`).
        if kind == .preElection {
            tracker.recordVote(id, granted: true)
            concludeCampaign()
        }
    }

    /// Counts this candidate's vote for itself once it is durable.
    mutating func countOwnVote() {
        guard role == .candidate, durableHardState.term == term, durableHardState.vote == id else { return }
        tracker.recordVote(id, granted: true)
        concludeCampaign()
    }

    mutating func handleVoteResponse(_ message: Message) {
        let expected: MessageType? =
            switch role {
            case .preCandidate: .preVoteResponse
            case .candidate: .voteResponse
            case .follower, .leader: nil
            }
        guard message.type == expected else { return }
        if learnCommit(fromRefusal: message) { return }
        // A granted pre-vote names the term asked about; one of an earlier campaign is void.
        if role == .preCandidate, !message.reject, message.term.rawValue != term.rawValue + 1 { return }
        tracker.recordVote(message.from, granted: !message.reject)
        concludeCampaign()
    }

    /// Takes over the commit index that a refused vote carries, if our log holds that entry: what is committed is so
    /// for ever, whoever says it. Without this a membership change can leave nobody electable: a leader that commits
    /// its own removal or demotion steps down with a longer log than the member that it forgot to tell, and that member, not
    /// knowing, still needs its vote. Returns true when the campaign has ended, as there are changes to apply first.
    @discardableResult
    mutating func learnCommit(fromRefusal message: Message) -> Bool {
        guard message.reject, role != .leader, message.commit > log.commit,
            log.matches(EntryID(term: message.logTerm, index: message.commit))
        else { return false }
        log.commit(through: message.commit)
        guard log.hasUnappliedChanges, role != .follower else { return false }
        becomeFollower(term: term, leader: .none)
        return true
    }

    private mutating func concludeCampaign() {
        switch tracker.voteResult {
        case .pending: break
        case .lost: becomeFollower(term: term, leader: .none)
        case .won:
            if role == .preCandidate { campaign(.election) } else { becomeLeader() }
        }
    }

    /// Grants or refuses a vote. Source: the paper, sections 5.2 and 5.4.1. Learners vote too: one that does not know
    /// yet that it was promoted may be needed.
    mutating func handleVoteRequest(_ message: Message) {
        let isPreVote = message.type == .preVote
        let response: MessageType = isPreVote ? .preVoteResponse : .voteResponse
        let canVote =
            vote == message.from || (vote == .none && leader == .none) || (isPreVote && message.term > term)
        guard canVote, log.isUpToDate(EntryID(term: message.logTerm, index: message.index)) else {
            refuseVote(response, to: message.from)
            return
        }
        if !isPreVote {
            electionElapsedTicks = 0
            vote = message.from
        }
        // A pre-vote is answered with the term asked about: the asker would drop a message of an older one.
        send(Message(type: response, to: message.from, term: message.term))
    }

    /// Refuses, and says what is committed here, see `learnCommit(fromRefusal:)`.
    mutating func refuseVote(_ response: MessageType, to candidate: MemberID) {
        send(
            Message(
                type: response, to: candidate, term: term, logTerm: log.term(atCommitted: log.commit),
                commit: log.commit, reject: true))
    }

    /// The leader hands over: campaign at once. Source: the thesis, section 3.10.
    mutating func handleTimeoutNow(_ message: Message) {
        if role == .follower { campaignIfAllowed(.transfer) }
    }

    // MARK: Changes of role

    private mutating func reset(term newTerm: Term) {
        invariant(newTerm >= term, "term goes back")
        if newTerm != term {
            term = newTerm
            vote = .none
        }
        leader = .none
        heartbeatElapsedTicks = 0
        resetElectionTimer()
        transferTarget = .none
        transferElapsedTicks = 0
        isAbdicating = false
        pendingChangeIndex = .zero
        uncommittedBytes = 0
        owesAppends = false
        abortedReads += reads.abort()
        tracker.resetVotes()
        tracker.resetProgress(lastIndex: log.lastIndex)
    }

    mutating func becomeFollower(term newTerm: Term, leader newLeader: MemberID) {
        reset(term: newTerm)
        role = .follower
        leader = newLeader
    }

    /// Changes nothing but the role: neither term nor vote.
    private mutating func becomePreCandidate() {
        invariant(role != .leader, "a leader campaigns")
        tracker.resetVotes()
        resetElectionTimer()
        leader = .none
        role = .preCandidate
    }

    private mutating func becomeCandidate() {
        invariant(role != .leader, "a leader campaigns")
        reset(term: Term(term.rawValue + 1))
        vote = id
        role = .candidate
    }

    private mutating func becomeLeader() {
        invariant(role == .candidate, "only a candidate becomes leader")
        reset(term: term)
        role = .leader
        leader = id
        if let own = tracker.progress.position(of: id) {
            _ = tracker.progress[at: own].acknowledge(log.durable)
            tracker.progress[at: own].becomeReplicate()
        }
        uncommittedBytes = log.payloadBytes(after: log.commit, through: log.lastIndex)
        // There may be a membership change in the tail; none is proposed until all of it is applied.
        pendingChangeIndex = log.lastIndex
        // Entries of older terms commit only together with one of this term. Source: the paper, section 5.4.2.
        appendOwn([Entry(term: term, index: log.lastIndex.advanced(by: 1))])
    }
}
