import Primitives
import RaftCore

/// Proposals and reads on their way to the leader, whoever that is.
extension Replica {
    /// Most payload bytes of one forwarded message.
    private static let forwardedBytesMax = 1 << 20

    /// Whether proposals can be handed to Raft: this member leads and stays, or knows who leads.
    private var canPropose: Bool {
        raft.role == .leader ? raft.transferTarget == .none : raft.leader != .none
    }

    /// Hands the proposals of this round to Raft, or keeps them until somebody leads.
    func submitProposals() {
        guard !proposals.isEmpty else { return }
        defer { proposals.removeAll(keepingCapacity: true) }
        if held.hasItems { handOver() }
        if canPropose {
            submit(proposals[...])
        } else {
            for proposal in proposals { hold(proposal) }
        }
    }

    private func hold(_ proposal: Proposal) {
        let isKept =
            !proposal.isLeaderOnly
            && held.hold(.proposal(proposal), tick: tick, bytesMax: options.heldBytesMax)
        if !isKept { dropped.append((proposal.id, .noLeader)) }
    }

    private func submit(_ proposals: ArraySlice<Proposal>) {
        if raft.role == .leader { submitOwn(proposals) } else { forward(proposals) }
    }

    /// On a leader: all at once, or one by one when they do not fit together.
    private func submitOwn(_ proposals: ArraySlice<Proposal>) {
        do throws(ProposalError) {
            _ = try raft.propose(proposals.map(\.payload))
        } catch .uncommittedBytesExceeded where proposals.count > 1 {
            for proposal in proposals {
                do throws(ProposalError) {
                    _ = try raft.propose([proposal.payload])
                } catch {
                    dropped.append((proposal.id, error))
                }
            }
        } catch {
            for proposal in proposals { dropped.append((proposal.id, error)) }
        }
    }

    /// On a follower: in messages of bounded size.
    private func forward(_ proposals: ArraySlice<Proposal>) {
        var part: [Proposal] = []
        var bytes = 0
        for proposal in proposals {
            if proposal.isLeaderOnly {
                dropped.append((proposal.id, .noLeader))
                continue
            }
            if bytes + proposal.payload.count > Self.forwardedBytesMax, !part.isEmpty {
                submitOwn(part[...])
                part = []
                bytes = 0
            }
            part.append(proposal)
            bytes += proposal.payload.count
        }
        if !part.isEmpty { submitOwn(part[...]) }
    }

    /// Proposes a membership change, or keeps it until that is possible.
    func propose(_ change: HeldProposals.Change) {
        do throws(ProposalError) {
            _ = try raft.proposeConfigurationChange(change.change, kind: change.kind, payload: change.payload)
        } catch {
            var change = change
            change.reason = error
            let isKept = error.isTemporary && held.hold(change)
            if !isKept { dropped.append((change.id, error)) }
        }
    }

    /// Hands over what waits, if somebody can take it.
    func handOver() {
        guard canPropose else { return }
        var run: [Proposal] = []
        for (since, item) in held.takeItems() {
            switch item {
            case .proposal(let proposal): run.append(proposal)
            case .forwarded(let message):
                if !run.isEmpty { submit(run[...]) }
                run = []
                do throws(RaftError) { try raft.step(message) } catch {
                    // A membership change while another one is not applied yet, for example.
                    guard case .proposalDropped(let reason) = error, reason.isTemporary else { continue }
                    _ = held.hold(.forwarded(message), tick: since, bytesMax: options.heldBytesMax)
                }
            }
        }
        if !run.isEmpty { submit(run[...]) }
        if raft.role == .leader, raft.hasUnappliedChange { return }
        for change in held.takeChanges() { propose(change) }
    }

    /// Asks for the index of all reads that wait: this leader itself, or the leader there is, one question at a time.
    func askForReads() {
        let leads = raft.role == .leader
        let retry = UInt64(options.readRetryTicks)
        reads.takeBackStale(
            leader: leads ? .none : raft.leader, term: raft.term, askedThrough: tick >= retry ? tick - retry : nil)
        guard reads.hasWaiting else { return }
        if leads {
            let number = reads.ask(leader: .none, term: raft.term, tick: tick)
            // Raft's own limit is not below ours; if it were, they would wait for the next round.
            do throws(ReadIndexError) { try raft.readIndex(context: number) } catch { reads.takeBack(number) }
        } else if raft.leader != .none, !reads.isAsking {
            let number = reads.ask(leader: raft.leader, term: raft.term, tick: tick)
            do throws(ReadIndexError) { try raft.readIndex(context: number) } catch { reads.takeBack(number) }
        }
    }
}

extension ProposalError {
    /// Whether waiting may help.
    var isTemporary: Bool {
        switch self {
        case .noLeader, .leadershipTransferring, .configurationChangePending: true
        case .uncommittedBytesExceeded, .notMember, .configurationChangeInvalid: false
        }
    }
}
