package import Primitives
package import RaftCore

/// One member's coordinator: see the head of Replica.swift for owner and invariants.
package final class Replica {
    private var raft: Raft
    /// Proposals of this round, handed to Raft together so that they share one append.
    private var proposals: [Proposal] = []
    private var dropped: [(id: UInt64, error: ProposalError)] = []
    private var refusedReads: [UInt64] = []
    /// A commit index that is not worth a write of its own: it goes with the next append.
    private var waitingHardState: HardState?
    /// Entries through this index are on their way to the state machine, from here or from the log's owner.
    private var handedOut: LogIndex
    /// The last entry that Raft has given out as committed.
    private var offered: LogIndex
    /// What the state machine has reported.
    private var applied: LogIndex
    private var persisted = LogIndex.zero
    private var cut = LogIndex.zero

    package init(raft: consuming Raft) {
        applied = raft.applied
        handedOut = applied
        offered = applied
        persisted = raft.applied
        cut = persisted
        self.raft = raft
    }

    /// True when this member is the only voter and leads: whatever is published locally is the latest there is, so a
    /// linearizable read needs no round and no thread hop.
    package var isSoleVoterLeader: Bool { raft.role == .leader && isSoleVoter }

    /// True when this member is the only voter: nobody waits for its messages.
    package var isSoleVoter: Bool {
        let state = raft.configurationState
        return state.voters == [raft.id] && !state.isJoint
    }

    package var term: Term { raft.term }
    /// The last index known to be committed.
    package var commit: LogIndex { raft.commit }
    package var lastIndex: LogIndex { raft.lastIndex }
    package var isLeader: Bool { raft.role == .leader }
    package var leader: MemberID { raft.leader }

    /// Starts an election at once; a sole voter wins it without waiting for a timeout.
    package func campaign() { raft.campaign() }

    /// Takes one event in. Effects come with the next `collect`.
    package func handle(_ event: ReplicaEvent) {
        if case .propose(let proposal) = event {
            proposals.append(proposal)
            return
        }
        // Order between proposals and other events is kept: a transfer or a lost leadership concerns what came before.
        submitProposals()
        switch event {
        case .tick: raft.tick()
        case .propose: break
        case .appendDurable(let number): raft.appendDurable(through: number)
        case .applied(let index):
            invariant(index >= applied, "the applied index went from \(applied) to \(index)")
            applied = index
        case .persisted(let index):
            // The backend may be ahead of the word that the apply thread sends after each batch.
            persisted = max(persisted, index)
        case .read(let context):
            do { try raft.readIndex(context: context) } catch { refusedReads.append(context) }
        case .message(let message):
            // A message that makes no sense was sent by a peer, not by this program: it has no effect.
            _ = try? raft.step(message)
        }
    }

    /// Adds everything that is to be done now to `effects`.
    package func collect(into effects: inout ReplicaEffects) {
        submitProposals()
        repeat {
            while raft.hasReady { take(raft.ready(), into: &effects) }
            // The state machine may be ahead of what Raft has given out: entries reach it from the log's owner too.
            let known = min(applied, offered)
            if known > raft.applied {
                raft.applied(through: known)
                raft.evict(through: known)
            }
        } while raft.hasReady
        effects.dropped.append(contentsOf: dropped)
        dropped.removeAll(keepingCapacity: true)
        effects.refusedReads.append(contentsOf: refusedReads)
        refusedReads.removeAll(keepingCapacity: true)
        let unneeded = min(persisted, applied)
        if unneeded > cut {
            raft.compactLog(through: unneeded)
            cut = unneeded
            effects.logCut = unneeded
        }
    }

    private func take(_ ready: Ready, into effects: inout ReplicaEffects) {
        if let last = ready.committed.last { offered = last.index }
        for entry in ready.committed where entry.index > handedOut {
            effects.committed.append(entry)
            handedOut = entry.index
        }
        append(ready, to: &effects)
        effects.messages.append(contentsOf: ready.messages)
        effects.reads.append(contentsOf: ready.readStates)
        effects.abortedReads.append(contentsOf: ready.abortedReads)
        if let softState = ready.softState { effects.softState = softState }
    }

    /// Adds what a Ready wants to be durable. A commit index alone waits for company: it may lag on disk.
    private func append(_ ready: Ready, to effects: inout ReplicaEffects) {
        if let hardState = ready.hardState { waitingHardState = hardState }
        guard ready.mustSync || !ready.appends.isEmpty || !ready.messagesAfterAppend.isEmpty else { return }
        // A sole voter commits what is durable, unless a membership change is among it; and the state machine must
        // have been given everything before.
        var isOwnWord = false
        if let first = ready.appends.first, let last = ready.appends.last, isSoleVoterLeader,
            first.index == handedOut.advanced(by: 1), ready.appends.allSatisfy({ $0.kind == .normal })
        {
            isOwnWord = true
            handedOut = last.index
        }
        effects.appends.append(
            AppendBatch(
                number: ready.number, hardState: waitingHardState, entries: ready.appends, mustSync: ready.mustSync,
                messagesAfterAppend: ready.messagesAfterAppend, commitsWhenDurable: isOwnWord))
        waitingHardState = nil
    }

    /// Hands the waiting proposals to Raft: all at once, or one by one when they do not fit together.
    private func submitProposals() {
        guard !proposals.isEmpty else { return }
        defer { proposals.removeAll(keepingCapacity: true) }
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
}
