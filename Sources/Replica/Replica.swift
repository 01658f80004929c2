// The coordinator between clients, peers, the log and the state machine: it owns the Raft core and turns events into
// effects, without doing any I/O itself.
//
// Owner: the replica thread in production, the simulator's loop in tests. Synchronous and deterministic: the same events
// give the same effects.
//
// Invariants: effects of one `collect` are carried out in the order of the calls; entries reach `committed` once each,
// in log order, and only when they are durable here.

package import Primitives
package import RaftCore

/// One request for the log: the encoded `InternalRaftRequest` and the identity its answer is found by.
package struct Proposal: Sendable {
    package let id: UInt64
    package let payload: Bytes

    package init(id: UInt64, payload: Bytes) {
        self.id = id
        self.payload = payload
    }
}

/// What can happen to a replica.
package enum ReplicaEvent: Sendable {
    /// One heartbeat interval has passed.
    case tick
    case propose(Proposal)
    /// Everything up to this append number is on disk.
    case appendDurable(through: UInt64)
    /// The state machine has applied through this index.
    case applied(through: LogIndex)
    /// The store has persisted through this index: the log before it may go.
    case persisted(through: LogIndex)
    /// A linearizable read asks for its index.
    case read(context: UInt64)
    case message(Message)
}

/// What is to be made durable in one step, in the order of `number`.
package struct AppendBatch: Sendable {
    package let number: UInt64
    package let hardState: HardState?
    package let entries: [Entry]
    /// False when only the commit index moved: no sync is owed.
    package let mustSync: Bool
    /// To be sent once this batch is durable.
    package let messagesAfterAppend: [Message]
    /// Durable means committed: this member is the only voter. The entries go to the state machine straight from the
    /// log's owner, without asking the replica, which counts them as handed out.
    package let commitsWhenDurable: Bool
}

/// What the caller has to do; filled by `Replica.collect`, reused from call to call.
package struct ReplicaEffects: Sendable {
    package var appends: [AppendBatch] = []
    package var messages: [Message] = []
    package var committed: [Entry] = []
    package var reads: [ReadState] = []
    /// Reads that will not be answered: leadership was lost.
    package var abortedReads: [UInt64] = []
    /// Reads that could not even be asked for.
    package var refusedReads: [UInt64] = []
    /// Proposals that are not in the log, with the reason.
    package var dropped: [(id: UInt64, error: ProposalError)] = []
    package var softState: SoftState?
    /// The log may be cut through this index.
    package var logCut: LogIndex?

    package init() {}

    /// Forgets everything, keeping memory for the next round.
    package mutating func removeAll() {
        appends.removeAll(keepingCapacity: true)
        messages.removeAll(keepingCapacity: true)
        committed.removeAll(keepingCapacity: true)
        reads.removeAll(keepingCapacity: true)
        abortedReads.removeAll(keepingCapacity: true)
        refusedReads.removeAll(keepingCapacity: true)
        dropped.removeAll(keepingCapacity: true)
        softState = nil
        logCut = nil
    }
}
