import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// Whatever a crash, a stopped process or a failing disk leaves: all that a sync covered, in order, and nothing else.
@Suite struct CrashTests {
    @Test("Random calls with crashes between them", arguments: 0..<60 as Range<UInt64>)
    func crashes(seed: UInt64) throws {
        var driver = LogDriver(seed: seed)
        for _ in 0..<300 { try driver.step() }
        try driver.crashAndReopen()
    }

    @Test("The random crashes do tear tails")
    func coverage() throws {
        var tornTails = 0
        for seed in 0..<20 as Range<UInt64> {
            var driver = LogDriver(seed: seed)
            for _ in 0..<300 { try driver.step() }
            tornTails += driver.tornTails
        }
        #expect(tornTails > 20)
    }

    @Test("Each operation fails once, for every n; then a crash or a restart", arguments: 0..<3 as Range<UInt64>)
    func everyOperationFails(seed: UInt64) throws {
        var clean = LogDriver(seed: seed)
        for _ in 0..<60 { try clean.step() }
        let operations = clean.fileSystem.operationCount
        #expect(operations > 100)
        var met = 0
        for n in 1...operations {
            for errno in [MemoryFault.inputOutputError, MemoryFault.noSpace] {
                var driver = LogDriver(seed: seed)
                driver.fileSystem.inject(MemoryFault(after: n, errno: errno, forever: n % 3 == 0))
                for _ in 0..<70 { try driver.step() }
                try driver.crashAndReopen()
                met += driver.failures + driver.noSpace
            }
        }
        #expect(met > operations)
    }

    @Test("Random calls with crashes between them on a disk that is full at random", arguments: 0..<60 as Range<UInt64>)
    func crashesOnATightDisk(seed: UInt64) throws {
        var driver = LogDriver(seed: seed, isTight: true)
        for _ in 0..<300 { try driver.step() }
        try driver.crashAndReopen()
    }

    @Test("Each operation fails once, for every n, on a disk that is full at random; then a crash or a restart")
    func everyOperationFailsOnATightDisk() throws {
        var met = 0
        var relieved = 0
        for seed in 200..<204 as Range<UInt64> {
            var clean = LogDriver(seed: seed, isTight: true)
            for _ in 0..<120 { try clean.step() }
            let operations = clean.fileSystem.operationCount
            for n in stride(from: 1, through: operations, by: 3) {
                var driver = LogDriver(seed: seed, isTight: true)
                let errno = n % 2 == 0 ? MemoryFault.inputOutputError : MemoryFault.noSpace
                driver.fileSystem.inject(MemoryFault(after: n, errno: errno, forever: n % 5 == 0))
                for _ in 0..<130 { try driver.step() }
                try driver.crashAndReopen()
                met += driver.failures + driver.noSpace
                relieved += driver.relieved
            }
        }
        #expect(met > 200)
        #expect(relieved > 100)
    }

    @Test(
        "Each kind of operation fails, for every n",
        arguments: [
            IOError.Operation.write, .sync, .create, .open, .rename, .remove, .preallocate, .syncDirectory, .read,
            .list,
        ])
    func everyOperationOfAKindFails(kind: IOError.Operation) throws {
        var met = 0
        for seed in 100..<104 as Range<UInt64> {
            var clean = LogDriver(seed: seed)
            for _ in 0..<150 { try clean.step() }
            let operations = clean.fileSystem.operationCount(of: kind)
            for n in stride(from: 1, through: operations, by: max(1, operations / 12)) {
                var driver = LogDriver(seed: seed)
                driver.fileSystem.inject(MemoryFault(kind, after: n))
                for _ in 0..<160 { try driver.step() }
                try driver.crashAndReopen()
                met += driver.failures
            }
        }
        #expect(met > 0)
    }

    @Test(
        "After a failed sync and a restart of the process, what was recovered is durable",
        arguments: 0..<40 as Range<UInt64>)
    func failedSync(seed: UInt64) throws {
        let fileSystem = MemoryFileSystem(seed: seed)
        let log = try makeLog(fileSystem, WALOptions(segmentBytes: 16384))
        try log.append([testEntry(1)])
        try log.sync()
        let payload = Bytes([UInt8](repeating: 9, count: 3000))
        try log.append([testEntry(2, payload: payload), testEntry(3, payload: payload)])
        fileSystem.inject(MemoryFault(.sync, after: 1))
        #expect(walError { try log.sync() }?.code == .failed)
        // The page cache still has all of it, the disk has not.
        let first = try openLog(fileSystem).recovered
        #expect(first.lastIndex == LogIndex(3))
        fileSystem.crash()
        let second = try openLog(fileSystem).recovered
        #expect(second.entries == first.entries)
    }
}
