package import Primitives

/// The membership as it is stored in snapshots: every array sorted and without duplicates. Source:
/// `raftpb.ConfState`.
package struct ConfigurationState: Sendable, Hashable {
    /// The voters; in a joint configuration those of the incoming half.
    package var voters: [MemberID]
    package var learners: [MemberID]
    /// The outgoing half of a joint configuration; empty when not joint.
    package var votersOutgoing: [MemberID]
    /// Voters of the outgoing half that become learners when the joint configuration is left.
    package var learnersNext: [MemberID]
    /// True when the leader leaves the joint configuration by itself, as soon as it is applied.
    package var autoLeave: Bool

    package init(
        voters: [MemberID] = [], learners: [MemberID] = [], votersOutgoing: [MemberID] = [],
        learnersNext: [MemberID] = [], autoLeave: Bool = false
    ) {
        self.voters = voters.sorted()
        self.learners = learners.sorted()
        self.votersOutgoing = votersOutgoing.sorted()
        self.learnersNext = learnersNext.sorted()
        self.autoLeave = autoLeave
    }

    package var isJoint: Bool { !votersOutgoing.isEmpty }
}

/// Where a snapshot stands: the last entry it contains and the membership as of that entry. Source:
/// `raftpb.SnapshotMetadata`.
package struct SnapshotMetadata: Sendable, Hashable {
    package var configurationState: ConfigurationState
    package var index: LogIndex
    package var term: Term

    package init(configurationState: ConfigurationState, index: LogIndex, term: Term) {
        self.configurationState = configurationState
        self.index = index
        self.term = term
    }

    package var entryID: EntryID { EntryID(term: term, index: index) }
}
