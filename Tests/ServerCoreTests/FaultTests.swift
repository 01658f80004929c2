import IOInterfaces
import MVCC
import Primitives
import ServerCore
import Simulator
import Testing
import WriteAheadLog

/// Every operation of a run fails once; whatever it is, the process stops or goes on, and nothing answered is lost.
@Suite struct FaultTests {
    /// A run that is the same for every fault, until the fault.
    private static func run(_ world: World) throws {
        try world.open()
        try world.drain()
        for step in 0..<120 {
            try CrashTests.step(world)
            // A start in the middle, so that recovery fails too.
            if step == 70 {
                world.die(losesPower: false)
                try world.open()
            }
        }
        try world.drain()
        while world.driver!.hasWork(.backend) { try world.take(.backend) }
        try world.take(.replica)
        try world.drain()
    }

    /// Runs into the fault, then starts again on what is left.
    private static func survive(_ world: World, _ number: Int, losesPower: Bool) throws {
        do {
            try run(world)
        } catch let error where error is StartError || error is MemberStop || error is IOError {
            // The process has stopped, with the reason; anything else is a failure of the test.
        }
        world.die(losesPower: losesPower)
        do {
            try world.open()
            try world.settle()
            for _ in 0..<5 { world.proposeRandomly() }
            try world.settle()
        } catch {
            throw Mismatch("after operation \(number) failed: \(error)")
        }
    }

    @Test(
        "A failed file operation costs nothing that was answered",
        arguments: [1, 2, 3] as [UInt64], [MemoryFault.inputOutputError, MemoryFault.noSpace])
    func files(seed: UInt64, errno: Int32) throws {
        let clean = World(seed: seed)
        try Self.run(clean)
        let count = clean.fileSystem.operationCount
        #expect(count > 60)
        for number in 1...count {
            let world = World(seed: seed)
            world.fileSystem.inject(MemoryFault(after: number, errno: errno))
            try Self.survive(world, number, losesPower: number % 2 == 0)
        }
    }

    @Test("A failed commit of the backend costs nothing that was answered", arguments: 1..<6 as Range<UInt64>)
    func commits(seed: UInt64) throws {
        let clean = World(seed: seed)
        try Self.run(clean)
        let count = clean.backend.commitCount
        #expect(count > 3)
        for number in 1...count {
            for outcome in [MemoryBackend.FailureOutcome.lost, .stored] {
                let world = World(seed: seed)
                world.backend.failCommit(number: number, outcome: outcome)
                try Self.survive(world, number, losesPower: number % 2 == 0)
            }
        }
    }

    @Test("A full disk is waited out")
    func fullDisk() throws {
        let waited = try (0..<20 as Range<UInt64>).reduce(0) { try $0 + fillDisk(seed: $1) }
        #expect(waited > 0)
    }

    /// Returns how often the log had to wait for room.
    private func fillDisk(seed: UInt64) throws -> Int {
        let world = World(seed: seed)
        world.workload.raisesAlarms = false
        try world.open()
        try world.drain()
        var waited = 0
        for _ in 0..<4 {
            // Room for this much more and nothing else, in the middle of whatever is going on.
            let used = world.fileSystem.capacityInUse
            world.fileSystem.setCapacity(bytes: used + world.random.next(in: 0..<6000))
            for _ in 0..<80 { try CrashTests.step(world) }
            try world.drain()
            if try #require(world.driver).isLogFull { waited += 1 }
            if world.random.chance(oneIn: 3) {
                world.die(losesPower: world.random.chance(oneIn: 2))
                world.fileSystem.setCapacity(bytes: .max)
                try world.open()
            }
            world.fileSystem.setCapacity(bytes: .max)
            if try #require(world.driver).isLogFull { try world.take(.replica) }
            #expect(try #require(world.driver).isLogFull == false)
            try world.settle()
        }
        world.die(losesPower: true)
        try world.open()
        try world.settle()
        return waited
    }
}

extension MemoryFileSystem {
    /// Bytes of all files of the log.
    var capacityInUse: Int {
        let names = (try? list("data/wal")) ?? []
        return names.reduce(0) { $0 + ((try? size("data/wal/" + $1)) ?? 0) }
    }
}
