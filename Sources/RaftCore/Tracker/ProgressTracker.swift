package import Primitives

/// The membership, what is known about each member, and the votes of the current campaign.
package struct ProgressTracker: Sendable {
    package let inflightMessagesMax: Int
    package let inflightBytesMax: Int
    package internal(set) var configuration = MemberConfiguration()
    package internal(set) var progress = ProgressMap()
    /// Answers of this campaign, the first of each member; in order of arrival.
    private var votes: [(member: MemberID, granted: Bool)] = []

    package init(inflightMessagesMax: Int, inflightBytesMax: Int) {
        self.inflightMessagesMax = inflightMessagesMax
        self.inflightBytesMax = inflightBytesMax
    }

    package var listing: [(member: MemberID, progress: Progress)] {
        progress.members.indices.map { (progress.members[$0], progress[at: $0]) }
    }

    func makeProgress(next: LogIndex, isLearner: Bool) -> Progress {
        Progress(
            next: next, isLearner: isLearner,
            inflights: Inflights(messagesMax: inflightMessagesMax, bytesMax: inflightBytesMax))
    }

    /// Replaces membership and progress by those of a (consistent) stored membership.
    mutating func restore(_ state: ConfigurationState, lastIndex: LogIndex) {
        configuration = MemberConfiguration(state)
        progress = ProgressMap()
        let next = max(lastIndex, LogIndex(1))
        for voter in configuration.voters.members { progress[voter] = makeProgress(next: next, isLearner: false) }
        for learner in configuration.learners { progress[learner] = makeProgress(next: next, isLearner: true) }
    }

    /// Forgets all progress, at a change of role.
    mutating func resetProgress(lastIndex: LogIndex) {
        for position in 0..<progress.count {
            progress[at: position] = makeProgress(
                next: lastIndex.advanced(by: 1), isLearner: progress[at: position].isLearner)
        }
    }

    /// The greatest index durable on a quorum.
    package var committedIndex: LogIndex {
        LogIndex(configuration.voters.committed { progress[$0]?.match.rawValue })
    }

    /// The latest read round a quorum has confirmed.
    var confirmedReadRound: UInt64 {
        configuration.voters.committed { progress[$0]?.confirmedReadRound }
    }

    /// True when a quorum was heard from since the last reset of `recentlyActive`.
    var isQuorumActive: Bool {
        configuration.voters.result { progress[$0]?.recentlyActive ?? false } == .won
    }

    mutating func resetVotes() { votes.removeAll(keepingCapacity: true) }

    /// Records the first answer of `member`; later ones are ignored.
    mutating func recordVote(_ member: MemberID, granted: Bool) {
        if !votes.contains(where: { $0.member == member }) { votes.append((member, granted)) }
    }

    var voteResult: VoteResult {
        configuration.voters.result { member in votes.first { $0.member == member }?.granted }
    }
}
