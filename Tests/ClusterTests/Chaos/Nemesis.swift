import Client
import Foundation
import Primitives
import TestSupport
import Wire

/// Makes things go wrong, by a schedule that the seed decides, and mends them again. One task.
struct Nemesis {
    enum Fault: String, CaseIterable {
        case kill
        case killLeader
        case killAll
        case terminateLeader
        case pause
        case pauseLeader
        case moveLeader
        case replace
        case stallDisk
        case stallLeadersDisk
        case fillDisk
        case slowDisk
        case slowLeadersDisk
        case hangLeadersDisk
        case slowDisks
        // Of the links.
        case silenceBothWays
        case closeBothWays
        case cutWayIn
        case cutWayOut
        case split
        case flap
        case slowLinks

        static let ofLinks: [Fault] = [
            .silenceBothWays, .closeBothWays, .cutWayIn, .cutWayOut, .split, .flap, .slowLinks,
        ]

        var isOfLinks: Bool { Self.ofLinks.contains(self) }

        /// Deals every fault to one of so many runs, in the order in which that run is to make them: those of links come
        /// early, every other one.
        static func deal(seed: UInt64, runs: Int) -> [[Fault]] {
            var random = PRNG(seed: seed)
            let ofLinks = ofLinks.shuffled(using: &random)
            let others = allCases.filter { !$0.isOfLinks }.shuffled(using: &random)
            return (0..<runs).map { run in
                let one = ofLinks.indices.filter { $0 % runs == run }.map { ofLinks[$0] }
                let other = others.indices.filter { $0 % runs == run }.map { others[$0] }
                let pairs = zip(one, other).flatMap { random.chance(oneIn: 2) ? [$0, $1] : [$1, $0] }
                return pairs + one.dropFirst(other.count) + other.dropFirst(one.count)
            }
        }
    }

    let cluster: TestCluster
    let links: Links
    var random: PRNG
    private let start = ContinuousClock.now
    /// What is made before the faults are drawn, all of them once before any comes again.
    private var deck: [Fault]
    /// The faults of links in the first deck: they are made even when the machine left no time for them.
    let owed: [Fault]
    /// What was done, and when.
    private(set) var timeline: [String] = []
    /// How often each was made; one of links counts when it met traffic.
    private(set) var made: [Fault: Int] = [:]

    /// - Parameter deal: what is made first, in this order.
    init(_ cluster: TestCluster, seed: UInt64, deal: [Fault]) throws {
        guard let links = cluster.links else { throw TestFailure("the chaos test needs links that can be cut") }
        self.cluster = cluster
        self.links = links
        random = PRNG(seed: seed)
        deck = deal
        owed = deal.filter(\.isOfLinks)
    }

    /// Faults, one or two at a time, until the deadline; then everything is mended.
    mutating func run(until deadline: ContinuousClock.Instant) async throws {
        while ContinuousClock.now < deadline {
            if deck.isEmpty { deck = Fault.allCases.shuffled(using: &random) }
            try await make(deck.removeFirst())
        }
        for fault in owed where made[fault] == nil { try await make(fault) }
        try await mend()
    }

    private mutating func make(_ fault: Fault) async throws {
        try checkAlive()
        let effects = links.effects
        try await cause(fault)
        if !fault.isOfLinks || links.effects != effects { made[fault, default: 0] += 1 }
        try await mend()
        try await pause(milliseconds: 100..<2500)
    }

    mutating func note(_ text: String) {
        let time = ContinuousClock.now - start
        timeline.append("\(Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18): \(text)")
    }

    /// Nobody may end by himself.
    private func checkAlive() throws {
        for member in cluster.members where !member.isRunning {
            throw TestFailure("\(member.name) has ended by itself")
        }
    }

    mutating func pause(milliseconds range: Range<Int>) async throws {
        try await Task.sleep(for: .milliseconds(random.next(in: range)))
    }

    mutating func anyMember() -> TestMember {
        let members = cluster.members
        return members[random.next(in: 0..<members.count)]
    }

    /// The leader, if one is known soon.
    mutating func leaderOrAny() async -> TestMember {
        if let leader = try? await cluster.leader(within: .seconds(2)) { return leader }
        return anyMember()
    }

    private mutating func cause(_ fault: Fault) async throws {
        switch fault {
        case .kill: try await kill(anyMember())
        case .killLeader: try await kill(await leaderOrAny())
        case .killAll:
            note("kill all")
            for member in cluster.members { member.server.signal(SIGKILL) }
            for member in cluster.members { await member.server.killHard() }
            try await pause(milliseconds: 0..<1000)
        case .terminateLeader:
            let leader = await leaderOrAny()
            note("terminate \(leader.name)")
            guard await leader.server.terminate() != nil else {
                throw TestFailure("SIGTERM did not end \(leader.name)")
            }
            try await pause(milliseconds: 0..<1500)
        case .pause: try await stop(anyMember())
        case .pauseLeader: try await stop(await leaderOrAny())
        case .silenceBothWays: try await cutBothWays(.silent)
        case .closeBothWays: try await cutBothWays(.broken)
        case .cutWayIn: try await cutOneWay(isOutgoing: false)
        case .cutWayOut: try await cutOneWay(isOutgoing: true)
        case .split: try await split()
        case .flap: try await flap()
        case .slowLinks: try await slowLinks()
        case .moveLeader: await moveLeader()
        case .replace: try await replace()
        case .stallDisk: try await stall(anyMember())
        case .stallLeadersDisk: try await stall(await leaderOrAny())
        case .fillDisk: try await fill(anyMember())
        case .slowDisk: try await slow([anyMember()], 10..<300)
        case .slowLeadersDisk: try await slow([await leaderOrAny()], 10..<300)
        // Every sync takes longer than an election timeout.
        case .hangLeadersDisk: try await slow([await leaderOrAny()], 600..<3000)
        case .slowDisks: try await slow(cluster.members, 5..<60)
        }
    }

    private mutating func kill(_ member: TestMember) async throws {
        note("kill \(member.name)")
        await member.server.killHard()
        try await pause(milliseconds: 0..<3000)
        // Another one while the first is away: without quorum, in a cluster of three.
        if random.chance(oneIn: 4) {
            let other = anyMember()
            note("kill \(other.name) too")
            await other.server.killHard()
            try await pause(milliseconds: 0..<2000)
        }
    }

    private mutating func stop(_ member: TestMember) async throws {
        note("stop \(member.name)")
        member.server.signal(SIGSTOP)
        try await pause(milliseconds: 100..<4000)
        if random.chance(oneIn: 5) { await member.server.killHard() }
    }

    /// Writes to the member's disk wait.
    private mutating func stall(_ member: TestMember) async throws {
        guard let disk = member.disk else { return try await stop(member) }
        note("stall the disk of \(member.name)")
        try await disk.freeze()
        try await pause(milliseconds: 100..<5000)
        try await disk.thaw()
    }

    /// Every sync of these members takes longer, and sometimes every write.
    private mutating func slow(_ members: [TestMember], _ milliseconds: Range<Int>) async throws {
        let disks = members.compactMap(\.slowDisk)
        guard disks.count == members.count else { return try await stop(members[0]) }
        let sync = random.next(in: milliseconds)
        let write = random.chance(oneIn: 4) ? random.next(in: 1..<20) : 0
        note("syncs of \(members.map(\.name)) take \(sync) ms, writes \(write) ms")
        for disk in disks { try disk.set(sync: .milliseconds(sync), write: .milliseconds(write)) }
        try await pause(milliseconds: 500..<5000)
        if random.chance(oneIn: 4) { await anyMember().server.killHard() }
    }

    /// The member's disk has no room; it has to go on with what it can do.
    private mutating func fill(_ member: TestMember) async throws {
        guard let disk = member.disk else { return try await kill(member) }
        note("fill the disk of \(member.name)")
        try await disk.fill()
        try await pause(milliseconds: 100..<4000)
        if random.chance(oneIn: 4) { await member.server.killHard() }
        try await disk.relieve()
    }

    private mutating func moveLeader() async {
        let leader = await leaderOrAny()
        let target = anyMember()
        note("move leadership from \(leader.name) to \(target.name)")
        guard let id = (await target.status())?.header.memberID else { return }
        // It may be refused, or not come about.
        _ = try? await leader.client.moveLeader(to: id)
    }

    /// Removes a member, dead or alive, and lets another one join in its place.
    private mutating func replace() async throws {
        let victim = anyMember()
        guard let id = (await victim.status())?.header.memberID else { return }
        let others = cluster.members.filter { $0 !== victim }
        let client = cluster.client(others, timeoutSeconds: 5)
        if random.chance(oneIn: 2) { await victim.server.killHard() }
        note("replace \(victim.name)")
        try await eventually("\(victim.name) is removed") {
            do throws(ClientError) {
                _ = try await client.memberRemove(id: id)
                return true
            } catch {
                // The removal of an attempt that was not answered.
                return error.message == "etcdserver: member not found"
            }
        }
        if victim.isRunning, await victim.server.waitForEnd(within: .seconds(60)) == nil {
            throw TestFailure("\(victim.name) runs on after its removal")
        }
        await cluster.forget(victim)
        let newcomer = try await cluster.newcomer()
        note("\(newcomer.name) joins")
        var add = Etcdserverpb_MemberAddRequest()
        add.peerUrls = [newcomer.peerURL]
        let isLearner = random.chance(oneIn: 2)
        add.isLearner = isLearner
        let request = add
        try await eventually("\(newcomer.name) is added") {
            let error = await failure { _ = try await client.memberAdd(request) }
            return error == nil || error?.message == "etcdserver: Peer URLs already exists"
        }
        try newcomer.server.launch()
        try await newcomer.waitUntilAnswering()
        if isLearner {
            let newID = try await newcomer.id()
            try await eventually("\(newcomer.name) is promoted") {
                let error = await failure { _ = try await client.memberPromote(id: newID) }
                return error == nil || error?.message == "etcdserver: can only promote a learner member"
            }
        }
        await client.close()
    }

    /// Everything runs and is connected again.
    private mutating func mend() async throws {
        links.openAll()
        for member in cluster.members {
            try member.slowDisk?.reset()
            member.server.signal(SIGCONT)
            // Starts may fail for want of others to ask; never by themselves.
            if !member.isRunning { try member.server.launch() }
        }
        // Sometimes the next fault comes while the cluster still recovers.
        if random.chance(oneIn: 3) { return }
        _ = try await cluster.leader()
    }
}
