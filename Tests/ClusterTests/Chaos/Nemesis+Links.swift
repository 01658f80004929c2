import NIOCore
import Primitives
import TestSupport

/// Faults of the links between members.
extension Nemesis {
    /// One member, more often the leader, and the others part.
    mutating func cutBothWays(_ condition: Links.Condition) async throws {
        let member = random.chance(oneIn: 3) ? anyMember() : await leaderOrAny()
        note("\(condition) links of \(member.name)")
        let before = links.effects
        links.set(condition, between: member.name, and: cluster.members.map(\.name))
        try await linger(200..<4000, since: before)
        if random.chance(oneIn: 4) {
            note("kill \(member.name) behind its links")
            await member.server.killHard()
        }
    }

    mutating func cutOneWay(isOutgoing: Bool) async throws {
        let member = await leaderOrAny()
        let others = cluster.members.map(\.name).filter { $0 != member.name }.shuffled(using: &random)
        let condition: Links.Condition = random.chance(oneIn: 2) ? .silent : .broken
        note("\(condition) links \(isOutgoing ? "from" : "to") \(member.name)")
        let before = links.effects
        for (place, other) in others.enumerated() where place == 0 || !random.chance(oneIn: 4) {
            links.set(condition, from: isOutgoing ? member.name : other, to: isOutgoing ? other : member.name)
        }
        try await linger(200..<4000, since: before)
    }

    mutating func split() async throws {
        let names = cluster.members.map(\.name).shuffled(using: &random)
        let size = 1 + random.next(in: 0..<names.count - 1)
        note("split \(names.prefix(size)) from \(names.dropFirst(size))")
        let before = links.effects
        for name in names.prefix(size) {
            links.set(.silent, between: name, and: Array(names.dropFirst(size)))
        }
        try await linger(300..<4000, since: before)
    }

    /// Links that break and mend all the time.
    mutating func flap() async throws {
        note("links break again and again")
        let before = links.effects
        for _ in 0..<12 {
            let (one, other) = (anyMember().name, anyMember().name)
            if one != other { links.set(random.chance(oneIn: 2) ? .broken : .silent, from: one, to: other) }
            try await pause(milliseconds: 20..<300)
            if random.chance(oneIn: 2) { links.openAll() }
        }
        try await linger(0..<1, since: before)
    }

    /// All links, or those of one member, each way at a pace of its own: from less than a heartbeat to what makes members
    /// stand for election.
    mutating func slowLinks() async throws {
        let names = cluster.members.map(\.name)
        let chosen = random.chance(oneIn: 3) ? names : [await leaderOrAny().name]
        let slowest = random.next(in: 40..<400)
        note("links of \(chosen) are up to \(slowest) ms late")
        let before = links.effects
        for one in names {
            for other in names where one != other && (chosen.contains(one) || chosen.contains(other)) {
                let late = TimeAmount.milliseconds(Int64(random.next(in: 20..<slowest)))
                links.set(.slow(late), from: one, to: other)
            }
        }
        try await linger(500..<4000, since: before)
        if random.chance(oneIn: 3) {
            let member = anyMember()
            note("kill \(member.name) while links are slow")
            await member.server.killHard()
            // Who is left elects over slow links.
            try await pause(milliseconds: 500..<2000)
        }
    }

    /// Waits, and longer where the links have met no traffic yet: members may still be starting.
    private mutating func linger(_ milliseconds: Range<Int>, since before: Links.Effects) async throws {
        try await pause(milliseconds: milliseconds)
        let limit = ContinuousClock.now + .seconds(60)
        while links.effects == before, ContinuousClock.now < limit {
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
