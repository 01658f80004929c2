import Primitives

/// Everything about a run that is decided before it begins. Drawn from the seed, and printed with it.
package struct SimulationOptions: Sendable, CustomStringConvertible {
    package var seed: UInt64
    /// Voters at the beginning, 1...5.
    package var memberCount: Int
    /// Machines that may be added later.
    package var spareCount: Int
    /// Events of the safety phase.
    package var stepsMax: Int
    /// A mistake to make.
    package var bug: PlantedBug?
    /// Which faults may be drawn. What is added comes as a new generation with draws of its own, so that a seed stays the
    /// same run in its own generation: 1: all but what 2 brings; 2: damaged disks, states that differ, quotas.
    package let generation: Int
    package static let newestGeneration = 2

    var network = NetworkOptions()
    var preVote = true

    // Disk.
    var syncNanosecondsMin: UInt64 = 100_000
    var syncNanosecondsMax: UInt64 = 2_000_000
    /// One log write in so many takes up to 3 s; 0: never.
    var stallOneIn = 0
    var commitDelayNanosecondsMax: UInt64 = 300_000_000
    var failsOperations = false
    var fillsDisks = false
    var segmentBytes = 8192
    var retainedBytes = 0
    var recyclesSegments = false
    var tailBytesMax = 1 << 20
    var markBytesMin = 500

    // Clocks: a rate of 1000 is right.
    var driftPermille = 0
    var jumps = false

    // What is done to the cluster, and how often on average.
    var nemesisNanoseconds: UInt64 = 700_000_000
    var crashes = false
    var losesPower = false
    var pauses = false
    var cutsNetwork = false
    var cutsOneWay = false
    var clogsLinks = false
    var changesMembers = false
    var transfers = false
    var cutsSnapshots = false
    var flipsSnapshotBits = false

    // Generation 2: damage, after which the operator replaces the member.
    /// Bits flip in the log, while the process is down.
    var flipsLogBits = false
    /// Bits flip in stored records.
    var flipsRecordBits = false
    /// A member applies something else than the others.
    var alters = false
    /// Entries between two hashes that members compare.
    var hashStride: UInt64 = 256
    /// Negative: none.
    var quotaBytes: Int64 = -1

    // Workload.
    var clientCount = 4
    var watcherCount = 3
    var keyCount = 8
    var thinkNanosecondsMax: UInt64 = 60_000_000
    var usesLeases = false
    /// How often the rest of a long lease goes through the log; 0: never.
    var checkpointSeconds: UInt64 = 0
    var compacts = false
    var valueBytesMax = 60

    package init(
        seed: UInt64, members: Int? = nil, steps: Int = 12_000, bug: PlantedBug? = nil,
        generation: Int = SimulationOptions.newestGeneration
    ) {
        self.seed = seed
        self.generation = bug?.generation ?? generation
        self.bug = bug
        stepsMax = steps
        var random = PRNG(seed: seed &* 0x9e37_79b9 &+ 1)
        memberCount = members ?? [1, 2, 3, 3, 3, 3, 3, 4, 5, 5][random.next(in: 0..<10)]
        spareCount = 0
        drawNetwork(&random)
        drawDisk(&random)
        drawFaults(&random)
        drawWorkload(&random)
        if bug != nil { adaptToBug() }
        if self.generation >= 2 { drawDamage() }
    }

    /// Whether members may have to be replaced.
    var hasDamage: Bool { flipsLogBits || flipsRecordBits || alters }

    private mutating func drawDamage() {
        var random = PRNG(seed: seed &* 0xd1b5_4a33 &+ 7)
        hashStride = [16, 64, 256][random.next(in: 0..<3)]
        if random.chance(oneIn: 3) || bug == .keepNoSpace {
            quotaBytes = [4000, 12_000, 40_000][random.next(in: 0..<3)]
            compacts = true
        }
        flipsLogBits = random.chance(oneIn: 3) || bug == .cutDamage
        flipsRecordBits = random.chance(oneIn: 3) || bug == .trustRecords
        alters = random.chance(oneIn: 3) || bug == .ignoreDifferences || bug == .serveCorrupt
        switch bug {
        case .cutDamage, .keepNoSpace: (flipsRecordBits, alters) = (false, false)
        case .trustRecords: (flipsLogBits, alters) = (false, false)
        case .ignoreDifferences, .serveCorrupt:
            (flipsRecordBits, flipsLogBits) = (false, false)
            hashStride = 16
        default: break
        }
        if bug == .keepNoSpace { flipsLogBits = false }
        guard memberCount >= 3 else {
            (flipsLogBits, flipsRecordBits, alters) = (false, false, false)
            return
        }
        guard hasDamage else { return }
        // A difference has to be seen while clients still write.
        if alters { hashStride = min(hashStride, 64) }
        // The operator alone changes the members.
        changesMembers = false
        spareCount = 2
    }

    private mutating func drawNetwork(_ random: inout PRNG) {
        network.delayNanosecondsMin = [20_000, 100_000, 1_000_000][random.next(in: 0..<3)]
        network.delayNanosecondsMax =
            network.delayNanosecondsMin + [100_000, 2_000_000, 40_000_000][random.next(in: 0..<3)]
        network.lossOneIn = [0, 0, 200, 30, 8][random.next(in: 0..<5)]
        network.duplicateOneIn = [0, 0, 100, 10][random.next(in: 0..<4)]
        network.reorders = random.chance(oneIn: 2)
        network.slowOneIn = [0, 0, 300, 50][random.next(in: 0..<4)]
    }

    private mutating func drawDisk(_ random: inout PRNG) {
        syncNanosecondsMin = [10_000, 100_000, 1_000_000][random.next(in: 0..<3)]
        syncNanosecondsMax = syncNanosecondsMin + [50_000, 2_000_000, 30_000_000][random.next(in: 0..<3)]
        stallOneIn = [0, 0, 0, 400][random.next(in: 0..<4)]
        commitDelayNanosecondsMax = [5_000_000, 300_000_000, 2_000_000_000][random.next(in: 0..<3)]
        failsOperations = random.chance(oneIn: 3)
        fillsDisks = random.chance(oneIn: 5)
        segmentBytes = [4096, 8192, 65_536][random.next(in: 0..<3)]
        retainedBytes = [0, 0, 8192, 1 << 20][random.next(in: 0..<4)]
        recyclesSegments = random.chance(oneIn: 2)
        tailBytesMax = [2000, 20_000, 1 << 20][random.next(in: 0..<3)]
        markBytesMin = [0, 500, 64 << 10][random.next(in: 0..<3)]
    }

    private mutating func drawFaults(_ random: inout PRNG) {
        driftPermille = [0, 0, 5, 50][random.next(in: 0..<4)]
        jumps = random.chance(oneIn: 4)
        nemesisNanoseconds = [150_000_000, 500_000_000, 1_500_000_000, 4_000_000_000][random.next(in: 0..<4)]
        crashes = !random.chance(oneIn: 4)
        losesPower = random.chance(oneIn: 2)
        pauses = random.chance(oneIn: 2)
        cutsNetwork = !random.chance(oneIn: 3)
        cutsOneWay = random.chance(oneIn: 2)
        clogsLinks = random.chance(oneIn: 3)
        changesMembers = random.chance(oneIn: 3)
        transfers = random.chance(oneIn: 3)
        cutsSnapshots = random.chance(oneIn: 2)
        flipsSnapshotBits = random.chance(oneIn: 3)
        spareCount = changesMembers ? random.next(in: 1..<4) : 0
        preVote = !random.chance(oneIn: 10)
    }

    private mutating func drawWorkload(_ random: inout PRNG) {
        clientCount = random.next(in: 2..<8)
        watcherCount = random.next(in: 1..<6)
        keyCount = [2, 5, 12, 40][random.next(in: 0..<4)]
        thinkNanosecondsMax = [2_000_000, 30_000_000, 150_000_000][random.next(in: 0..<3)]
        usesLeases = random.chance(oneIn: 2)
        compacts = !random.chance(oneIn: 3)
        valueBytesMax = [8, 60, 2000][random.next(in: 0..<3)]
        checkpointSeconds = [0, 1, 2][random.next(in: 0..<3)]
    }

    /// A mistake is looked for where it can do harm.
    private mutating func adaptToBug() {
        preVote = true
        memberCount = max(memberCount, 3)
        crashes = true
        nemesisNanoseconds = min(nemesisNanoseconds, 500_000_000)
        switch bug {
        case .skipSync, .voteBeforeSync, .forgetVote: losesPower = true
        case .readWithoutQuorum, .ignorePreVote, .staleRead, .commitByCount: cutsNetwork = true
        case .shortLease:
            usesLeases = true
            transfers = true
            jumps = false
        case .doubleProposal: network.duplicateOneIn = 5
        case .tornSnapshot:
            cutsSnapshots = true
            retainedBytes = 0
        default: break
        }
    }

    package var machineCount: Int { memberCount + spareCount }

    package var description: String {
        var words = ["members \(memberCount)", "steps \(stepsMax)"]
        if spareCount > 0 { words.append("spares \(spareCount)") }
        if let bug { words.append("bug \(bug.rawValue)") }
        words.append("delay \(network.delayNanosecondsMin / 1000)...\(network.delayNanosecondsMax / 1000) us")
        if network.lossOneIn > 0 { words.append("loss 1/\(network.lossOneIn)") }
        if network.duplicateOneIn > 0 { words.append("doubled 1/\(network.duplicateOneIn)") }
        if network.slowOneIn > 0 { words.append("slow 1/\(network.slowOneIn)") }
        words.append("sync \(syncNanosecondsMin / 1000)...\(syncNanosecondsMax / 1000) us")
        if stallOneIn > 0 { words.append("stalls 1/\(stallOneIn)") }
        words.append("commits within \(commitDelayNanosecondsMax / 1_000_000) ms")
        words.append("segments \(segmentBytes) retained \(retainedBytes) tail \(tailBytesMax) marks \(markBytesMin)")
        words.append("fault every \(nemesisNanoseconds / 1_000_000) ms")
        let switches: [(Bool, String)] = [
            (network.reorders, "reorders"), (!preVote, "no pre-vote"), (failsOperations, "failing disks"),
            (fillsDisks, "full disks"), (recyclesSegments, "recycles"), (jumps, "clock jumps"), (crashes, "crashes"),
            (losesPower, "power loss"), (pauses, "pauses"), (cutsNetwork, "partitions"), (cutsOneWay, "one-way"),
            (clogsLinks, "clogs"), (changesMembers, "membership"), (transfers, "transfers"),
            (cutsSnapshots, "cut snapshots"), (flipsSnapshotBits, "flipped snapshots"), (usesLeases, "leases"),
            (compacts, "compaction"), (flipsLogBits, "flipped log"), (flipsRecordBits, "flipped records"),
            (alters, "other states"),
        ]
        words += switches.filter(\.0).map(\.1)
        if quotaBytes >= 0 { words.append("quota \(quotaBytes)") }
        if generation > 1 { words.append("hashes every \(hashStride)") }
        if driftPermille > 0 { words.append("drift \(driftPermille)/1000") }
        if usesLeases, checkpointSeconds > 0 { words.append("lease checkpoints every \(checkpointSeconds) s") }
        words.append("clients \(clientCount) watchers \(watcherCount) keys \(keyCount) values \(valueBytesMax)")
        return words.joined(separator: ", ")
    }
}
