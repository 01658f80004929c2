package import Primitives

/// Why a proposal was dropped. Nothing of it is in the log.
package enum ProposalError: Error, Sendable, Hashable {
    /// No leader is known.
    case noLeader
    /// This member leads, and is handing leadership over.
    case leadershipTransferring(to: MemberID)
    /// The leader's uncommitted tail has reached `uncommittedBytesMax`.
    case uncommittedBytesExceeded
    /// This member leads but is no longer part of the configuration.
    case notMember
    /// A membership change is in the log and not applied yet.
    case configurationChangePending
    /// The change does not fit the current configuration.
    case configurationChangeInvalid(ConfigurationChangeError)
}

/// Why a received message was not processed. The message had no effect beyond, at most, learning of a newer term;
/// none of these is a reason to stop, except where noted.
package enum RaftError: Error, Sendable, Hashable {
    /// A response from a member that is not in the configuration.
    case unknownSender(MemberID)
    /// The message is not addressed to this member, or claims to come from it.
    case misaddressed
    /// Entries are not contiguous, a snapshot message has no snapshot, two leaders speak for one term, ...
    case malformed(MessageType)
    /// The message contradicts entries that are committed here: some member has lost durable state or is hostile.
    /// The cluster's data cannot be trusted; worth an alarm.
    case contradictsCommitted(LogIndex)
    /// The leader knows this member to have stored entries through `commit`, and it has not: durable state was lost
    /// *here*. The member must be removed and added anew.
    case lostDurableEntries(commit: LogIndex, last: LogIndex)
    /// A forwarded proposal was dropped.
    case proposalDropped(ProposalError)
}

/// Why a read could not be queued.
package enum ReadIndexError: Error, Sendable, Hashable {
    case noLeader
    /// `pendingReadsMax` reads are waiting.
    case tooManyPending
}
