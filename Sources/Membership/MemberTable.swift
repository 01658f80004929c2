package import Primitives

/// The members of the cluster and the identities of those that were removed: what every member derives from the same log
/// entries. A removed identity never comes back.
package struct MemberTable: Sendable, Equatable {
    /// One change of one member, as it stands in the log.
    package enum Change: Sendable, Equatable {
        /// `learnersMax` limits the learners there may be; 0 for no limit. It comes with the entry, because every member
        /// has to decide alike.
        case add(Member, learnersMax: Int)
        /// A learner becomes a voter.
        case promote(MemberID)
        case remove(MemberID)
        case update(MemberID, peerURLs: [String])
    }

    /// In ascending order of identity.
    package private(set) var members: [Member]
    /// Ascending.
    package private(set) var removed: [MemberID]

    package init(members: [Member] = [], removed: [MemberID] = []) {
        self.members = members.sorted { $0.id < $1.id }
        self.removed = removed.sorted()
    }

    package subscript(id: MemberID) -> Member? { members.first { $0.id == id } }

    package var voters: [MemberID] { members.filter { !$0.isLearner }.map(\.id) }
    package var learners: [MemberID] { members.filter(\.isLearner).map(\.id) }

    /// Makes a change, or none when it is refused. The rules are etcd's; beyond them the last voter cannot be removed.
    package mutating func apply(_ change: Change) throws(MembershipError) {
        switch change {
        case .add(let member, let learnersMax): try add(member, learnersMax: learnersMax)
        case .promote(let id):
            let position = try position(of: id)
            if !members[position].isLearner { throw .notLearner }
            members[position].isLearner = false
        case .remove(let id):
            let position = try position(of: id)
            if voters == [id] { throw .notEnoughStarted }
            members.remove(at: position)
            removed.append(id)
            removed.sort()
        case .update(let id, let peerURLs):
            let position = try position(of: id)
            try checkURLs(peerURLs, except: id)
            members[position].peerURLs = peerURLs
        }
    }

    /// Replaces what a member publishes of itself; nothing for an unknown one.
    package mutating func publish(_ id: MemberID, name: String, clientURLs: [String]) {
        guard let position = members.firstIndex(where: { $0.id == id }) else { return }
        members[position].name = name
        members[position].clientURLs = clientURLs
    }

    private mutating func add(_ member: Member, learnersMax: Int) throws(MembershipError) {
        if member.id == .none || removed.contains(member.id) { throw .memberNotFound }
        if self[member.id] != nil { throw .memberExists }
        try checkURLs(member.peerURLs, except: member.id)
        if member.isLearner, learnersMax > 0, learners.count >= learnersMax { throw .tooManyLearners }
        let place = members.firstIndex { $0.id > member.id } ?? members.count
        members.insert(member, at: place)
    }

    private func position(of id: MemberID) throws(MembershipError) -> Int {
        guard let position = members.firstIndex(where: { $0.id == id }) else { throw .memberNotFound }
        return position
    }

    private func checkURLs(_ urls: [String], except id: MemberID) throws(MembershipError) {
        for member in members where member.id != id && member.peerURLs.contains(where: urls.contains) {
            throw .peerURLExists
        }
    }
}
