import Primitives
import RaftCore
import Testing

/// The data-driven cases of the quorum maths, and the maths against a slow definition of itself.
@Suite struct QuorumTests {
    @Test(arguments: ["majority_commit", "majority_vote", "joint_commit", "joint_vote"])
    func dataDriven(_ name: String) throws {
        let cases = try DataFile.cases("quorum", name)
        #expect(cases.count > 15)
        for item in cases {
            #expect(try run(item) == item.expected, "\(name).txt line \(item.line): \(item.command)")
        }
    }

    private func run(_ item: DataCase) throws -> String {
        let ids = members(item.argument("cfg"))
        let joint = item.argument("cfgj")
        let outgoing = joint == "zero" ? [] : members(joint)
        var order: [MemberID] = []
        for id in ids + outgoing where !order.contains(id) { order.append(id) }
        let values = (item.argument("idx") ?? item.argument("votes") ?? "").split(separator: ",").map(String.init)
        try #require(values.count == order.count)
        let known = Dictionary(uniqueKeysWithValues: zip(order, values).filter { $0.1 != "_" })
        let majority = MajorityQuorum(ids)
        let quorum = JointQuorum(incoming: majority, outgoing: MajorityQuorum(outgoing))
        let swapped = JointQuorum(incoming: quorum.outgoing, outgoing: quorum.incoming)
        if item.command == "vote" {
            let vote: (MemberID) -> Bool? = { known[$0].map { $0 == "y" } }
            let result = joint == nil ? majority.result(vote) : quorum.result(vote)
            #expect(result == swapped.result(vote))
            return [.won: "VoteWon\n", .lost: "VoteLost\n", .pending: "VotePending\n"][result]!
        }
        try #require(item.command == "committed")
        let acknowledged: (MemberID) -> UInt64? = { known[$0].flatMap(UInt64.init) }
        let index = joint == nil ? majority.committed(acknowledged) : quorum.committed(acknowledged)
        #expect(index == swapped.committed(acknowledged))
        let plot = describe(joint == nil ? majority.members : quorum.members, acknowledged)
        return plot + (index == .max ? "∞" : "\(index)") + "\n"
    }

    private func members(_ text: String?) -> [MemberID] {
        (text ?? "").split(separator: ",").compactMap { UInt64($0) }.map { MemberID($0) }
    }

    /// A bar per voter, as long as there are voters with a smaller index.
    private func describe(_ members: [MemberID], _ acknowledged: (MemberID) -> UInt64?) -> String {
        if members.isEmpty { return "<empty majority quorum>" }
        let pad = String(repeating: " ", count: members.count)
        var text = pad + "    idx\n"
        for member in members {
            let index = acknowledged(member) ?? 0
            let smaller = members.count { (acknowledged($0) ?? 0) < index }
            let digits = String(index)
            let column = String(repeating: " ", count: max(0, 5 - digits.count)) + digits
            if acknowledged(member) == nil {
                text += "?" + pad
            } else {
                text += String(repeating: "x", count: smaller) + ">" + pad.dropFirst(smaller)
            }
            text += " \(column)    (id=\(member.rawValue))\n"
        }
        return text
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func agreesWithTheDefinition(_ seed: UInt64) {
        var random = PRNG(seed: seed)
        for _ in 0..<100 {
            let members = (0..<random.next(in: 0..<8)).map { _ in MemberID(UInt64(random.next(in: 1..<12))) }
            let quorum = MajorityQuorum(members)
            var indexes: [MemberID: UInt64] = [:]
            var votes: [MemberID: Bool] = [:]
            for id in 1..<12 as Range<UInt64> where !random.chance(oneIn: 4) {
                indexes[MemberID(id)] = UInt64(random.next(in: 0..<6))
                votes[MemberID(id)] = random.chance(oneIn: 2)
            }
            let needed = quorum.members.count / 2 + 1
            let candidates = (0..<6 as Range<UInt64>).filter { index in
                quorum.members.count { (indexes[$0] ?? 0) >= index } >= needed
            }
            #expect(quorum.committed { indexes[$0] } == (quorum.isEmpty ? .max : candidates.max()))
            let yes = quorum.members.count { votes[$0] == true }
            let no = quorum.members.count { votes[$0] == false }
            let won = quorum.isEmpty || yes >= needed
            let lost = !quorum.isEmpty && quorum.members.count - no < needed
            #expect(quorum.result { votes[$0] } == (won ? .won : lost ? .lost : .pending))
        }
    }
}
