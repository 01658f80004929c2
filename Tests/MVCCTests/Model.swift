import Primitives
import Wire

@testable import MVCC

/// One version of a key, as the model remembers it for ever.
struct ModelVersion {
    var revision: Revision
    var isTombstone: Bool
    var create: Int64
    var version: Int64
    var value: Bytes
    var lease: LeaseID

    func record(_ key: Bytes) -> Bytes {
        isTombstone
            ? KeyValueCodec.encode(key: key, createRevision: 0, modRevision: 0, version: 0, value: Bytes(), lease: 0)
            : KeyValueCodec.encode(
                key: key, createRevision: create, modRevision: revision.main, version: version, value: value,
                lease: lease.rawValue)
    }

    func eventRecord(_ key: Bytes) -> Bytes {
        isTombstone
            ? KeyValueCodec.encode(
                key: key, createRevision: 0, modRevision: revision.main, version: 0, value: Bytes(), lease: 0)
            : record(key)
    }
}

/// A range with owned keys.
struct ModelQuery {
    var key: Bytes
    var end = Bytes()
    var limit: Int64 = 0
    var revision: Int64 = 0
    var keysOnly = false
    var countOnly = false
    var order = RangeQuery.SortOrder.none
    var target = RangeQuery.SortTarget.key
    var minMod: Int64 = 0
    var maxMod: Int64 = 0
    var minCreate: Int64 = 0
    var maxCreate: Int64 = 0

    func with<R: ~Copyable>(_ body: (RangeQuery) throws(StoreError) -> R) throws(StoreError) -> R {
        try RangeQuery.with(key: key, end: end) { (query) throws(StoreError) -> R in
            query.limit = limit
            query.revision = revision
            query.keysOnly = keysOnly
            query.countOnly = countOnly
            query.order = order
            query.target = target
            query.minModRevision = minMod
            query.maxModRevision = maxMod
            query.minCreateRevision = minCreate
            query.maxCreateRevision = maxCreate
            return try body(query)
        }
    }

    func covers(_ candidate: Bytes) -> Bool {
        if end.isEmpty { return candidate == key }
        if end == Bytes([0]) { return candidate >= key }
        return candidate >= key && candidate < end
    }
}

struct ModelAnswer: Equatable {
    var queryRevision: Int64
    var headerRevision: Int64
    var count: Int64
    var more: Bool
    var rows: [UInt8]
}

/// Every change of every key, kept for ever, and the plainest way to answer from it.
struct Model {
    var histories: [Bytes: [ModelVersion]] = [:]
    var current: Int64 = 1
    var compact: Int64 = -1

    func live(_ key: Bytes, at revision: Int64) -> ModelVersion? {
        guard let last = histories[key]?.last(where: { $0.revision.main <= revision }), !last.isTombstone else {
            return nil
        }
        return last
    }

    /// Keys of the range that exist at `revision`, in order.
    func keys(_ query: ModelQuery, at revision: Int64) -> [Bytes] {
        histories.keys.filter { query.covers($0) && live($0, at: revision) != nil }.sorted()
    }

    mutating func put(_ key: Bytes, _ value: Bytes, _ lease: LeaseID, at revision: Revision) {
        let old = live(key, at: revision.main)
        histories[key, default: []].append(
            ModelVersion(
                revision: revision, isTombstone: false, create: old?.create ?? revision.main,
                version: (old?.version ?? 0) + 1, value: value, lease: lease))
    }

    mutating func delete(_ key: Bytes, at revision: Revision) {
        histories[key, default: []].append(
            ModelVersion(revision: revision, isTombstone: true, create: 0, version: 0, value: Bytes(), lease: .none))
    }

    /// Step by step as etcd's `executeRange` does it. `newest` is the revision that "latest" means.
    func range(_ query: ModelQuery, newest: Int64) -> Result<ModelAnswer, StoreError> {
        if query.revision > newest { return .failure(.futureRevision(currentRevision: newest)) }
        let revision = query.revision <= 0 ? newest : query.revision
        if revision < compact { return .failure(.compacted(compactRevision: compact)) }
        let all = keys(query, at: revision)
        var answer = ModelAnswer(
            queryRevision: revision, headerRevision: newest, count: Int64(all.count), more: false, rows: [])
        if query.countOnly { return .success(answer) }
        var rows = all.map { (key: $0, version: live($0, at: revision)!) }
        let hasFilters = query.minMod != 0 || query.maxMod != 0 || query.minCreate != 0 || query.maxCreate != 0
        let isDefaultOrder = query.order == .none || (query.target == .key && query.order == .ascend)
        if query.limit > 0, isDefaultOrder, !hasFilters { rows = Array(rows.prefix(Int(query.limit) + 1)) }
        if query.maxMod != 0 { rows.removeAll { $0.version.revision.main > query.maxMod } }
        if query.minMod != 0 { rows.removeAll { $0.version.revision.main < query.minMod } }
        if query.maxCreate != 0 { rows.removeAll { $0.version.create > query.maxCreate } }
        if query.minCreate != 0 { rows.removeAll { $0.version.create < query.minCreate } }
        sort(&rows, query)
        if query.limit > 0, rows.count > Int(query.limit) {
            rows.removeLast(rows.count - Int(query.limit))
            answer.more = true
        }
        for row in rows {
            var version = row.version
            if query.keysOnly {
                version.value = Bytes()
                version.lease = .none
            }
            let record = version.record(row.key)
            answer.rows.append(0x12)
            var length = record.count
            while length >= 0x80 {
                answer.rows.append(UInt8(length & 0x7f) | 0x80)
                length >>= 7
            }
            answer.rows.append(UInt8(length))
            answer.rows.append(contentsOf: record.array)
        }
        return .success(answer)
    }

    private func sort(_ rows: inout [(key: Bytes, version: ModelVersion)], _ query: ModelQuery) {
        if query.order == .none, query.target == .key { return }
        func ascending(_ a: ModelVersion, _ b: ModelVersion, _ x: Bytes, _ y: Bytes) -> Bool {
            switch query.target {
            case .key: x < y
            case .version: a.version < b.version
            case .create: a.create < b.create
            case .mod: a.revision.main < b.revision.main
            case .value: a.value < b.value
            }
        }
        // Stable, so equal rows stay in key order.
        let indexed = rows.enumerated().map { ($0.offset, $0.element) }
        let sorted = indexed.sorted { p, q in
            let (a, b) = query.order == .descend ? (q.1, p.1) : (p.1, q.1)
            if ascending(a.version, b.version, a.key, b.key) { return true }
            if ascending(b.version, a.version, b.key, a.key) { return false }
            return p.0 < q.0
        }
        rows = sorted.map(\.1)
    }

    /// All versions that etcd's file holds once its compaction is done, in revision order.
    func stored() -> [(key: Bytes, version: ModelVersion)] {
        var result: [(key: Bytes, version: ModelVersion)] = []
        for (key, versions) in histories {
            let newestBelow = versions.lastIndex { $0.revision.main <= compact }
            for (index, version) in versions.enumerated() {
                if let newestBelow, index <= newestBelow {
                    if index < newestBelow { continue }
                    if version.isTombstone, version.revision.main < compact { continue }
                }
                result.append((key, version))
            }
        }
        return result.sorted { $0.version.revision < $1.version.revision }
    }

    /// etcd's `hashByRev`, literally: the keep set, then every stored revision.
    func hashKV(_ revision: Int64) -> UInt32 {
        var keep: Set<Revision> = []
        for key in histories.keys {
            if let seen = live(key, at: revision) { keep.insert(seen.revision) }
        }
        var bytes = Array("key".utf8)
        for (key, version) in stored() {
            if version.revision.main > revision { continue }
            if version.revision.main <= compact, !keep.isEmpty, !keep.contains(version.revision) { continue }
            withUnsafeBytes(of: version.revision.main.bigEndian) { bytes.append(contentsOf: $0) }
            bytes.append(UInt8(ascii: "_"))
            withUnsafeBytes(of: Int64(version.revision.sub).bigEndian) { bytes.append(contentsOf: $0) }
            if version.isTombstone { bytes.append(UInt8(ascii: "t")) }
            bytes.append(contentsOf: version.record(key).array)
        }
        return bytes.withUnsafeBytes { CRC32C.checksum($0) }
    }

    /// The events after `after`, with the records before them where they are at or above the compact revision.
    func events(after: Int64, through: Int64) -> [(main: Int64, records: [Bytes], previous: [Bytes?])] {
        var found: [(revision: Revision, record: Bytes, previous: Bytes?)] = []
        for (key, versions) in histories {
            for version in versions where version.revision.main > after && version.revision.main <= through {
                let main = version.revision.main
                let previous = main - 1 >= compact ? live(key, at: main - 1)?.record(key) : nil
                found.append((version.revision, version.eventRecord(key), previous))
            }
        }
        found.sort { $0.revision < $1.revision }
        var result: [(main: Int64, records: [Bytes], previous: [Bytes?])] = []
        for event in found {
            if result.last?.main != event.revision.main { result.append((event.revision.main, [], [])) }
            result[result.count - 1].records.append(event.record)
            result[result.count - 1].previous.append(event.previous)
        }
        return result
    }
}
