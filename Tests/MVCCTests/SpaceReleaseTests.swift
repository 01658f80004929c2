import Primitives
import Testing

@testable import MVCC

/// Giving disk space back: the file takes less, and nobody misses anything.
@Suite struct SpaceReleaseTests {
    private static let value = Bytes([UInt8](repeating: 9, count: 3000))

    /// Removes what compaction makes unreachable, and persists that.
    private static func sweep(_ fixture: Fixture) throws {
        try fixture.persistAll()
        while fixture.store.sweepStep(maxKeys: 1000) != .idle { try fixture.persistAll() }
        try fixture.persistAll()
    }

    /// All of a pass; the numbers of slices.
    @discardableResult
    private static func release(
        _ backend: LMDBBackend, agingCommits: Int = SpaceRelease.agingCommits, runsMax: Int = 100
    ) throws -> (slices: Int, bytes: Int) {
        var pass = SpaceRelease(agingCommits: agingCommits)
        var slices = 0
        while !pass.isFinished {
            try backend.releaseSpace(&pass, runsMax: runsMax, bytesMax: 1 << 20)
            slices += 1
        }
        #expect(pass.failure == nil)
        return (slices, pass.releasedBytes)
    }

    /// Every record of the image, with its checksum verified.
    private static func count(_ reader: any BackendReader) throws -> Int {
        var count = 0
        var record = try reader.seek(Revision(main: 0, sub: 0))
        while record != nil {
            count += 1
            record = try reader.next()
        }
        return count
    }

    @Test func theFileTakesWhatItHolds() throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        let fixture = try Fixture(backend, tailBytesMax: 0)
        for number in 0..<6000 { try fixture.put(Bytes(utf8: "key\(number % 100)"), Self.value) }
        try fixture.persistAll()
        let before = backend.sizes
        #expect(before.fileBytes > 18_000_000)
        try Self.release(backend)
        #expect(backend.sizes.fileBytes > 18_000_000, "nothing was removed")
        try fixture.compact(fixture.store.currentRevision)
        try Self.sweep(fixture)
        let compacted = backend.sizes
        #expect(compacted.inUseBytes < 1_000_000 && compacted.fileBytes > 18_000_000)
        let (slices, bytes) = try Self.release(backend)
        let after = backend.sizes
        #expect(after.fileBytes - after.inUseBytes < 200_000)
        #expect(bytes > 17_000_000 && slices > 17)
        // A second pass finds holes.
        #expect(try Self.release(backend).bytes < 200_000)
        // Holes are used again, and the map shows what is written there.
        for number in 0..<1000 { try fixture.put(Bytes(utf8: "new\(number)"), Self.value) }
        try fixture.persistAll()
        let reader = try fixture.store.makeReader()
        for number in 0..<100 { #expect(try fixture.value(reader, Bytes(utf8: "key\(number)")) == Self.value) }
        for number in 0..<1000 { #expect(try fixture.value(reader, Bytes(utf8: "new\(number)")) == Self.value) }
        let copy = try LMDBBackend.open(path: try directory.copy("data"), options: .forTests)
        #expect(try Store.open(backend: copy).numbers().keys == 1100)
    }

    /// An image that is open keeps all of its pages, however much is removed, released and written meanwhile.
    @Test func anOldReaderKeepsItsPages() throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        let fixture = try Fixture(backend, tailBytesMax: 0)
        for number in 0..<2000 { try fixture.put(Bytes(utf8: "key\(number % 100)"), Self.value) }
        try fixture.persistAll()
        let reader = try backend.makeReader()
        try reader.begin()
        for round in 0..<5 {
            for number in 0..<100 { try fixture.put(Bytes(utf8: "key\(number)"), Self.value) }
            try fixture.compact(fixture.store.currentRevision)
            try Self.sweep(fixture)
            try Self.release(backend)
            #expect(try Self.count(reader) == 2000, "round \(round)")
        }
        #expect(backend.sizes.fileBytes > 6_000_000)
        reader.end()
        try Self.release(backend)
        #expect(backend.sizes.fileBytes < 1_500_000)
        try reader.begin()
        #expect(try Self.count(reader) == 100)
        reader.end()
    }

    /// What a power cut would leave at this moment, with the newest root or, if that was not written, the one before.
    private static func checkCrash(_ directory: TemporaryDirectory, losesRoot: Bool, atLeast: Int64) throws {
        var bytes = try directory.read("data")
        if losesRoot {
            // The number of the commit in each of the two roots, behind the page's head and 128 bytes more.
            let places = [144, 4096 + 144]
            let numbers = places.map { place in
                bytes[place..<place + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            }
            #expect(numbers[0].distance(to: numbers[1]).magnitude == 1, "the roots were found")
            let newest = places[numbers[0] > numbers[1] ? 0 : 1]
            for byte in newest..<newest + 8 { bytes[byte] = 0 }
        }
        try directory.write(bytes, to: "crashed")
        let backend = try LMDBBackend.open(path: directory.path + "/crashed", options: .forTests)
        // Reads every record and its checksum.
        let store = try Store.open(backend: backend)
        #expect(store.currentRevision >= atLeast)
    }

    /// Writes, compactions, slices, old readers and crashes in any order.
    @Test(arguments: 1..<9 as Range<UInt64>)
    func anyOrder(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        let fixture = try Fixture(backend, tailBytesMax: 0)
        var pass: SpaceRelease?
        var images: [(reader: any BackendReader, count: Int)] = []
        // The last two persisted revisions: a lost root costs one commit.
        var persisted: [Int64] = [1, 1]
        var released = 0
        for step in 0..<400 {
            switch random.next(in: 0..<12) {
            case 0...3:
                for _ in 0..<random.next(in: 1..<40) {
                    let bytes = [UInt8](repeating: 7, count: random.next(in: 0..<5000))
                    try fixture.put(Bytes(utf8: "key\(random.next(in: 0..<60))"), Bytes(bytes))
                }
            case 4:
                let revision = fixture.store.currentRevision - Int64(random.next(in: 0..<20))
                if revision > fixture.store.compactRevision, revision > 0 { try fixture.compact(revision) }
            case 5: while [.more].contains(fixture.store.sweepStep(maxKeys: 10)) {}
            case 6...8:
                var slice = pass ?? SpaceRelease(agingCommits: random.next(in: 0..<4))
                try backend.releaseSpace(
                    &slice, runsMax: random.next(in: 1..<6), bytesMax: random.next(in: 4096..<200_000))
                released += slice.releasedBytes - (pass?.releasedBytes ?? 0)
                pass = slice.isFinished ? nil : slice
            case 9:
                if images.count < 3 {
                    let reader = try backend.makeReader()
                    try reader.begin()
                    images.append((reader, try Self.count(reader)))
                }
            case 10:
                if !images.isEmpty {
                    let image = images.remove(at: random.next(in: 0..<images.count))
                    #expect(try Self.count(image.reader) == image.count, "seed \(seed), step \(step)")
                    image.reader.end()
                }
            default:
                if persisted[1] > 1, step % 3 == 0 {
                    let losesRoot = random.chance(oneIn: 2)
                    try Self.checkCrash(directory, losesRoot: losesRoot, atLeast: persisted[losesRoot ? 0 : 1])
                }
            }
            if random.chance(oneIn: 2), let batch = fixture.store.nextBatch(maxBytes: 1 << 20) {
                try backend.commit(batch)
                fixture.store.persisted(batch)
                persisted = [persisted[1], fixture.store.numbers().persistedRevision]
            }
        }
        for image in images { #expect(try Self.count(image.reader) == image.count) }
        try fixture.persistAll()
        try Self.checkCrash(directory, losesRoot: false, atLeast: fixture.store.currentRevision)
        #expect(released > 100_000, "seed \(seed)")
    }

    /// What a commit that failed has written behind the last page.
    @Test func theRestOfTheFileIsGivenBack() throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        let fixture = try Fixture(backend, tailBytesMax: 0)
        try fixture.put("key", Self.value)
        try fixture.persistAll()
        let content = try directory.read("data")
        try directory.append([UInt8](repeating: 0x55, count: 1 << 20), to: "data")
        #expect(backend.sizes.fileBytes > 1 << 20)
        try Self.release(backend)
        #expect(backend.sizes.fileBytes < 100_000 && content.count < 100_000)
        #expect(try fixture.value(try fixture.store.makeReader(), "key") == Self.value)
    }

    @Test func aFreshFileHasNothingToGiveBack() throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        #expect(try Self.release(backend).bytes < 20_000)
        // Not even its format was written.
        #expect(try Store.open(backend: backend).currentRevision == 1)
        backend.close()
        #expect(throws: StoreError.closed) { try Self.release(backend) }
    }

    @Test func theListOfReadersIsRead() {
        #expect(LMDBBackend.image(ofReaderLine: "    pid     thread     txnid\n") == .max)
        #expect(LMDBBackend.image(ofReaderLine: "(no active readers)\n") == .max)
        #expect(LMDBBackend.image(ofReaderLine: "     12345 7f0c2a3b4700 -\n") == .max)
        #expect(LMDBBackend.image(ofReaderLine: "     12345 7f0c2a3b4700 4711\n") == 4711)
        // Words that are not known hold everything.
        #expect(LMDBBackend.image(ofReaderLine: "     12345 7f0c2a3b4700\n") == 0)
        #expect(LMDBBackend.image(ofReaderLine: "     12345 7f0c2a3b4700 what\n") == 0)
    }

    @Test(arguments: 1..<20 as Range<UInt64>) func runsOfPages(seed: UInt64) {
        var random = PRNG(seed: seed)
        let limit = random.next(in: 1..<400)
        var pages = PageSet(limit: limit)
        var members = Set<Int>()
        for _ in 0..<random.next(in: 0..<400) {
            let page = random.next(in: 0..<limit)
            let isNew = pages.insert(page)
            #expect(isNew == members.insert(page).inserted)
        }
        #expect(pages.count == members.count)
        var found = Set<Int>()
        var next = 0
        while let run = pages.run(from: next) {
            #expect(!members.contains(run.upperBound) && !members.contains(run.lowerBound - 1))
            found.formUnion(run)
            next = run.upperBound
        }
        #expect(found == members)
    }
}
