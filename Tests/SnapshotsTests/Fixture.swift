import MVCC
import Primitives

@testable import Snapshots

/// A store with a random history, all of it persisted, and what a test wants to know of it.
struct Fixture {
    var random: PRNG
    let backend: any Backend
    let store: Store
    var keyCount = 40
    var valueBytesMax = 200

    init(seed: UInt64, backend: any Backend = MemoryBackend()) throws {
        random = PRNG(seed: seed)
        self.backend = backend
        store = try Store.open(backend: backend)
    }

    // MARK: History

    /// Applies `count` random entries and persists them.
    mutating func run(entries count: Int) throws {
        for _ in 0..<count {
            switch random.next(in: 0..<20) {
            case 0..<16: try write()
            case 16, 17: changeMeta()
            default: try compact()
            }
            store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(7))
            if random.chance(oneIn: 10) { try persist() }
        }
        try persist()
    }

    mutating func write() throws {
        let first = random.next(in: 0..<keyCount)
        let count = random.next(in: 1..<6)
        let keys = (0..<count).map { Bytes(utf8: "/registry/key\((first + $0) % keyCount)") }
        let isDelete = random.chance(oneIn: 5)
        let values = keys.map { _ in value() }
        let lease = random.chance(oneIn: 3) ? LeaseID(Int64(random.next(in: 1..<5))) : .none
        try store.write { (transaction) throws(StoreError) in
            for (key, value) in zip(keys, values) {
                try key.withUnsafeBytes { (key) throws(StoreError) in
                    if isDelete {
                        let end = UnsafeRawBufferPointer(start: nil, count: 0)
                        _ = try transaction.deleteRange(key: key, end: end, wantPrevious: false)
                        return
                    }
                    try value.withUnsafeBytes { (value) throws(StoreError) in
                        _ = try transaction.put(key: key, value: value, lease: lease, wantPrevious: false)
                    }
                }
            }
        }
    }

    /// Sometimes of one letter, sometimes noise; now and then empty.
    mutating func value() -> Bytes {
        let count = random.next(in: 0..<valueBytesMax)
        if random.chance(oneIn: 2) { return Bytes([UInt8](repeating: UInt8(random.next(in: 97..<123)), count: count)) }
        return Bytes((0..<count).map { _ in UInt8(random.next(in: 0..<256)) })
    }

    mutating func changeMeta() {
        let key = Bytes(utf8: "lease/\(random.next(in: 0..<9))")
        store.setMeta(key, random.chance(oneIn: 4) ? nil : value())
    }

    mutating func compact() throws {
        let newest = Int(store.currentRevision)
        let oldest = Int(max(store.compactRevision, 0)) + 1
        guard oldest <= newest else { return }
        try store.compact(to: Int64(random.next(in: oldest..<newest + 1)))
        // What compaction removes, it removes only after it is persisted itself.
        store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(7))
        try persist()
        while case .more = store.sweepStep(maxKeys: random.next(in: 1..<30)) {}
    }

    func persist() throws {
        while let batch = store.nextBatch(maxBytes: 1 << 14) {
            try backend.commit(batch)
            store.persisted(batch)
        }
    }

    // MARK: Snapshots

    func writer(_ options: SnapshotOptions = SnapshotOptions()) throws -> SnapshotWriter {
        try SnapshotWriter(
            reader: try backend.makeReader(), clusterID: 0xc1, memberID: MemberID(0xd2), options: options)
    }

    /// The whole stream.
    func snapshot(_ options: SnapshotOptions = SnapshotOptions()) throws -> [UInt8] {
        try writer(options).rest().flatMap(\.array)
    }

    /// The whole stream, each frame compressed or not by chance.
    mutating func mixedSnapshot(frameBytes: Int) throws -> [UInt8] {
        let writer = try writer(.make(level: 1, frameBytes: frameBytes))
        var bytes: [UInt8] = []
        while let chunk = try writer.nextChunk(compressing: random.chance(oneIn: 2)) { bytes += chunk.array }
        return bytes
    }
}

extension SnapshotWriter {
    /// All chunks that are left.
    func rest() throws -> [Bytes] {
        var chunks: [Bytes] = []
        while let chunk = try nextChunk() { chunks.append(chunk) }
        return chunks
    }
}

extension SnapshotOptions {
    static func make(level: Int32, frameBytes: Int) -> SnapshotOptions {
        var options = SnapshotOptions()
        options.compressionLevel = level
        options.frameBytes = frameBytes
        return options
    }
}

/// All that a backend holds, to be compared.
struct Dump: Equatable {
    struct Record: Equatable {
        var revision: Revision
        var isTombstone: Bool
        var checksum: UInt32
        var bytes: Bytes
    }
    var records: [Record] = []
    var meta: [MetaChange] = []

    /// What `reader` sees in its open image.
    init(_ reader: any BackendReader) throws {
        var stored = try reader.seek(Revision(main: 0, sub: 0))
        while let record = stored {
            records.append(
                Record(
                    revision: record.revision, isTombstone: record.isTombstone, checksum: record.checksum,
                    bytes: Bytes(copying: record.bytes)))
            stored = try reader.next()
        }
        meta = try reader.allMeta().map { MetaChange(key: $0.key, value: $0.value) }
    }

    init(_ backend: any Backend) throws {
        let reader = try backend.makeReader()
        try reader.begin()
        defer { reader.end() }
        try self.init(reader)
    }

    /// Changes that stand without the one before them in the same revision, as compaction leaves them.
    var lonelyChanges: Int {
        zip([Record?.none] + records.map(Optional.some), records).count { before, record in
            record.revision.sub > 0
                && before?.revision != Revision(main: record.revision.main, sub: record.revision.sub - 1)
        }
    }
}

/// Restores `bytes`, given in pieces of random sizes.
func restore(
    _ bytes: [UInt8], into backend: any Backend, _ random: inout PRNG, piecesMax: Int = 3000
) throws -> SnapshotStatus {
    let restore = try SnapshotRestore(into: backend)
    var position = 0
    while position < bytes.count {
        let end = min(bytes.count, position + random.next(in: 0..<piecesMax))
        if random.chance(oneIn: 2) {
            try restore.append(Bytes(Array(bytes[position..<end])))
        } else {
            try bytes[position..<end].withUnsafeBytes { try restore.append($0) }
        }
        position = end
    }
    return try restore.finish()
}

/// Reads a stream to its end, in one piece.
func inspect(_ bytes: [UInt8]) throws(SnapshotError) -> SnapshotStatus {
    let reader = SnapshotReader()
    bytes.withUnsafeBytes { reader.append($0) }
    return try reader.finish()
}

/// The error of reading `bytes`; nil when they are accepted.
func fault(_ bytes: [UInt8]) -> SnapshotError? {
    do throws(SnapshotError) {
        _ = try inspect(bytes)
        return nil
    } catch { return error }
}
