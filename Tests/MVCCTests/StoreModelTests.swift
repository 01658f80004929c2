import Primitives
import Testing

@testable import MVCC

/// The whole store against the model: random changes, reads of every kind, compaction, sweeping, persisting, crashes.
@Suite struct StoreModelTests {
    private static func options(_ seed: Int) -> StoreOptions {
        var options = StoreOptions()
        options.tailBytesMax = [2_000, 20_000, 1 << 20][seed % 3]
        options.markBytesMin = seed % 2 == 0 ? 0 : 3_000
        options.batchDeletionsMax = [1, 10, 1000][seed / 3 % 3]
        return options
    }

    private static func run(_ driver: inout Driver, steps: Int, backend: any Backend, reopen: Bool) throws {
        for step in 0..<steps {
            switch driver.random.next(in: 0..<100) {
            case 0..<35: try driver.write()
            case 35..<55: try driver.read()
            case 55..<65: try driver.stepPlans()
            case 65..<80: try driver.persist()
            case 80..<84: try driver.compact()
            case 84..<90: _ = driver.store.sweepStep(maxKeys: driver.random.next(in: 1..<50))
            case 90..<93: try driver.watch()
            case 93..<95: try driver.hash()
            case 95..<98: try driver.changeMeta()
            case 98: driver.store.keepPrevious.toggle()
            default: if reopen { try driver.reopen(backend) }
            }
            if step % 10 == 0 { driver.check() }
        }
        try driver.sweepAll()
        driver.check()
        try driver.hash()
        for _ in 0..<20 { try driver.read() }
        try driver.watch()
    }

    @Test(arguments: 0..<24)
    func memory(seed: Int) throws {
        let backend = MemoryBackend()
        var driver = try Driver(
            seed: UInt64(seed), backend: backend, options: Self.options(seed), keyCount: [5, 60, 300][seed % 3])
        try Self.run(&driver, steps: 500, backend: backend, reopen: true)
    }

    @Test(arguments: 0..<9)
    func lmdb(seed: Int) throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        var driver = try Driver(
            seed: 1000 + UInt64(seed), backend: backend, options: Self.options(seed), keyCount: [5, 60, 300][seed % 3])
        try Self.run(&driver, steps: 400, backend: backend, reopen: true)
        // A last commit, then the file alone, opened anew.
        while let batch = driver.store.nextBatch(maxBytes: 1 << 20) {
            try backend.commit(batch)
            driver.store.persisted(batch)
        }
        let copy = try LMDBBackend.open(path: try directory.copy("data"), options: .forTests)
        try driver.reopen(copy)
        #expect(driver.store.numbers().persistedRevision == driver.model.current)
        try driver.hash()
        for _ in 0..<20 { try driver.read() }
    }

    /// Every commit fails once, in both ways a commit can: whatever is then found must be a prefix of the history.
    @Test(arguments: 1..<12, [MemoryBackend.FailureOutcome.lost, .stored])
    func commitFails(number: Int, outcome: MemoryBackend.FailureOutcome) throws {
        let backend = MemoryBackend()
        var driver = try Driver(
            seed: UInt64(number), backend: backend, options: Self.options(number), keyCount: 40)
        backend.failCommit(number: number, outcome: outcome)
        var hasFailed = false
        for _ in 0..<4000 where !hasFailed {
            try driver.write()
            if driver.random.chance(oneIn: 10) { try driver.compact() }
            _ = driver.store.sweepStep(maxKeys: 20)
            guard let batch = driver.store.nextBatch(maxBytes: 500) else { continue }
            do {
                try backend.commit(batch)
                driver.store.persisted(batch)
            } catch {
                hasFailed = true
                // Poisoned: never tried again, never acknowledged.
                #expect(throws: StoreError.poisoned) { try backend.commit(batch) }
            }
        }
        #expect(hasFailed && backend.commitCount == number)
        backend.crash()
        try driver.reopen(backend)
        driver.check()
        try Self.run(&driver, steps: 60, backend: backend, reopen: true)
    }
}
