import Primitives
import RaftCore

/// The properties of figure 3 of the paper, over all members and all time.
struct SafetyChecker {
    /// The entry that the founding members' snapshot stands at.
    static let foundation = EntryID(term: Term(1), index: LogIndex(1))

    private var leaders: [Term: MemberID] = [:]
    /// Every entry ever committed, with the term of the member that was first seen to have it committed.
    private var committed: [(entry: Entry, term: Term)]
    private var committedMax: LogIndex
    var leadersCount: Int { leaders.count }
    /// The last index anybody has applied: a client may have been told of it.
    var appliedMax: LogIndex = .zero

    /// `foundation`: where the founding members' logs begin; `.zero` for members that have nothing.
    init(foundation: EntryID = SafetyChecker.foundation) {
        committed =
            foundation == .zero
            ? [] : [(Entry(term: foundation.term, index: foundation.index), foundation.term)]
        committedMax = foundation.index
    }

    mutating func check(_ node: TestNode, among nodes: [TestNode], _ label: String) {
        guard node.isUp else { return }
        checkLeader(node, label)
        checkCommit(node, nodes, label)
        checkApplied(node, label)
    }

    /// Election safety: at most one leader per term. Leader completeness: it has all that earlier terms committed.
    private mutating func checkLeader(_ node: TestNode, _ label: String) {
        guard node.raft.role == .leader else { return }
        let term = node.raft.term
        if let known = leaders[term] {
            invariant(known == node.id, "two leaders in term \(term): \(label)")
            return
        }
        leaders[term] = node.id
        for (entry, commitTerm) in committed where commitTerm < term && entry.index >= node.raft.firstIndex {
            invariant(
                node.raft.logTerm(at: entry.index) == entry.term, "leader lacks \(entry.index): \(label)")
        }
    }

    /// What is committed was durable on a quorum before anybody called it committed.
    private mutating func checkCommit(_ node: TestNode, _ nodes: [TestNode], _ label: String) {
        let commit = node.raft.commit
        if commit <= committedMax { return }
        let voters = JointQuorum(
            incoming: MajorityQuorum(node.raft.configurationState.voters),
            outgoing: MajorityQuorum(node.raft.configurationState.votersOutgoing))
        var index = committedMax.advanced(by: 1)
        while index <= commit {
            let term = node.raft.logTerm(at: index)
            let result = voters.result { member in
                let disk = nodes[Int(member.rawValue) - 1].disk
                return index <= disk.compacted.index || disk.entry(at: index)?.term == term
            }
            invariant(result == .won, "\(index) committed without a quorum's disks: \(label)")
            let holder = nodes.first { $0.disk.entry(at: index)?.term == term }
            guard let entry = holder?.disk.entry(at: index) else {
                invariantFailed("\(index) is committed and nowhere durable: \(label)")
            }
            committed.append((entry, node.raft.term))
            index = index.advanced(by: 1)
        }
        committedMax = commit
    }

    /// State machine safety: all apply the same entry at each index, and none that is not committed.
    private mutating func checkApplied(_ node: TestNode, _ label: String) {
        for entry in node.applied {
            invariant(entry.index <= committedMax, "applied before it was committed: \(label)")
            let known = committed[Int(entry.index.rawValue) - 1].entry
            invariant(known == entry, "different entries applied at \(entry.index): \(label)")
        }
        node.applied = []
        appliedMax = max(appliedMax, node.image.last.index)
    }

    /// The state a member must have after applying through `index`.
    func payloads(through index: LogIndex) -> [Bytes] {
        committed.prefix(Int(index.rawValue)).map(\.entry)
            .filter { !$0.kind.changesConfiguration && !$0.payload.isEmpty }.map(\.payload)
    }

    /// Log matching: where two logs have the same term at an index, they are the same before.
    static func checkLogMatching(_ nodes: [TestNode], _ label: String) {
        for a in nodes {
            for b in nodes where a.id < b.id {
                var index = min(a.raft.lastIndex, b.raft.lastIndex)
                var mustMatch = false
                while index >= max(a.raft.firstIndex, b.raft.firstIndex) {
                    let same = a.raft.logTerm(at: index) == b.raft.logTerm(at: index)
                    invariant(same || !mustMatch, "logs match at an index and differ before it: \(label)")
                    mustMatch = mustMatch || same
                    index = index.advanced(by: -1)
                }
            }
        }
    }
}
