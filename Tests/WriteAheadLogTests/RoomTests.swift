import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// A log on a small or nearly full disk: it is small, gives up what it can, and is as ever once there is room.
@Suite struct RoomTests {
    private static let kilobyte = 1 << 10
    /// An eighth of the volume is 64 KB from 512 KB on; the least segment is 4 KB, the reserve 8 KB.
    private static let options = WALOptions(segmentBytes: 64 << 10, retainedBytes: 256 << 10)

    private let fileSystem = MemoryFileSystem(seed: 1)

    private func entry(_ index: UInt64, bytes: Int = 3000) -> WALEntry {
        testEntry(index, payload: Bytes([UInt8](repeating: UInt8(truncatingIfNeeded: index), count: bytes)))
    }

    private func used() throws -> Int {
        try fileSystem.list("wal").reduce(0) { try $0 + fileSystem.size("wal/\($1)") }
    }

    /// Leaves so many bytes on the volume.
    private func leave(_ bytes: Int) throws { fileSystem.setCapacity(bytes: try used() + bytes) }

    @Test("A segment takes an eighth of the room", arguments: [(512, 64), (511, 32), (128, 16), (64, 8), (8, 4)])
    func sizes(freeKilobytes: Int, segmentKilobytes: Int) throws {
        fileSystem.setCapacity(bytes: freeKilobytes << 10)
        let log = try makeLog(fileSystem, Self.options)
        #expect(log.bytesOnDisk == segmentKilobytes << 10)
        try log.close()
        #expect(try openLog(fileSystem, Self.options).log.bytesOnDisk == segmentKilobytes << 10)
    }

    @Test("A disk that has no room for the least segment refuses a new log, and takes it later")
    func create() throws {
        fileSystem.setCapacity(bytes: 4000)
        #expect(walError { _ = try makeLog(fileSystem, Self.options) }?.code == .noSpace)
        fileSystem.setCapacity(bytes: 4096)
        let log = try makeLog(fileSystem, Self.options)
        try log.append([entry(1)])
        try log.close()
        #expect(try openLog(fileSystem, Self.options).recovered.entries == [entry(1)])
    }

    @Test("Nothing is prepared of what is left to others")
    func reserve() throws {
        let log = try makeLog(fileSystem, Self.options)
        try leave(12 * Self.kilobyte - 1)
        #expect(walError { try log.prepareNextSegment() }?.code == .noSpace)
        #expect(try fileSystem.list("wal").count == 1)
        try leave(12 * Self.kilobyte)
        while try !log.prepareNextSegment() {}
        #expect(log.isNextSegmentReady)
        #expect(log.bytesOnDisk == 68 * Self.kilobyte)
    }

    @Test("What must pass takes what is left, and a segment of just the size it needs")
    func lastBytes() throws {
        fileSystem.setCapacity(bytes: 4096)
        let log = try makeLog(fileSystem, Self.options)
        try log.append([entry(1)])
        try leave(8192)
        // More than the least segment.
        try log.append([entry(2, bytes: 7000)])
        try log.sync()
        #expect(walError { try log.append([entry(3)]) }?.code == .noSpace)
        #expect(log.failure == nil)
        try leave(4096)
        try log.append([entry(3)])
        try log.sync()
        fileSystem.crash()
        #expect(try openLog(fileSystem, Self.options).recovered.entries == [entry(1), entry(2, bytes: 7000), entry(3)])
    }

    @Test("Half of what is left is kept for members that lag, and when room lacks nothing")
    func retention() throws {
        let log = try makeLog(fileSystem, Self.options)
        for index in 1...40 as ClosedRange<UInt64> { try log.append([entry(index)]) }
        let last = LogIndex(40)
        let before = log.bytesOnDisk
        #expect(log.segmentCount == 2)
        try log.truncatePrefix(through: last)
        #expect(log.bytesOnDisk == before)
        try leave(127 * Self.kilobyte)
        try log.truncatePrefix(through: last)
        #expect(log.segmentCount == 1)
        #expect(try !log.giveUpRoom(through: last))
        // A small disk goes on in small segments; of them too all but the last can be given up.
        try leave(40 * Self.kilobyte)
        for index in 41...50 as ClosedRange<UInt64> { try log.append([entry(index)]) }
        #expect(try !log.giveUpRoom(through: last))
        try leave(0)
        #expect(walError { try log.append([entry(51)]) }?.code == .noSpace)
        let end = LogIndex(50)
        #expect(try log.giveUpRoom(through: end))
        #expect(log.segmentCount == 1)
        try log.append([testEntry(end.rawValue + 1)])
        fileSystem.crash()
        let recovered = try openLog(fileSystem, after: end.rawValue, Self.options).recovered
        #expect(recovered.lastIndex >= end)
    }

    @Test("A prepared segment is given up on a disk that is nearly full, and the next is as ever when there is room")
    func spare() throws {
        let log = try makeLog(fileSystem, Self.options)
        while try !log.prepareNextSegment() {}
        #expect(log.bytesOnDisk == 128 * Self.kilobyte)
        try leave(16 * Self.kilobyte)
        #expect(!log.isRoomScarce)
        #expect(try !log.giveUpRoom(through: .zero))
        try leave(16 * Self.kilobyte - 1)
        #expect(log.isRoomScarce)
        #expect(try log.giveUpRoom(through: .zero))
        #expect(log.bytesOnDisk == 64 * Self.kilobyte)
        #expect(try used() == 64 * Self.kilobyte)
        fileSystem.setCapacity(bytes: .max)
        while try !log.prepareNextSegment() {}
        #expect(log.bytesOnDisk == 128 * Self.kilobyte)
    }

    @Test("The prepared segment of an earlier run is used if the disk can spare it", arguments: [true, false])
    func earlierSpare(isTight: Bool) throws {
        var log = try makeLog(fileSystem, Self.options)
        while try !log.prepareNextSegment() {}
        try log.close()
        log = try openLog(fileSystem, Self.options).log
        if isTight { try leave(8 * Self.kilobyte) }
        while try !log.prepareNextSegment() {}
        #expect(log.bytesOnDisk == (isTight ? 72 : 128) * Self.kilobyte)
        #expect(try used() == log.bytesOnDisk)
        var entries: [WALEntry] = []
        for index in 1...24 as ClosedRange<UInt64> {
            entries.append(entry(index))
            try log.append([entry(index)])
        }
        #expect(log.segmentCount == 2 || isTight)
        try log.sync()
        fileSystem.crash()
        #expect(try openLog(fileSystem, Self.options).recovered.entries == entries)
    }
}
