package import Primitives

/// What a leader looks at before it proposes a change of the membership: pure functions of the member table and of what
/// it knows about the others. The rules are etcd's; what the log's order decides is checked again when the entry is
/// applied (`MemberTable`).
package enum MembershipChecks {
    /// What the leader knows.
    package struct Situation: Sendable {
        package var table: MemberTable
        /// `--strict-reconfig-check`: refuse what could cost the quorum.
        package var isStrict = true
        /// `--max-learners`.
        package var learnersMax = 1
        /// Members connected without a break for the last five seconds, this leader included.
        package var connected: Set<MemberID> = []
        /// Members connected at all, however short, this leader included.
        package var active: Set<MemberID> = []
        /// The last index that each member is known to have; a leader's own is its last index.
        package var match: [MemberID: LogIndex] = [:]
        package var leader: MemberID

        package init(table: MemberTable, leader: MemberID) {
            self.table = table
            self.leader = leader
        }
    }

    /// A learner is ready to be promoted when it has this much of the leader's log.
    package static let learnerReadyPercent: UInt64 = 90

    /// May `member` be added?
    package static func add(_ member: Member, _ situation: Situation) throws(MembershipError) {
        if situation.isStrict {
            let voters = situation.table.members.filter { !$0.isLearner }
            let started = voters.count(where: \.isStarted)
            // A cluster of one that grows: the new one cannot be started before it is a member.
            let growsFromOne = voters.count == 1 && started == 1
            // A learner costs no quorum.
            if !member.isLearner, !growsFromOne, started < quorum(of: voters.count + 1) { throw .notEnoughStarted }
            if !voters.allSatisfy({ situation.connected.contains($0.id) }) { throw .unhealthy }
        }
        var table = situation.table
        try table.apply(.add(member, learnersMax: situation.learnersMax))
    }

    /// May the member be removed?
    package static func remove(_ id: MemberID, _ situation: Situation) throws(MembershipError) {
        if situation.isStrict, let member = situation.table[id], !member.isLearner {
            let voters = situation.table.members.filter { !$0.isLearner }
            let others = voters.filter { $0.id != id }
            if others.count(where: \.isStarted) < quorum(of: others.count) { throw .notEnoughStarted }
            // One that is down already is no part of the quorum that works.
            if situation.active.contains(id) {
                let connected = voters.count { situation.connected.contains($0.id) }
                if connected - 1 < 1 + (voters.count - 1) / 2 { throw .unhealthy }
            }
        }
        var table = situation.table
        try table.apply(.remove(id))
    }

    /// May the member get these peer URLs?
    package static func update(
        _ id: MemberID, peerURLs: [String], _ situation: Situation
    ) throws(MembershipError) {
        var table = situation.table
        try table.apply(.update(id, peerURLs: peerURLs))
    }

    /// May the learner become a voter?
    package static func promote(_ id: MemberID, _ situation: Situation) throws(MembershipError) {
        var table = situation.table
        try table.apply(.promote(id))
        let own = situation.match[situation.leader]?.rawValue ?? 0
        let match = situation.match[id]?.rawValue ?? 0
        // Floating point as in etcd would lose digits of large indexes.
        let (needed, rest) = own.quotientAndRemainder(dividingBy: 100)
        if match < needed * learnerReadyPercent + rest * learnerReadyPercent / 100 { throw .learnerNotReady }
        if situation.isStrict {
            let voters = situation.table.members.filter { !$0.isLearner }
            if voters.count(where: \.isStarted) + 1 < quorum(of: voters.count + 1) { throw .notEnoughStarted }
        }
    }

    private static func quorum(of count: Int) -> Int { count / 2 + 1 }
}

extension Member {
    /// A member that has started has published its name.
    package var isStarted: Bool { !name.isEmpty }
}
