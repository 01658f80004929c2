import Primitives
import Testing

@testable import MVCC

/// The index against plain dictionaries, with its invariants checked after every change.
@Suite struct KeyIndexTests {
    private static func key(_ random: inout PRNG, shape: Int) -> Bytes {
        switch shape {
        case 0:  // Short keys over a small alphabet, zero bytes among them: prefixes of each other.
            Bytes((0..<random.next(in: 1..<6)).map { _ in UInt8([0, 1, 0x61, 0xff][random.next(in: 0..<4)]) })
        case 1: Bytes(utf8: "/registry/pods/namespace-\(random.next(in: 0..<9))/pod-\(random.next(in: 0..<500))")
        case 2: Bytes(utf8: "k" + String(repeating: "x", count: random.next(in: 0..<40)))
        default: Bytes((0..<random.next(in: 1..<20)).map { _ in UInt8(truncatingIfNeeded: random.next()) })
        }
    }

    private static func add(
        _ index: inout KeyIndex, _ path: inout IndexPath, _ key: Bytes, main: Int64, isDelete: Bool, bytes: Int
    ) {
        key.withUnsafeBytes { key in
            let version =
                isDelete
                ? KeyVersion.tombstone(main: main, sub: 0, recordBytes: bytes)
                : KeyVersion(
                    main: main, sub: 0, createRevision: main, version: 1, hasLease: false, recordBytes: bytes)
            index.add(version, key, &path)
        }
    }

    private struct Expected {
        var versions: [Bytes: [KeyVersion]] = [:]

        func live(_ key: Bytes, at revision: Int64) -> KeyVersion? {
            versions[key]?.last { $0.main <= revision }.flatMap { $0.isTombstone ? nil : $0 }
        }

        func keys(_ start: Bytes, _ end: Bytes?, at revision: Int64) -> [Bytes] {
            versions.keys.filter { $0 >= start && (end == nil || $0 < end!) && live($0, at: revision) != nil }.sorted()
        }

        /// Compaction's rule, stated as what stays.
        mutating func trim(to revision: Int64) -> Set<Int64> {
            var removed: Set<Int64> = []
            for (key, all) in versions {
                let last = all.lastIndex { $0.main <= revision }
                let kept = all.indices.filter { index in
                    guard let last, index <= last else { return true }
                    return index == last && (!all[index].isTombstone || all[index].main == revision)
                }
                for index in all.indices where !kept.contains(index) { removed.insert(all[index].main) }
                versions[key] = kept.isEmpty ? nil : kept.map { all[$0] }
            }
            return removed
        }
    }

    @Test(arguments: 0..<12)
    func randomOperations(seed: Int) {
        var random = PRNG(seed: UInt64(seed))
        var index = KeyIndex()
        var path = IndexPath()
        var expected = Expected()
        var main: Int64 = 1
        var compacted: Int64 = 0
        let shape = seed % 4
        for step in 0..<1500 {
            let key = Self.key(&random, shape: shape)
            main += 1
            let isDelete = expected.live(key, at: main) != nil && random.chance(oneIn: 3)
            let bytes = random.next(in: 1..<400)
            Self.add(&index, &path, key, main: main, isDelete: isDelete, bytes: bytes)
            let version =
                isDelete
                ? KeyVersion.tombstone(main: main, sub: 0, recordBytes: bytes)
                : KeyVersion(main: main, sub: 0, createRevision: main, version: 1, hasLease: false, recordBytes: bytes)
            expected.versions[key, default: []].append(version)
            index.checkInvariants()
            if step % 7 == 0 { Self.compare(index, expected, &random, shape, compacted...main) }
            if random.chance(oneIn: 90) {
                compacted = Int64(random.next(in: Int(compacted)..<Int(main) + 1))
                let removed = Self.sweep(&index, &path, to: compacted)
                #expect(removed == expected.trim(to: compacted))
                index.checkInvariants()
                Self.compare(index, expected, &random, shape, compacted...main)
            }
        }
        // Down to nothing again.
        for key in expected.keys(Bytes(), nil, at: main) {
            main += 1
            Self.add(&index, &path, key, main: main, isDelete: true, bytes: 5)
        }
        _ = Self.sweep(&index, &path, to: main + 1)
        index.checkInvariants()
        #expect(index.entryCount == 0 && index.versionCount == 0 && index.recordBytes == 0)
        #expect(index.root.isLeaf)
    }

    private static func sweep(_ index: inout KeyIndex, _ path: inout IndexPath, to revision: Int64) -> Set<Int64> {
        var removed: [Revision] = []
        var cursor: [UInt8] = []
        while cursor.withUnsafeBytes({ index.locateSuperseded(from: $0, &path) }) {
            cursor = Array(path.leaf.key(path.leaf.count - 1)) + [0]
            index.trimLeaf(path, to: revision, &removed)
        }
        let mains = Set(removed.map(\.main))
        #expect(mains.count == removed.count)
        return mains
    }

    private static func compare(
        _ index: borrowing KeyIndex, _ expected: Expected, _ random: inout PRNG, _ shape: Int,
        _ revisions: ClosedRange<Int64>
    ) {
        let revision = Int64.random(in: revisions, using: &random)
        var start = random.chance(oneIn: 3) ? Bytes() : key(&random, shape: shape)
        var end: Bytes? = random.chance(oneIn: 3) ? nil : key(&random, shape: shape)
        if let upper = end, upper < start { (start, end) = (upper, start) }
        let keys = expected.keys(start, end, at: revision)
        let limit = random.chance(oneIn: 2) ? Int.max : random.next(in: 1..<20)
        let leaves = random.next(in: 1..<4)
        withSpan(start, end) { span in
            var tally = RangeTally(rowsMax: limit, leavesMax: leaves)
            index.count(span, at: revision, &tally)
            while let next = tally.resume {
                tally.leavesLeft = leaves
                let from = Bytes(copying: next.pointee.keyBytes)
                from.withUnsafeBytes { index.count(KeySpan(start: $0, end: span.end), at: revision, &tally) }
            }
            #expect(tally.keys == keys.count)
            let bytes = keys.prefix(limit).reduce(0) { $0 + expected.live($1, at: revision)!.rowBytes }
            #expect(tally.rowBytes == bytes)
            for descending in [false, true] {
                var seen: [Bytes] = []
                _ = index.scan(span, descending: descending, entriesMax: .max) { entry in
                    if entry.pointee.live(at: revision) != nil { seen.append(Bytes(copying: entry.pointee.keyBytes)) }
                    return true
                }
                #expect(seen == (descending ? keys.reversed() : keys))
            }
        }
        for key in keys.prefix(3) {
            let found = key.withUnsafeBytes { index.find($0)?.pointee.live(at: revision) }
            #expect(found == expected.live(key, at: revision))
        }
    }

    private static func withSpan(_ start: Bytes, _ end: Bytes?, _ body: (KeySpan) -> Void) {
        start.withUnsafeBytes { start in
            guard let end else { return body(KeySpan(start: start, end: nil)) }
            end.withUnsafeBytes { body(KeySpan(start: start, end: $0)) }
        }
    }

    /// Three levels, up and down again, so that inner nodes split and merge too.
    @Test(arguments: 0..<3)
    func manyKeys(seed: Int) {
        var random = PRNG(seed: UInt64(seed))
        var index = KeyIndex()
        var path = IndexPath()
        var alive: Set<Bytes> = []
        var main: Int64 = 1
        for phase in 0..<4 {
            for _ in 0..<12_000 {
                main += 1
                let number = random.next(in: 0..<20_000)
                let key = Bytes(utf8: "/registry/\(number % 7)/\(number)")
                let isDelete = phase % 2 == 1 && alive.contains(key)
                if isDelete { alive.remove(key) } else { alive.insert(key) }
                Self.add(&index, &path, key, main: main, isDelete: isDelete, bytes: 40)
            }
            index.checkInvariants()
            #expect(index.root.pointee.level == 2)
            _ = Self.sweep(&index, &path, to: main + 1)
            index.checkInvariants()
            #expect(index.entryCount == alive.count && index.totals.liveKeys == alive.count)
        }
        for key in alive.sorted() {
            main += 1
            Self.add(&index, &path, key, main: main, isDelete: true, bytes: 40)
            if main % 50 == 0 { _ = Self.sweep(&index, &path, to: main) }
            if main % 500 == 0 { index.checkInvariants() }
        }
        _ = Self.sweep(&index, &path, to: main + 1)
        index.checkInvariants()
        #expect(index.entryCount == 0 && index.root.isLeaf)
    }

    /// Ascending keys fill their leaves; a descent through them finds all.
    @Test func ascendingKeysFillLeaves() {
        var index = KeyIndex()
        var path = IndexPath()
        for number in 0..<10_000 {
            let key = Bytes(utf8: "key-" + String(1_000_000 + number))
            Self.add(&index, &path, key, main: Int64(number + 2), isDelete: false, bytes: 50)
        }
        index.checkInvariants()
        var leaves = 0
        var leaf: IndexNodePointer? = index.leafFor(UnsafeRawBufferPointer(start: nil, count: 0))
        while let node = leaf {
            leaves += 1
            leaf = node.pointee.next
        }
        #expect(leaves <= 10_000 / (IndexNode.capacity - 1) + 1)
    }

    @Test func historiesGrowAndShrink() {
        var index = KeyIndex()
        var path = IndexPath()
        let key: Bytes = "only"
        for main in 2..<200 { Self.add(&index, &path, key, main: Int64(main), isDelete: false, bytes: main) }
        for revision in stride(from: Int64(1), to: 200, by: 13) {
            _ = Self.sweep(&index, &path, to: revision)
            index.checkInvariants()
            for at in max(revision, 2)..<200 {
                let found = key.withUnsafeBytes { index.find($0)?.pointee.live(at: at) }
                #expect(found?.main == at)
            }
        }
        #expect(index.versionCount == 200 - 196)
    }
}
