import Primitives
import Testing

@testable import MVCC

/// Bad disks and full disks: found, named, never served.
@Suite struct CorruptionTests {
    private static func filled(_ backend: any Backend) throws -> Fixture {
        let fixture = try Fixture(backend, tailBytesMax: 0)
        for number in 0..<100 { try fixture.put(Bytes(utf8: "key\(number)"), Bytes(utf8: "value-\(number)-end")) }
        try fixture.delete("key5")
        try fixture.persistAll()
        return fixture
    }

    private static func isCorrupted(_ main: Int64) -> (any Error) -> Bool {
        { error in
            guard case .corrupted(let revision?, _, let key, let file)? = error as? StoreError else { return false }
            // A key that is damaged itself is named as it is, or not at all.
            guard file == "memory", key.map({ $0.hasPrefix("\"") && $0.count < 20 }) ?? true else { return false }
            return revision.main == main
        }
    }

    @Test(arguments: 0..<14)
    func aFlippedBitIsFound(byte: Int) throws {
        let backend = MemoryBackend()
        let fixture = try Self.filled(backend)
        let reader = try fixture.store.makeReader()
        #expect(backend.corrupt(Revision(main: 40, sub: 0), byte: byte))
        #expect { try fixture.value(reader, "key38") } throws: { Self.isCorrupted(40)($0) }
        #expect { try Store.open(backend: backend) } throws: { Self.isCorrupted(40)($0) }
        #expect { try reader.hashKV(revision: 0) } throws: { Self.isCorrupted(40)($0) }
        #expect {
            try reader.historyEvents(after: 1, maxRevisions: 100, maxBytes: 1 << 20, wantPrevious: false)
        } throws: {
            Self.isCorrupted(40)($0)
        }
        var position: Revision?
        #expect {
            repeat { position = try reader.scrub(after: position, maxRecords: 10) } while position != nil
        } throws: {
            Self.isCorrupted(40)($0)
        }
        #expect(try fixture.value(reader, "key37") == "value-37-end", "others are served")
    }

    @Test func scrubbingASoundStoreReachesTheEnd() throws {
        let fixture = try Self.filled(MemoryBackend())
        let reader = try fixture.store.makeReader()
        var position = try reader.scrub(after: nil, maxRecords: 7)
        var steps = 1
        while let after = position {
            position = try reader.scrub(after: after, maxRecords: 7)
            steps += 1
        }
        #expect(steps == 101 / 7 + 1)
    }

    /// Every byte of one record in the LMDB file: key, checksum, flags and content.
    @Test func aFlippedByteInTheFileIsFound() throws {
        let directory = try TemporaryDirectory()
        do {
            let fixture = try Self.filled(try LMDBBackend.open(path: directory.path + "/data", options: .forTests))
            fixture.backend.close()
        }
        let sound = try directory.read("data")
        let content = Array("value-38-end".utf8)
        // The page may be there more than once: an older copy is a free page, and damage to it does no harm.
        let places = sound.indices.filter { sound[$0...].starts(with: content) }
        #expect(!places.isEmpty)
        let head = 5 + 2 + 5 + 2 + 2 + 2 + 2
        for offset in -(head + 5)..<content.count {
            var damaged = sound
            for place in places { damaged[place + offset] ^= 0x04 }
            try directory.write(damaged, to: "damaged")
            #expect(throws: StoreError.self, "offset \(offset)") {
                let backend = try LMDBBackend.open(path: directory.path + "/damaged", options: .forTests)
                _ = try Store.open(backend: backend)
            }
        }
    }

    /// Cut at every page behind the two roots: reading past the end of a mapped file would be a signal, not an error.
    @Test func aFileThatWasCutOffIsFound() throws {
        let directory = try TemporaryDirectory()
        do {
            let fixture = try Self.filled(try LMDBBackend.open(path: directory.path + "/data", options: .forTests))
            fixture.backend.close()
        }
        let sound = try directory.read("data")
        #expect(sound.count > 4 * 4096)
        for end in stride(from: 2 * 4096, to: sound.count / 2, by: 4096) {
            try directory.write(Array(sound[..<end]), to: "cut")
            #expect(throws: StoreError.self, "cut at \(end)") {
                let backend = try LMDBBackend.open(path: directory.path + "/cut", options: .forTests)
                _ = try Store.open(backend: backend)
            }
        }
    }

    /// One line that names the file, the revision and the key, and says what to do.
    @Test func damageIsToldInWords() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/damaged"
        do {
            let fixture = try Self.filled(try LMDBBackend.open(path: path, options: .forTests))
            fixture.backend.close()
        }
        var bytes = try directory.read("damaged")
        let content = Array("value-38-end".utf8)
        for place in bytes.indices where bytes[place...].starts(with: content) { bytes[place] ^= 1 }
        try directory.write(bytes, to: "damaged")
        let backend = try LMDBBackend.open(path: path, options: .forTests)
        let words = "is damaged: record of revision 40.0, key \"key38\": its checksum does not match; "
        let reader = try backend.makeReader()
        try reader.begin()
        defer { reader.end() }
        let readings: [() throws -> Void] = [
            { _ = try Store.open(backend: backend) }, { _ = try reader.record(at: Revision(main: 40, sub: 0)) },
        ]
        for read in readings {
            #expect { try read() } throws: { error in
                let text = "\(error)"
                return text.hasPrefix("the data file \(path) \(words)") && text.contains("replace this member")
                    && !text.contains("\n")
            }
        }
    }

    @Test func keysAreToldOnOneLine() {
        func text(_ key: String) -> String { Array(key.utf8).withUnsafeBytes { StoreError.keyText($0) } }
        #expect(text("/a/b") == "\"/a/b\"")
        #expect(text("a\n\"\\é") == #""a\x0a\x22\x5c\xc3\xa9""#)
        #expect(text(String(repeating: "k", count: 300)).count == 205)
    }

    @Test func damagedMetaIsFound() throws {
        let directory = try TemporaryDirectory()
        do {
            let fixture = try Self.filled(try LMDBBackend.open(path: directory.path + "/data", options: .forTests))
            fixture.store.setMeta("alarm", "some-alarm-state")
            fixture.applied()
            try fixture.persistAll()
        }
        var bytes = try directory.read("data")
        let content = Array("some-alarm-state".utf8)
        for place in bytes.indices where bytes[place...].starts(with: content) { bytes[place] ^= 1 }
        try directory.write(bytes, to: "damaged")
        let damage = StoreError.corrupted(
            revision: nil, detail: "checksum of meta entry alarm does not match", file: directory.path + "/damaged")
        #expect(throws: damage) {
            let backend = try LMDBBackend.open(path: directory.path + "/damaged", options: .forTests)
            _ = try Store.open(backend: backend)
        }
    }

    @Test func notAStore() throws {
        let directory = try TemporaryDirectory()
        try directory.write([UInt8](repeating: 0x41, count: 20_000), to: "data")
        #expect(throws: StoreError.self) {
            try LMDBBackend.open(path: directory.path + "/data", options: .forTests).path
        }
        #expect(throws: StoreError.self) { try LMDBBackend.open(path: directory.path + "/no/where").path }
    }

    @Test func aFullMapPoisonsAndLosesNothingPersisted() throws {
        let directory = try TemporaryDirectory()
        var options = LMDBOptions.forTests
        options.mapBytes = 1 << 20
        options.mapBytesMin = 1 << 16
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: options)
        let fixture = try Fixture(backend)
        var failure: StoreError?
        while failure == nil {
            try fixture.put("key", Bytes([UInt8](repeating: 9, count: 10_000)))
            let batch = try #require(fixture.store.nextBatch(maxBytes: 1))
            do throws(StoreError) {
                try backend.commit(batch)
                fixture.store.persisted(batch)
            } catch {
                failure = error
                #expect(throws: StoreError.poisoned) { try backend.commit(batch) }
            }
        }
        #expect(failure == .mapFull)
        let persisted = fixture.store.numbers().persistedRevision
        #expect(persisted > 40 && persisted == fixture.store.currentRevision - 1)
        let copy = try LMDBBackend.open(path: try directory.copy("data"), options: .forTests)
        let reopened = try Store.open(backend: copy)
        #expect(reopened.currentRevision == persisted)
    }

    /// Compaction makes room that later commits use: the file stays small though much is written.
    @Test func freedPagesAreUsedAgain() throws {
        let directory = try TemporaryDirectory()
        let backend = try LMDBBackend.open(path: directory.path + "/data", options: .forTests)
        let fixture = try Fixture(backend, tailBytesMax: 0)
        let value = Bytes([UInt8](repeating: 9, count: 500))
        for round in 0..<40 {
            for number in 0..<200 { try fixture.put(Bytes(utf8: "key\(number)"), value) }
            try fixture.persistAll()
            try fixture.compact(fixture.store.currentRevision)
            try fixture.persistAll()
            while fixture.store.sweepStep(maxKeys: 1000) != .idle { try fixture.persistAll() }
            #expect(fixture.store.numbers().versions == 200, "round \(round)")
        }
        let sizes = backend.sizes
        // 200 records of 550 bytes live, 8,000 written.
        #expect(sizes.fileBytes < 1_500_000 && sizes.inUseBytes < 200_000)
    }

    @Test func closedBackendsRefuse() throws {
        let directory = try TemporaryDirectory()
        for backend in [MemoryBackend(), try LMDBBackend.open(path: directory.path + "/data", options: .forTests)]
            as [any Backend]
        {
            let fixture = try Self.filled(backend)
            let reader = try fixture.store.makeReader()
            backend.close()
            #expect(throws: StoreError.closed) { try fixture.value(reader, "key1") }
            try fixture.put("a", "b")
            let batch = try #require(fixture.store.nextBatch(maxBytes: 1000))
            #expect(throws: StoreError.closed) { try backend.commit(batch) }
        }
    }
}
