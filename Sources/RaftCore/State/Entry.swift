package import Primitives

/// What a log entry carries. Raw values are those of `raftpb.EntryType`.
package enum EntryKind: UInt8, Sendable, Hashable {
    /// A state machine request, or nothing (the entry a new leader begins its term with).
    case normal = 0
    /// An encoded `raftpb.ConfChange`.
    case configurationChange = 1
    /// An encoded `raftpb.ConfChangeV2`; an empty payload means "leave the joint configuration".
    case configurationChangeV2 = 2

    /// True for the kinds that change the membership when applied.
    package var changesConfiguration: Bool { self != .normal }
}

/// One entry of the replicated log. Source: Raft paper, section 5.3; `raftpb.Entry`.
package struct Entry: Sendable, Hashable {
    package var term: Term
    package var index: LogIndex
    package var kind: EntryKind
    package var payload: Bytes

    package init(term: Term, index: LogIndex, kind: EntryKind = .normal, payload: Bytes = Bytes()) {
        self.term = term
        self.index = index
        self.kind = kind
        self.payload = payload
    }

    /// What an entry costs beside its payload, in bytes: an upper bound of the encoded fields around it.
    package static let overheadBytes = 32

    /// The entry's size as every byte limit of this module counts it (except `uncommittedBytesMax`, which counts
    /// payloads only, so that entries without payload are never refused).
    package var sizeBytes: Int { payload.count + Entry.overheadBytes }
}

/// A log position together with the term of the entry there: what two logs must agree on to agree on all before.
package struct EntryID: Sendable, Hashable {
    package var term: Term
    package var index: LogIndex

    package init(term: Term, index: LogIndex) {
        self.term = term
        self.index = index
    }

    package static let zero = EntryID(term: .zero, index: .zero)
}
