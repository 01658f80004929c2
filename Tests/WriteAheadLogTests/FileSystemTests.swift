import Glibc
import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

private func bytes(_ file: any File, _ count: Int, at offset: Int = 0) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0xee, count: count)
    let read = try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
    return Array(buffer[..<read])
}

private func write(_ file: any File, _ bytes: [UInt8], at offset: Int = 0) throws {
    try bytes.withUnsafeBytes { try file.write($0, at: offset) }
}

private func ioError(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> IOError? {
    do {
        try body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        return nil
    } catch {
        return error as? IOError
    }
}

/// What both file systems do alike, in an empty directory.
private func contract(_ fileSystem: any FileSystem, _ root: String) throws {
    let directory = "\(root)/a"
    try fileSystem.createDirectory(directory)
    try fileSystem.createDirectory(directory)
    #expect(ioError { try fileSystem.createDirectory("\(root)/missing/b") }?.errno == ENOENT)
    #expect(try fileSystem.list(directory) == [])
    #expect(ioError { _ = try fileSystem.open("\(directory)/x", .readWrite) }?.errno == ENOENT)
    let file = try fileSystem.open("\(directory)/x", .createExclusive)
    #expect(ioError { _ = try fileSystem.open("\(directory)/x", .createExclusive) }?.errno == EEXIST)
    try write(file, [1, 2, 3], at: 4)
    #expect(try file.size() == 7)
    #expect(try bytes(file, 100) == [0, 0, 0, 0, 1, 2, 3])
    #expect(try bytes(file, 2, at: 5) == [2, 3])
    #expect(try bytes(file, 2, at: 50) == [])
    try file.preallocate(5000)
    #expect(try file.size() == 5000)
    try file.preallocate(10)
    #expect(try fileSystem.size("\(directory)/x") == 5000)
    try file.truncate(6)
    #expect(try bytes(file, 100) == [0, 0, 0, 0, 1, 2])
    try file.syncData()
    try write(try fileSystem.open("\(directory)/b", .create), [9])
    try fileSystem.syncDirectory(directory)
    #expect(try fileSystem.list(directory) == ["b", "x"])
    try fileSystem.rename("\(directory)/x", to: "\(directory)/b")
    #expect(try fileSystem.list(directory) == ["b"])
    #expect(try bytes(try fileSystem.open("\(directory)/b", .readOnly), 100) == [0, 0, 0, 0, 1, 2])
    #expect(try fileSystem.exists("\(directory)/b"))
    try fileSystem.remove("\(directory)/b")
    #expect(try !fileSystem.exists("\(directory)/b"))
    #expect(try fileSystem.exists(directory))
    #expect(ioError { try fileSystem.remove("\(directory)/b") }?.errno == ENOENT)
    try write(file, [7], at: 0)
    #expect(try bytes(file, 1) == [7])
    try file.close()
    #expect(try fileSystem.freeBytes(directory) > 0)

    var lock: (any FileLock)? = try fileSystem.lock("\(directory)/lock")
    let refused = ioError { _ = try fileSystem.lock("\(directory)/lock") }
    #expect(refused?.errno == EWOULDBLOCK)
    #expect(refused?.description.contains("another process") == true)
    #expect(refused?.description.contains("uses this data directory") == true)
    lock?.release()
    lock = try fileSystem.lock("\(directory)/lock")
    lock = nil
    _ = try fileSystem.lock("\(directory)/lock")
}

@Suite struct FileSystemTests {
    /// Runs the body in a new directory that is removed afterwards, with the files directly in it and in `a` and `wal`.
    private func inTemporaryDirectory(_ body: (String) throws -> Void) throws {
        var template = Array("/tmp/martlet-test-XXXXXX".utf8CString)
        let path = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!).map { String(cString: $0) } }
        let root = try #require(path)
        let fileSystem = SystemFileSystem()
        defer {
            for directory in ["\(root)/a", "\(root)/wal", root] {
                for name in (try? fileSystem.list(directory)) ?? [] { try? fileSystem.remove("\(directory)/\(name)") }
                rmdir(directory)
            }
        }
        try body(root)
    }

    @Test func systemContract() throws {
        try inTemporaryDirectory { try contract(SystemFileSystem(), $0) }
    }

    @Test func memoryContract() throws {
        let fileSystem = MemoryFileSystem(seed: 1, capacityBytes: 1 << 20)
        try fileSystem.createDirectory("/root")
        try contract(fileSystem, "/root")
    }

    @Test func systemErrorsAreSentences() throws {
        try inTemporaryDirectory { root in
            let error = ioError { _ = try SystemFileSystem().open("\(root)/none", .readOnly) }
            #expect(error?.description == "open \(root)/none: No such file or directory")
            let file = try SystemFileSystem().open("\(root)/file", .create)
            let reader = try SystemFileSystem().open("\(root)/file", .readOnly)
            #expect(
                ioError { try write(reader, [1], at: 4096) }?.description.hasPrefix(
                    "write \(root)/file at offset 4096: ") == true)
            try file.close()
            var about = stat()
            #expect(stat("\(root)/file", &about) == 0)
            #expect(about.st_mode & 0o777 == 0o600)
            let lock = try SystemFileSystem().lock("\(root)/lock")
            let refused = ioError { _ = try SystemFileSystem().lock("\(root)/lock") }
            #expect(refused?.description.contains("(pid \(getpid()))") == true)
            lock.release()
        }
    }

    @Test("A log on the real disk")
    func systemLog() throws {
        try inTemporaryDirectory { root in
            let options = WALOptions(segmentBytes: 8192, retainedBytes: 0)
            let fileSystem = SystemFileSystem()
            let log = try WriteAheadLog.create(
                in: "\(root)/wal", fileSystem, metadata: testMetadata, salt: 3, options: options)
            let entries = (1...300).map {
                testEntry($0, payload: Bytes([UInt8](repeating: UInt8($0 & 255), count: 100)))
            }
            for entry in entries {
                try log.append([entry])
                try log.sync()
                if entry.index.rawValue % 10 == 0 {
                    try log.prepareNextSegment()
                    try log.truncatePrefix(through: LogIndex(entry.index.rawValue / 2))
                }
            }
            let first = log.firstIndex
            #expect(first > LogIndex(100))
            try log.close()
            let recovered = try WriteAheadLog.open(
                in: "\(root)/wal", fileSystem, after: LogIndex(first.rawValue - 1), options: options
            ).recovered
            #expect(recovered.entries == Array(entries[Int(first.rawValue - 1)...]))
        }
    }

    @Test("A crash keeps what was synced and nothing of the names that were not", arguments: 0..<50 as Range<UInt64>)
    func memoryCrash(seed: UInt64) throws {
        let fileSystem = MemoryFileSystem(seed: seed)
        try fileSystem.createDirectory("d")
        try fileSystem.syncDirectory(".")
        let file = try fileSystem.open("d/kept", .create)
        try fileSystem.syncDirectory("d")
        try write(file, [UInt8](repeating: 1, count: 2048))
        try file.syncData()
        try write(file, [UInt8](repeating: 2, count: 2048), at: 512)
        _ = try fileSystem.open("d/new", .create)
        try fileSystem.remove("d/kept")
        fileSystem.crash()
        #expect(ioError { try file.syncData() }?.errno == EBADF)
        let names = try fileSystem.list("d")
        // A first part of: make `new`, remove `kept`.
        #expect([["kept"], ["kept", "new"], ["new"]].contains(names))
        guard names.contains("kept") else { return }
        let contents = try #require(fileSystem.contents(of: "d/kept"))
        #expect(contents[..<512].allSatisfy { $0 == 1 })
        for sector in stride(from: 512, to: contents.count, by: 512) {
            let part = Set(contents[sector..<min(sector + 512, contents.count)])
            #expect(part.count == 1, "a sector is old or new, never mixed")
        }
    }

    @Test("The same seed, the same crash; and crashes do differ")
    func memoryDeterminism() throws {
        func run(_ seed: UInt64) throws -> [UInt8] {
            let fileSystem = MemoryFileSystem(seed: seed)
            let file = try fileSystem.open("f", .create)
            try fileSystem.syncDirectory(".")
            for i in 0..<40 { try write(file, [UInt8](repeating: UInt8(i + 1), count: 700), at: i * 300) }
            fileSystem.crash()
            return try #require(fileSystem.contents(of: "f"))
        }
        var seen: Set<[UInt8]> = []
        for seed in 0..<30 as Range<UInt64> {
            #expect(try run(seed) == run(seed))
            seen.insert(try run(seed))
        }
        #expect(seen.count > 5)
    }

    @Test func memoryFaultsAndCapacity() throws {
        let fileSystem = MemoryFileSystem(seed: 1, capacityBytes: 1000)
        let file = try fileSystem.open("f", .create)
        fileSystem.inject(MemoryFault(.write, after: 2))
        try write(file, [1])
        #expect(ioError { try write(file, [2]) }?.errno == EIO)
        try write(file, [3])
        #expect(ioError { try file.preallocate(1001) }?.isNoSpace == true)
        try file.preallocate(1000)
        #expect(try fileSystem.freeBytes("f") == 0)
        fileSystem.inject(MemoryFault(.sync, after: 1, errno: MemoryFault.noSpace, forever: true))
        for _ in 0..<3 { #expect(ioError { try file.syncData() }?.isNoSpace == true) }
        fileSystem.clearFaults()
        try file.syncData()
        #expect(fileSystem.operationCount(of: .sync) == 4)
        #expect(fileSystem.operationCount(of: .write) == 3)
    }

    @Test func clocks() {
        let clock = SystemClock()
        let first = clock.now()
        #expect(first > 0)
        #expect(clock.now() >= first)
        let manual = ManualClock(startNanoseconds: 5)
        manual.advance(nanoseconds: 7)
        #expect(manual.now() == 12)
    }
}
