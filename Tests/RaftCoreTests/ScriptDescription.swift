import Primitives
import RaftCore

/// The words of the scripts. An entry is "5@2": index 5 of term 2.
enum Describe {
    static func entry(_ id: EntryID) -> String { "\(id.index.rawValue)@\(id.term.rawValue)" }

    /// With what it carries: nothing for an empty entry.
    static func entry(_ entry: Entry) -> String {
        let id = Describe.entry(EntryID(term: entry.term, index: entry.index))
        let payload = payload(entry)
        return payload.isEmpty ? id : "\(id) \(payload)"
    }

    static func payload(_ entry: Entry) -> String {
        if entry.kind.changesConfiguration { return change(ChangeCodec.decode(entry.payload)) }
        if entry.payload.count > 20 { return "(\(entry.payload.count) bytes)" }
        return text(entry.payload)
    }

    static func text(_ bytes: Bytes) -> String { String(decoding: bytes.array, as: UTF8.self) }

    static func change(_ change: ConfigurationChange) -> String {
        if change.leavesJoint { return "(leave joint)" }
        let words = change.changes.map { single in
            let step =
                switch single.step {
                case .addVoter: "voter"
                case .addLearner: "learner"
                case .removeMember: "remove"
                case .updateMember: "update"
                }
            return "\(step) \(single.member.rawValue)"
        }
        return "(\(words.joined(separator: ", ")))"
    }

    static func configuration(_ state: ConfigurationState) -> String {
        func list(_ members: [MemberID]) -> String {
            "(" + members.map { "\($0.rawValue)" }.joined(separator: " ") + ")"
        }
        var text = list(state.voters)
        if state.isJoint { text += "&&" + list(state.votersOutgoing) }
        if !state.learners.isEmpty { text += " learners " + list(state.learners) }
        if !state.learnersNext.isEmpty { text += " learners next " + list(state.learnersNext) }
        return state.autoLeave ? text + " auto-leave" : text
    }

    static func role(_ node: TestNode) -> String {
        let term = "term \(node.raft.term.rawValue)"
        guard node.raft.role == .follower, node.raft.leader != .none else { return "\(node.raft.role), \(term)" }
        return "follower of \(node.raft.leader.rawValue), \(term)"
    }

    static func write(_ ready: Ready) -> String {
        var parts: [String] = []
        if let state = ready.hardState {
            let vote = state.vote == .none ? "" : " vote \(state.vote.rawValue)"
            parts.append("term \(state.term.rawValue)\(vote) commit \(state.commit.rawValue)")
        }
        if let snapshot = ready.snapshot { parts.append("snapshot \(entry(snapshot.entryID))") }
        parts += ready.appends.map { entry($0) }
        return parts.joined(separator: ", ")
    }

    static func error(_ error: RaftError) -> String {
        switch error {
        case .unknownSender(let member): "\(member.rawValue) is no member"
        case .proposalDropped(let why): "\(refusal(why))"
        default: "\(error)"
        }
    }

    static func refusal(_ error: ProposalError) -> String {
        switch error {
        case .leadershipTransferring(let member): "leadership goes to \(member.rawValue)"
        case .configurationChangeInvalid(let why): "\(why)"
        default: "\(error)"
        }
    }

    // MARK: Messages

    static func message(_ message: Message) -> String {
        var text = "\(message.from.rawValue)->\(message.to.rawValue) \(message.type)"
        if message.term != .zero { text += " term \(message.term.rawValue)" }
        return text + details(message)
    }

    private static func details(_ message: Message) -> String {
        let place = entry(EntryID(term: message.logTerm, index: message.index))
        switch message.type {
        case .propose: return " [" + message.entries.map(payload).joined(separator: ", ") + "]"
        case .append:
            let entries = message.entries.map { entry($0) }.joined(separator: ", ")
            return " after \(place) [\(entries)] commit \(message.commit.rawValue)"
        case .appendResponse:
            if !message.reject { return " match \(message.index.rawValue)" }
            let hint = entry(EntryID(term: message.logTerm, index: message.rejectHint))
            return " refuses \(message.index.rawValue), try \(hint)"
        case .vote, .preVote: return " last \(place)" + (message.context.isEmpty ? "" : " by transfer")
        case .voteResponse, .preVoteResponse:
            return message.reject ? " refused, commit \(message.commit.rawValue)" : " granted"
        case .snapshot: return message.snapshot.map { " of \(entry($0.entryID))" } ?? ""
        case .heartbeat:
            let round = message.context.isEmpty ? "" : " round \(number(message.context))"
            return " commit \(message.commit.rawValue)" + round
        case .heartbeatResponse: return message.context.isEmpty ? "" : " round \(number(message.context))"
        case .transferLeader, .timeoutNow: return ""
        case .readIndex: return " read \(number(message.entries[0].payload))"
        case .readIndexResponse:
            return " read \(number(message.entries[0].payload)) at \(message.index.rawValue)"
        }
    }

    private static func number(_ bytes: Bytes) -> UInt64 { bytes.array.reduce(0) { $0 << 8 | UInt64($1) } }

    // MARK: Members

    /// A line for the member, and for a leader one for each other member.
    static func status(_ node: TestNode) -> String {
        let id = node.id.rawValue
        guard node.isUp else { return "\(id): down\n" }
        let raft = "\(id): \(role(node)), log \(node.raft.firstIndex.rawValue)...\(node.raft.lastIndex.rawValue)"
        var text = raft + ", commit \(node.raft.commit.rawValue), applied \(node.raft.applied.rawValue)"
        if node.raft.durableIndex != node.raft.lastIndex { text += ", durable \(node.raft.durableIndex.rawValue)" }
        if node.raft.transferTarget != .none { text += ", hands over to \(node.raft.transferTarget.rawValue)" }
        text += "\n"
        guard node.raft.role == .leader else { return text }
        for (member, progress) in node.raft.progress where member != node.id {
            text += "   to \(member.rawValue): \(describe(progress))\n"
        }
        return text
    }

    private static func describe(_ progress: Progress) -> String {
        var text = "\(progress.state), match \(progress.match.rawValue), next \(progress.next.rawValue)"
        if progress.state == .snapshot { text += ", snapshot \(progress.pendingSnapshot.rawValue)" }
        if progress.state == .probe, progress.probesPaused { text += ", paused" }
        if progress.inflights.count > 0 {
            text += ", in flight \(progress.inflights.count) (\(progress.inflights.bytes) bytes)"
        }
        if progress.isLearner { text += ", learner" }
        return progress.recentlyActive ? text : text + ", silent"
    }

    /// The terms of the log, from its first index.
    static func log(_ node: TestNode) -> String {
        var text = "\(node.id.rawValue):"
        if node.raft.firstIndex > LogIndex(1) { text += " (\(node.raft.firstIndex.rawValue - 1) compacted)" }
        var index = node.raft.firstIndex
        while index <= node.raft.lastIndex {
            text += " \(node.raft.logTerm(at: index)?.rawValue ?? 0)"
            index = index.advanced(by: 1)
        }
        return text + "\n"
    }

    /// What the state machine has applied.
    static func state(_ node: TestNode) -> String {
        "\(node.id.rawValue):" + node.image.payloads.map { " " + text($0) }.joined() + "\n"
    }
}
