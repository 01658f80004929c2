package import Primitives

/// What became of a proposal.
package enum ProposalOutcome: Sendable, Hashable {
    /// This member leads: the payloads are entries `first`, `first + 1`, ... of `term`. They commit, or are superseded
    /// by entries of a later term.
    case appended(first: LogIndex, term: Term)
    /// Sent to the leader; whether it arrives is not known. Recognise the entries by their content.
    case forwarded(to: MemberID)
}

/// Proposals of new entries. Source: the paper, section 5.3.
extension Raft {
    /// Proposes one entry per payload, all or none. On a leader they enter the log at once; a follower forwards them.
    @discardableResult
    package mutating func propose(_ payloads: [Bytes]) throws(ProposalError) -> ProposalOutcome {
        invariant(!payloads.isEmpty, "nothing is proposed")
        return try propose(payloads.map { Entry(term: .zero, index: .zero, payload: $0) })
    }

    /// Proposes a membership change. Only one may be in the log and unapplied.
    ///
    /// - Parameters:
    ///   - change: checked against the present membership on a leader; a follower leaves that to the leader.
    ///   - kind: the encoding of `payload`.
    ///   - payload: `change` encoded, with whatever else the state machine wants to know.
    @discardableResult
    package mutating func proposeConfigurationChange(
        _ change: ConfigurationChange, kind: EntryKind, payload: Bytes
    ) throws(ProposalError) -> ProposalOutcome {
        invariant(kind.changesConfiguration, "a membership change is proposed as a normal entry")
        if role == .leader {
            if pendingChangeIndex > log.applied { throw .configurationChangePending }
            do throws(ConfigurationChangeError) {
                _ = try Changer(tracker: tracker, lastIndex: log.lastIndex).apply(change)
            } catch {
                throw .configurationChangeInvalid(error)
            }
        }
        return try propose([Entry(term: .zero, index: .zero, kind: kind, payload: payload)])
    }

    private mutating func propose(_ entries: [Entry]) throws(ProposalError) -> ProposalOutcome {
        guard role == .leader else {
            if leader == .none { throw .noLeader }
            send(Message(type: .propose, to: leader, entries: entries))
            return .forwarded(to: leader)
        }
        if tracker.progress.position(of: id) == nil { throw .notMember }
        if transferTarget != .none { throw .leadershipTransferring(to: transferTarget) }
        let bytes = entries.reduce(0) { $0 + $1.payload.count }
        if bytes > 0, uncommittedBytes > 0, uncommittedBytes + bytes > configuration.uncommittedBytesMax {
            throw .uncommittedBytesExceeded
        }
        let first = log.lastIndex.advanced(by: 1)
        var entries = entries
        for position in entries.indices {
            entries[position].term = term
            entries[position].index = first.advanced(by: position)
            if entries[position].kind.changesConfiguration { pendingChangeIndex = entries[position].index }
        }
        appendOwn(entries)
        return .appended(first: first, term: term)
    }

    /// A proposal another member forwarded. A membership change that may not be made now is dropped with the rest.
    mutating func handleForwardedProposal(_ message: Message) throws(RaftError) {
        if message.entries.isEmpty { throw .malformed(.propose) }
        let changes = message.entries.count { $0.kind.changesConfiguration }
        do throws(ProposalError) {
            // Not to the one it came from: two members that take each other for leader would play ball.
            if role != .leader, leader == message.from { throw .noLeader }
            if role == .leader, changes > 0, pendingChangeIndex > log.applied || changes > 1 {
                throw .configurationChangePending
            }
            _ = try propose(
                message.entries.map { Entry(term: .zero, index: .zero, kind: $0.kind, payload: $0.payload) })
        } catch {
            throw .proposalDropped(error)
        }
    }
}
