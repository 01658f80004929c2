package import Primitives

/// A member's part in its term.
package enum Role: UInt8, Sendable, Hashable {
    case follower
    case preCandidate
    case candidate
    case leader
}

/// What is volatile and worth telling: for logs, metrics and redirects.
package struct SoftState: Sendable, Hashable {
    /// The leader of the current term as far as known, or `.none`.
    package var leader: MemberID
    package var role: Role

    package init(leader: MemberID, role: Role) {
        self.leader = leader
        self.role = role
    }
}

/// The answer to a read: linearizable as soon as the state machine has applied through `index`.
package struct ReadState: Sendable, Hashable {
    /// What the caller passed to `readIndex(context:)`.
    package var context: UInt64
    package var index: LogIndex

    package init(context: UInt64, index: LogIndex) {
        self.context = context
        self.index = index
    }
}

/// The work the core has for its caller, taken by `Raft.ready()`. The caller:
///
/// 1. sends `messages` at once, in order (a leader's appends leave before its own disk has answered);
/// 2. when `needsAppend`: makes `snapshot`, `appends` and `hardState` durable, in that order, after those of all
///    Readys before (with a sync if `mustSync`), without waiting for it to take further Readys;
/// 3. once *that and every Ready before* is durable, calls `Raft.appendDurable(through: number)` and sends
///    `messagesAfterAppend`. A Ready without `needsAppend` has no `messagesAfterAppend` unless one before it is still
///    in flight; calling `appendDurable` for it alone is then not required (a later number covers it);
/// 4. applies `committed` (after those of all Readys before), and calls `Raft.applied(through:)`;
/// 5. answers `readStates` when the state machine has applied their index.
package struct Ready: Sendable {
    /// Counts Readys of this `Raft` value, from 1.
    package var number: UInt64
    /// Set when changed.
    package var softState: SoftState?
    /// Set when changed since the last Ready that carried one.
    package var hardState: HardState?
    /// True when step 2 must not be answered before a sync: there are entries or a snapshot, or term or vote changed.
    package var mustSync: Bool
    /// Entries to append, contiguous. When the first has an index that was appended before, everything stored from
    /// that index on is superseded.
    package var appends: [Entry]
    /// A snapshot (received in full before its message was stepped) to install in place of log and state machine.
    /// `appendDurable` for this Ready means: installed, and the state machine stands at its index.
    package var snapshot: SnapshotMetadata?
    package var messages: [Message]
    /// Messages to other members that promise durability of this Ready or of one before it.
    package var messagesAfterAppend: [Message]
    /// Entries to apply: committed, and durable here. At most `applyBatchBytesMax` (at least one entry).
    package var committed: [Entry]
    package var readStates: [ReadState]
    /// Contexts of local reads that will not be answered because leadership was lost; ask again.
    package var abortedReads: [UInt64]

    /// True when there is something to make durable.
    package var needsAppend: Bool { hardState != nil || !appends.isEmpty || snapshot != nil }

    /// True when there is nothing to do.
    package var isEmpty: Bool {
        !needsAppend && softState == nil && messages.isEmpty && messagesAfterAppend.isEmpty && committed.isEmpty
            && readStates.isEmpty && abortedReads.isEmpty
    }

    package init(number: UInt64) {
        self.number = number
        mustSync = false
        appends = []
        messages = []
        messagesAfterAppend = []
        committed = []
        readStates = []
        abortedReads = []
    }
}
