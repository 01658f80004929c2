import IOInterfaces
import Membership
import Primitives
import ServerCore
import Simulator
import StateMachine
import Testing
import WriteAheadLog

/// Data directories that do not fit together are refused, in words that name the place.
@Suite struct RecoveryTests {
    /// A member that has applied and persisted some puts, dead.
    private static func world() throws -> World {
        let world = World(seed: 4)
        world.options.log.segmentBytes = 64 << 10
        try world.open()
        try world.drain()
        for number in 0..<20 { world.propose(.put(PutOperation(key: "k", value: Bytes(utf8: "\(number)")))) }
        try world.settle()
        while try #require(world.driver).hasWork(.backend) { try world.take(.backend) }
        world.die(losesPower: true)
        return world
    }

    private static func refusal(_ world: World) throws -> String {
        do {
            try world.open()
            return "opened"
        } catch let error as StartError { return error.description }
    }

    private static func logPath(_ world: World) throws -> String {
        let name = try #require(try world.fileSystem.list("data/wal").first { $0.hasSuffix(".wal") })
        return "data/wal/" + name
    }

    @Test("A log that has lost its end is not written on")
    func lostEnd() throws {
        let world = try Self.world()
        let path = try Self.logPath(world)
        let bytes = try #require(world.fileSystem.contents(of: path))
        world.fileSystem.replaceContents(
            of: path, with: bytes[..<512] + [UInt8](repeating: 0, count: bytes.count - 512))
        let refusal = try Self.refusal(world)
        #expect(refusal.contains("the log has lost its end"), "\(refusal)")
        #expect(refusal.contains("data/wal") && !refusal.contains("\n"))
    }

    @Test("A store without its log, and a log without its store")
    func halves() throws {
        let world = try Self.world()
        let path = try Self.logPath(world)
        let bytes = try #require(world.fileSystem.contents(of: path))
        try world.fileSystem.remove(path)
        #expect(try Self.refusal(world).contains("data/wal holds no log although memory belongs to a member"))
        // The log alone, beside a store that is empty.
        let other = World(seed: 4)
        try other.fileSystem.createDirectory("data")
        try other.fileSystem.createDirectory("data/wal")
        _ = try other.fileSystem.open(path, .create)
        other.fileSystem.replaceContents(of: path, with: bytes)
        #expect(try Self.refusal(other).contains("holds a log but memory is empty"))
    }

    @Test("Another member's log is refused; a single member keeps its identity whatever its flags say")
    func identity() throws {
        let world = try Self.world()
        world.options.memberID = MemberID(5)
        world.options.founding = .new(clusterID: 6, members: [Member(id: MemberID(5), name: "m1", peerURLs: [])])
        try world.open()
        try world.settle()
        let identity = try #require(world.driver).core.identity
        #expect(identity.memberID == MemberID(World.memberID) && identity.clusterID == World.clusterID)
        world.die(losesPower: true)
        let stranger = World(seed: 9)
        stranger.options.founding = .new(clusterID: 77, members: stranger.options.founding.members)
        try stranger.open()
        try stranger.settle()
        stranger.die(losesPower: true)
        let path = try Self.logPath(world)
        world.fileSystem.replaceContents(
            of: path, with: try #require(stranger.fileSystem.contents(of: try Self.logPath(stranger))))
        #expect(try Self.refusal(world).contains("data/wal"))
    }

    @Test("A power cut after the first answer leaves the data directory", arguments: 0..<30 as Range<UInt64>)
    func firstAnswer(seed: UInt64) throws {
        let world = World(seed: seed)
        // Beside or inside of the data directory.
        if seed % 2 == 0 {
            try world.fileSystem.createDirectory("logs")
            try world.fileSystem.syncDirectory(".")
            world.options.walDirectory = "logs/wal"
        }
        try world.open()
        try world.drain()
        world.propose(.put(PutOperation(key: "a", value: "1")))
        try world.settle()
        #expect(world.model.revision == 2)
        world.die(losesPower: true)
        #expect(try world.fileSystem.exists("data"))
        try world.open()
        try world.settle()
    }
}
