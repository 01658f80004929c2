import MVCC
import Primitives
import ServerCore
import Simulator
import Testing

/// Random requests, random turns, and a crash whenever the seed says so.
@Suite struct CrashTests {
    @Test("What was answered survives crashes at any step", arguments: 0..<60 as Range<UInt64>)
    func crashes(seed: UInt64) throws {
        let world = World(seed: seed)
        world.workload.raisesAlarms = seed % 3 == 0
        for life in 0..<world.random.next(in: 2..<7) {
            do { try world.open(campaigns: !world.random.chance(oneIn: 6)) } catch let error as StartError {
                throw Mismatch("life \(life): \(error)")
            }
            // Some lives end while the log is still being replayed, some after much work.
            let steps = world.random.chance(oneIn: 3) ? world.random.next(in: 0..<6) : world.random.next(in: 0..<250)
            for _ in 0..<steps { try Self.step(world) }
            if world.random.chance(oneIn: 3) { try world.settle() }
            world.die(losesPower: !world.random.chance(oneIn: 4))
        }
        try world.open()
        try world.settle()
        // Everything may be persisted and swept, too.
        while try #require(world.driver).hasWork(.backend) { try world.take(.backend) }
        for _ in 0..<20 { try world.take(.sweep) }
        while try #require(world.driver).hasWork(.backend) { try world.take(.backend) }
        world.die(losesPower: true)
        try world.open()
        try world.settle()
    }

    /// One random thing: a client's request, somebody's turn, or time.
    static func step(_ world: World) throws {
        let driver = try #require(world.driver)
        switch world.random.next(in: 0..<20) {
        case 0..<7: world.proposeRandomly()
        case 7: world.read()
        case 8: world.advance(nanoseconds: UInt64(world.random.next(in: 0..<300_000_000)))
        case 9: driver.core.store.keepPrevious = world.random.chance(oneIn: 2)
        case 10: try world.checkState()
        default:
            let turns = MemberTurn.allCases.filter { driver.hasWork($0) }
            guard !turns.isEmpty else { return }
            let turn = turns[world.random.next(in: 0..<turns.count)]
            try world.take(turn, itemsMax: world.random.chance(oneIn: 2) ? .max : world.random.next(in: 1..<4))
        }
    }

    @Test("Proposals and reads before there is a leader wait for one", arguments: 0..<5 as Range<UInt64>)
    func held(seed: UInt64) throws {
        let world = World(seed: seed)
        // A member clears its own alarm, by an entry more.
        world.workload.raisesAlarms = false
        try world.open(campaigns: false)
        for _ in 0..<10 { world.proposeRandomly() }
        world.read()
        try world.drain()
        #expect(world.states.count == 2)
        #expect(world.refusedReads == 0)
        try #require(world.driver).campaign()
        try world.drain()
        // Ten requests, and the entry that begins the term before them.
        #expect(world.states.count == 13)
        #expect(world.refusedReads == 0 && world.waitingReads == 0)
        try world.settle()
    }
}
