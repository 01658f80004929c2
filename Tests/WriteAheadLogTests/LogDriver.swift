import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// Drives a log with random calls from a seed, beside a model of what it must hold.
struct LogDriver {
    let fileSystem: MemoryFileSystem
    private let options: WALOptions
    private var random: PRNG
    private(set) var model = LogModel()
    /// What the store has applied: entries up to here were given to `truncatePrefix` or came with a snapshot.
    private var truncated = LogIndex.zero
    private var log: WriteAheadLog?
    /// What the driver met, so that a test can tell that it tested something.
    private(set) var tornTails = 0
    private(set) var noSpace = 0
    private(set) var failures = 0
    private(set) var relieved = 0
    /// Whether the disk is small, and mostly nearly full.
    private let isTight: Bool
    private var capacityBytes = 1 << 40

    init(seed: UInt64, isTight: Bool = false) {
        self.isTight = isTight
        var random = PRNG(seed: seed)
        fileSystem = MemoryFileSystem(seed: random.next())
        options = WALOptions(
            segmentBytes: isTight ? 65536 : [4096, 8192, 32768][random.next(in: 0..<3)],
            retainedBytes: [0, 0, 20000][random.next(in: 0..<3)],
            indexStrideBytes: [1, 500, 4096][random.next(in: 0..<3)], recyclesSegments: !random.chance(oneIn: 3))
        self.random = random
        if isTight { fileSystem.setCapacity(bytes: capacityBytes) }
    }

    /// One random call, or a stop of the process or the machine.
    mutating func step() throws {
        guard let log else { return try reopen() }
        if isTight, random.chance(oneIn: 4) {
            // Others use the disk too.
            let free = Int(clamping: (try? fileSystem.freeBytes("wal")) ?? 0)
            let used = capacityBytes - free
            capacityBytes = used + [0, 3000, 10_000, 25_000, 70_000, 300_000, 1_000_000][random.next(in: 0..<7)]
            fileSystem.setCapacity(bytes: capacityBytes)
        }
        do {
            // A snapshot was taken over, and the log does not know it yet.
            if log.lastIndex < truncated { return try restart(log) }
            switch random.next(in: 0..<24) {
            case 0..<10: try append(log)
            case 10..<15:
                try log.sync()
                model.sync()
            case 15..<18: _ = try log.prepareNextSegment(bytesMax: random.next(in: 1..<5000))
            case 18 where isTight && random.chance(oneIn: 2):
                if try log.giveUpRoom(through: truncated) { relieved += 1 }
            case 18:
                // Not all that is committed: retention is by bytes, entries to resend must stay readable.
                truncated = max(
                    truncated, LogIndex(UInt64(random.next(in: 0..<Int(log.hardState.commit.rawValue) + 1))))
                try log.truncatePrefix(through: truncated)
            case 19..<22: try readBack(log)
            case 22:
                if random.chance(oneIn: 4) {
                    truncated = log.lastIndex.advanced(by: random.next(in: 1..<50))
                    try restart(log)
                }
            default: try stop()
            }
        } catch let error as WALError {
            try failed(error, log)
        }
    }

    mutating func reopen() throws {
        log = nil
        do throws(WALError) {
            if try WriteAheadLog.exists(in: "wal", fileSystem) {
                let (log, recovered) = try WriteAheadLog.open(
                    in: "wal", fileSystem, expecting: testMetadata, after: truncated, options: options)
                if recovered.tornBytes > 0 { tornTails += 1 }
                model.adopt(recovered, after: truncated)
                self.log = log
            } else {
                // Only a log that was never handed out may be missing.
                #expect(model.durable == LogModel.Contents())
                model = LogModel()
                log = try WriteAheadLog.create(
                    in: "wal", fileSystem, metadata: testMetadata, salt: random.next(), options: options)
            }
        } catch {
            try failed(error, nil)
        }
    }

    /// The process or the machine stops; then all that was durable must be there.
    mutating func stop() throws {
        switch random.next(in: 0..<4) {
        case 0:
            try log?.close()
            model.sync()
        case 1: break
        default: fileSystem.crash()
        }
        log = nil
        try reopen()
    }

    mutating func crashAndReopen() throws {
        log = nil
        fileSystem.clearFaults()
        fileSystem.setCapacity(bytes: 1 << 40)
        capacityBytes = 1 << 40
        fileSystem.crash()
        try reopen()
    }

    private mutating func append(_ log: WriteAheadLog) throws {
        var entries: [WALEntry] = []
        let commit = max(log.hardState.commit, truncated)
        var index = log.lastIndex.advanced(by: 1)
        if random.chance(oneIn: 5), log.lastIndex > commit {
            index = commit.advanced(by: 1 + random.next(in: 0..<Int(log.lastIndex.rawValue - commit.rawValue)))
        }
        for _ in 0..<random.next(in: 0..<8) {
            entries.append(
                WALEntry(
                    index: index, term: Term(UInt64(random.next(in: 1..<5))), kind: UInt8(random.next(in: 0..<256)),
                    payload: payload()))
            index = index.advanced(by: 1)
        }
        var state: WALHardState?
        let last = entries.last?.index ?? log.lastIndex
        if random.chance(oneIn: 2) {
            let room = Int(last.rawValue - log.hardState.commit.rawValue)
            state = WALHardState(
                term: Term(UInt64(random.next(in: 0..<100))), vote: MemberID(UInt64(random.next(in: 0..<3))),
                commit: log.hardState.commit.advanced(by: random.next(in: 0..<room + 1)))
        }
        let before = model
        model.append(entries.map { .entry($0) } + (state.map { [.hardState($0)] } ?? []))
        do {
            try log.append(entries, hardState: state)
        } catch {
            if error.code == .noSpace || error.code == .batchTooLarge { model = before }
            throw error
        }
    }

    private mutating func payload() -> Bytes {
        let count =
            switch random.next(in: 0..<10) {
            case 0: 0
            case 1..<7: random.next(in: 1..<200)
            case 7, 8: random.next(in: 200..<2000)
            default: random.next(in: 2000..<9000)
            }
        if random.chance(oneIn: 6) { return Bytes([UInt8](repeating: 0, count: count)) }
        let pattern = random.next()
        return Bytes(count: count) { bytes in
            for i in stride(from: 0, to: count, by: 8) {
                withUnsafeBytes(of: pattern &* UInt64(i + 1)) { word in
                    UnsafeMutableRawBufferPointer(rebasing: bytes[i...]).copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: word[..<min(8, count - i)]))
                }
            }
        }
    }

    private mutating func restart(_ log: WriteAheadLog) throws {
        let position = WALPosition(index: truncated, term: Term(9))
        let state = WALHardState(term: Term(9), vote: .none, commit: position.index)
        let before = model
        model.append([.restart(position, state)])
        do {
            try log.restart(after: position, hardState: state)
        } catch {
            if error.code == .noSpace { model = before }
            throw error
        }
    }

    private mutating func readBack(_ log: WriteAheadLog) throws {
        let contents = model.contents
        #expect(log.lastIndex == contents.last)
        #expect(log.hardState == contents.hardState)
        #expect(log.firstIndex <= max(truncated, contents.base.index).advanced(by: 1))
        let held = contents.entries(after: LogIndex(log.firstIndex.rawValue - 1))
        for entry in held { #expect(log.term(at: entry.index) == entry.term) }
        if held.isEmpty { return }
        let low = random.next(in: 0..<held.count)
        let high = random.next(in: low..<held.count + 1)
        let bytesMax = random.chance(oneIn: 2) ? Int.max : random.next(in: 0..<3000)
        let end = high < held.count ? held[high].index : log.lastIndex.advanced(by: 1)
        let read = try log.entries(from: held[low].index, to: end, bytesMax: bytesMax)
        #expect(read == Array(held[low..<low + read.count]))
        if high > low {
            #expect(!read.isEmpty)
            let bytes = read.reduce(0) { $0 + $1.payload.count }
            #expect(bytes <= bytesMax || read.count == 1)
            if low + read.count < high { #expect(bytes + held[low + read.count].payload.count > bytesMax) }
        }
    }

    private mutating func failed(_ error: WALError, _ log: WriteAheadLog?) throws {
        switch error.code {
        case .noSpace:
            noSpace += 1
            // The room may come back, or the process may be told to stop.
            if random.chance(oneIn: 3) { fileSystem.clearFaults() }
        case .failed:
            failures += 1
            if let log {
                #expect(walError { try log.sync() } == error)
                #expect(walError { try log.append([testEntry(1)]) } == error)
                #expect(walError { try log.truncatePrefix(through: .zero) } == error)
                #expect(log.failure == error)
            }
            self.log = nil
            fileSystem.clearFaults()
            if random.chance(oneIn: 2) { fileSystem.crash() }
            try reopen()
        default: throw error
        }
    }
}
