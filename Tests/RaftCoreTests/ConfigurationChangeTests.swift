import Primitives
import RaftCore
import Testing

/// The data-driven cases of the membership changer, and what holds of any sequence of changes.
@Suite struct ConfigurationChangeTests {
    @Test(arguments: [
        "joint_autoleave", "joint_idempotency", "joint_learners_next", "joint_safety", "simple_idempotency",
        "simple_promote_demote", "simple_safety", "update", "zero",
    ])
    func dataDriven(_ name: String) throws {
        let cases = try DataFile.cases("confchange", name)
        #expect(!cases.isEmpty)
        var tracker = ProgressTracker(inflightMessagesMax: 10, inflightBytesMax: 1000)
        for (position, item) in cases.enumerated() {
            let changer = Changer(tracker: tracker, lastIndex: LogIndex(UInt64(position)))
            let changes = try item.input.split(separator: " ").map(parse)
            var output: String
            do throws(ConfigurationChangeError) {
                switch item.command {
                case "simple": tracker = try changer.simple(changes)
                case "enter-joint":
                    tracker = try changer.enterJoint(autoLeave: item.argument("autoleave") == "true", changes)
                default: tracker = try changer.leaveJoint()
                }
                output = describe(tracker)
            } catch {
                output = "\(error)\n"
            }
            #expect(output == item.expected, "\(name).txt line \(item.line)")
        }
    }

    private func parse(_ token: Substring) throws -> ConfigurationChange.Single {
        let steps: [Character: ConfigurationChange.Step] = [
            "v": .addVoter, "l": .addLearner, "r": .removeMember, "u": .updateMember,
        ]
        let step = try #require(token.first.flatMap { steps[$0] })
        return ConfigurationChange.Single(step, MemberID(try #require(UInt64(token.dropFirst()))))
    }

    private func describe(_ tracker: ProgressTracker) -> String {
        func list(_ members: [MemberID]) -> String {
            "(" + members.map { "\($0.rawValue)" }.joined(separator: " ") + ")"
        }
        let state = tracker.configuration.state
        var text = "voters=" + list(state.voters)
        if state.isJoint { text += "&&" + list(state.votersOutgoing) }
        if !state.learners.isEmpty { text += " learners=" + list(state.learners) }
        if !state.learnersNext.isEmpty { text += " learners_next=" + list(state.learnersNext) }
        if state.autoLeave { text += " autoleave" }
        text += "\n"
        for (member, progress) in tracker.listing {
            let kind = ["StateProbe", "StateReplicate", "StateSnapshot"][Int(progress.state.rawValue)]
            text += "\(member.rawValue): \(kind) match=\(progress.match.rawValue) next=\(progress.next.rawValue)"
            text += progress.isLearner ? " learner\n" : "\n"
        }
        return text
    }

    /// Thesis, 4.1 and 4.3: of two configurations in succession, any two quorums share a voter.
    @Test(arguments: 0..<40 as Range<UInt64>)
    func quorumsOfSuccessiveConfigurationsIntersect(_ seed: UInt64) throws {
        var random = PRNG(seed: seed)
        var tracker = ProgressTracker(inflightMessagesMax: 10, inflightBytesMax: 1000)
        tracker = try Changer(tracker: tracker, lastIndex: .zero).simple([.init(.addVoter, MemberID(1))])
        for _ in 0..<60 {
            let change = randomChange(&random)
            guard let next = try? Changer(tracker: tracker, lastIndex: LogIndex(9)).apply(change) else { continue }
            #expect(next.configuration.state.isConsistent)
            expectIntersection(tracker.configuration.voters, next.configuration.voters)
            tracker = next
        }
    }

    private func randomChange(_ random: inout PRNG) -> ConfigurationChange {
        let steps: [ConfigurationChange.Step] = [.addVoter, .removeMember, .updateMember, .addLearner]
        let changes = (0..<random.next(in: 0..<4)).map { _ in
            ConfigurationChange.Single(steps[random.next(in: 0..<4)], MemberID(UInt64(random.next(in: 0..<7))))
        }
        let transitions: [ConfigurationChange.Transition] = [.automatic, .jointImplicit, .jointExplicit]
        return ConfigurationChange(changes, transition: transitions[random.next(in: 0..<3)])
    }

    private func expectIntersection(_ before: JointQuorum, _ after: JointQuorum) {
        // A set wins under `before`; its complement must never win under `after`.
        for bits in 0..<128 as Range<UInt64> {
            let inSet: (MemberID) -> Bool? = { bits >> $0.rawValue & 1 == 1 }
            let outside: (MemberID) -> Bool? = { bits >> $0.rawValue & 1 == 0 }
            #expect(before.result(inSet) != .won || after.result(outside) != .won)
        }
    }
}
