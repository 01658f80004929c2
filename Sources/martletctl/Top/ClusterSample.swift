package import Wire

/// What one member said of itself at one moment.
package struct MemberSample: Sendable {
    package var member: Etcdserverpb_Member
    /// Nil when the member did not answer.
    package var status: Etcdserverpb_StatusResponse?
    /// Why it did not; empty when it did.
    package var error = ""
    /// From question to answer on an open connection, in nanoseconds.
    package var roundTripNanoseconds: Int64?
    /// How long the log's syncs took, since the member started; nil when its metrics cannot be read.
    package var syncs: LatencyHistogram?
    /// When the answer came: monotonic, in nanoseconds.
    package var time: UInt64

    package init(
        member: Etcdserverpb_Member, status: Etcdserverpb_StatusResponse?, error: String = "",
        roundTripNanoseconds: Int64? = nil, syncs: LatencyHistogram? = nil, time: UInt64
    ) {
        self.member = member
        self.status = status
        self.error = error
        self.roundTripNanoseconds = roundTripNanoseconds
        self.syncs = syncs
        self.time = time
    }
}

/// What the members of a cluster said at one moment, in order of their names, those without one last.
package struct ClusterSample: Sendable {
    package private(set) var members: [MemberSample]

    package init(members: [MemberSample]) {
        self.members = members.sorted { a, b in
            (a.member.name.isEmpty ? 1 : 0, a.member.name, a.member.id)
                < (b.member.name.isEmpty ? 1 : 0, b.member.name, b.member.id)
        }
    }

    package subscript(id: UInt64) -> MemberSample? { members.first { $0.member.id == id } }

    /// The leader that the member with the newest term knows.
    package var leader: MemberSample? {
        let newest = members.compactMap(\.status).filter { $0.leader != 0 }.max { $0.raftTerm < $1.raftTerm }
        return newest.flatMap { self[$0.leader] }
    }
}
