import Wire

/// The screen of `top`: pure, of what was sampled.
package struct TopView: Sendable {
    private static let headings = [
        "MEMBER", "ID", "ROLE", "TERM", "INDEX", "APPLIED", "LAG", "DB SIZE", "IN USE", "WRITES/S", "FSYNC P99", "RTT",
        "NOTES",
    ]

    private let now: ClusterSample
    /// For rates: the sample before; nil at the first.
    private let before: ClusterSample?
    /// For the syncs' distribution; nil counts from the members' start.
    private let base: ClusterSample?

    package init(_ now: ClusterSample, before: ClusterSample?, base: ClusterSample?) {
        self.now = now
        self.before = before
        self.base = base
    }

    /// Lines without their ends.
    package func lines() -> [String] {
        var table = [Self.headings] + now.members.map(cells)
        let widths = Self.headings.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
        for row in table.indices {
            for column in widths.indices {
                let gap = String(repeating: " ", count: widths[column] - table[row][column].count)
                // Words stand to the left, numbers to the right.
                let isText = column < 3 || column == widths.count - 1
                table[row][column] = isText ? table[row][column] + gap : gap + table[row][column]
            }
        }
        let rows = table.map { row in
            var line = row.joined(separator: "  ")
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }
        return [summary, ""] + rows
    }

    private var summary: String {
        let answering = now.members.filter { $0.status != nil }
        let voters = now.members.filter { !$0.member.isLearner }
        let votersUp = voters.count { $0.status != nil }
        let cluster = answering.first.map { GoText.hex($0.status?.header.clusterID ?? 0) } ?? "unknown"
        var parts = ["cluster \(cluster)", "\(now.members.count) members, \(answering.count) answering"]
        if let leader = now.leader {
            parts.append("leader \(Self.name(leader.member)), term \(leader.status?.raftTerm ?? 0)")
        } else {
            parts.append("no leader")
        }
        if let revision = answering.compactMap({ $0.status?.header.revision }).max() {
            parts.append("revision \(revision)")
        }
        if votersUp < voters.count / 2 + 1 { parts.append("NO QUORUM ANSWERS") }
        return parts.joined(separator: "   ")
    }

    static func name(_ member: Etcdserverpb_Member) -> String {
        member.name.isEmpty ? GoText.hex(member.id) : member.name
    }

    // MARK: Cells

    private func cells(_ sample: MemberSample) -> [String] {
        let member = sample.member
        let head = [member.name.isEmpty ? "-" : member.name, GoText.hex(member.id)]
        guard let status = sample.status else {
            let role = member.name.isEmpty ? "unstarted" : "down"
            let empty = [String](repeating: "-", count: Self.headings.count - 4)
            return head + [role] + empty + [sample.error]
        }
        return head + [
            role(sample, status), "\(status.raftTerm)", "\(status.raftIndex)", "\(status.raftAppliedIndex)",
            lag(status), GoText.humanBytes(UInt64(max(0, status.dbSize))),
            GoText.humanBytes(UInt64(max(0, status.dbSizeInUse))), writes(sample, status), syncs(sample),
            sample.roundTripNanoseconds.map { Self.milliseconds(Double($0) / 1e6) } ?? "-", notes(member, status),
        ]
    }

    private func role(_ sample: MemberSample, _ status: Etcdserverpb_StatusResponse) -> String {
        if status.isLearner { return "learner" }
        return status.leader == sample.member.id ? "leader" : "follower"
    }

    /// Entries that the leader has and the member has not applied; the two were asked at slightly different moments.
    private func lag(_ status: Etcdserverpb_StatusResponse) -> String {
        guard let leader = now.leader?.status else { return "-" }
        return "\(leader.raftIndex > status.raftAppliedIndex ? leader.raftIndex - status.raftAppliedIndex : 0)"
    }

    /// Revisions per second that the member has applied.
    private func writes(_ sample: MemberSample, _ status: Etcdserverpb_StatusResponse) -> String {
        guard let old = before?[sample.member.id], let oldStatus = old.status, sample.time > old.time,
            status.header.revision >= oldStatus.header.revision
        else { return "-" }
        let seconds = Double(sample.time - old.time) / 1e9
        let rate = Double(status.header.revision - oldStatus.header.revision) / seconds
        return rate > 0 && rate < 10 ? Self.fixed(rate, digits: 1) : "\(Int(rate.rounded()))"
    }

    private func syncs(_ sample: MemberSample) -> String {
        guard var syncs = sample.syncs else { return "-" }
        if let old = base?[sample.member.id]?.syncs { syncs = syncs.since(old) }
        return syncs.quantile(0.99).map { Self.milliseconds($0 * 1e3) } ?? "-"
    }

    /// Alarms of this member, and what else it complains of. Each member lists the alarms of all, as
    /// `memberID:N alarm:NAME `.
    private func notes(_ member: Etcdserverpb_Member, _ status: Etcdserverpb_StatusResponse) -> String {
        var notes: [String] = []
        for error in status.errors {
            guard error.hasPrefix("memberID:") else {
                notes.append(error)
                continue
            }
            let words = error.split(separator: " ")
            guard words.first == "memberID:\(member.id)", words.count > 1, words[1].hasPrefix("alarm:") else {
                continue
            }
            notes.append("ALARM \(words[1].dropFirst(6))")
        }
        return notes.joined(separator: ", ")
    }

    // MARK: Numbers

    /// `0.42ms`, `12.5ms`, `1280ms`: three digits or more.
    static func milliseconds(_ value: Double) -> String {
        if value >= 100 { return "\(Int(value.rounded()))ms" }
        return fixed(value, digits: value >= 10 ? 1 : 2) + "ms"
    }

    private static func fixed(_ value: Double, digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value * scale).rounded())
        let fraction = String(whole % Int(scale))
        return "\(whole / Int(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
