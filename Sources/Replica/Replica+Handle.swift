package import Primitives
package import RaftCore

/// One member's coordinator: see the head of Replica.swift for owner and invariants.
package final class Replica {
    private var raft: Raft
    /// Proposals of this round, handed to Raft together so that they share one append.
    private var proposals: [Proposal] = []
    private var dropped: [(id: UInt64, error: ProposalError)] = []
    private var refusedReads: [UInt64] = []
    private var applied = LogIndex.zero
    private var persisted = LogIndex.zero
    private var cut = LogIndex.zero

    package init(raft: consuming Raft) {
        applied = raft.applied
        persisted = raft.applied
        cut = persisted
        self.raft = raft
    }

    /// True when this member is the only voter and leads: whatever is published locally is the latest there is, so a
    /// linearizable read needs no round and no thread hop.
    package var isSoleVoterLeader: Bool {
        let state = raft.configurationState
        return raft.role == .leader && state.voters == [raft.id] && !state.isJoint
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
            raft.applied(through: index)
            raft.evict(through: index)
        case .persisted(let index):
            invariant(index <= applied, "persisted index \(index) is ahead of the applied index \(applied)")
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
        while raft.hasReady {
            let ready = raft.ready()
            if ready.needsAppend {
                effects.appends.append(
                    AppendBatch(
                        number: ready.number, hardState: ready.hardState, entries: ready.appends,
                        mustSync: ready.mustSync, messagesAfterAppend: ready.messagesAfterAppend))
            } else if !ready.messagesAfterAppend.isEmpty {
                effects.appends.append(
                    AppendBatch(
                        number: ready.number, hardState: nil, entries: [], mustSync: false,
                        messagesAfterAppend: ready.messagesAfterAppend))
            }
            effects.messages.append(contentsOf: ready.messages)
            effects.committed.append(contentsOf: ready.committed)
            effects.reads.append(contentsOf: ready.readStates)
            effects.abortedReads.append(contentsOf: ready.abortedReads)
            if let softState = ready.softState { effects.softState = softState }
        }
        effects.dropped.append(contentsOf: dropped)
        dropped.removeAll(keepingCapacity: true)
        effects.refusedReads.append(contentsOf: refusedReads)
        refusedReads.removeAll(keepingCapacity: true)
        if persisted > cut {
            raft.compactLog(through: persisted)
            cut = persisted
            effects.logCut = persisted
        }
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
