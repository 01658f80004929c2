package import Primitives

/// What a range asks for: `RangeRequest` without the fields that are not the store's. Its pointers are borrowed for the
/// call that takes it; what outlives the call is copied.
package struct RangeQuery {
    /// Source: `RangeRequest.SortOrder`.
    package enum SortOrder: Sendable { case none, ascend, descend }
    /// Source: `RangeRequest.SortTarget`.
    package enum SortTarget: Sendable { case key, version, create, mod, value }

    package var key: UnsafeRawBufferPointer
    /// Empty: the one key. One zero byte: every key from `key` on. Not above `key`: nothing.
    package var end: UnsafeRawBufferPointer
    /// Rows at most; 0 or less: all.
    package var limit: Int64
    /// The revision to read at; 0 or less: the current one.
    package var revision: Int64
    /// Rows come without value and lease, from the index alone.
    package var keysOnly: Bool
    /// No rows at all.
    package var countOnly: Bool
    package var order: SortOrder
    package var target: SortTarget
    /// Bounds, both inclusive; 0: none. They drop rows, they do not change the count.
    package var minModRevision: Int64 = 0
    package var maxModRevision: Int64 = 0
    package var minCreateRevision: Int64 = 0
    package var maxCreateRevision: Int64 = 0

    @inlinable
    package init(
        key: UnsafeRawBufferPointer, end: UnsafeRawBufferPointer = .init(start: nil, count: 0), limit: Int64 = 0,
        revision: Int64 = 0, keysOnly: Bool = false, countOnly: Bool = false, order: SortOrder = .none,
        target: SortTarget = .key
    ) {
        self.key = key
        self.end = end
        self.limit = limit
        self.revision = revision
        self.keysOnly = keysOnly
        self.countOnly = countOnly
        self.order = order
        self.target = target
    }

    /// A query over keys held as `Bytes`, for callers that have no pointers.
    package static func with<R: ~Copyable>(
        key: Bytes, end: Bytes = Bytes(), _ body: (inout RangeQuery) throws(StoreError) -> R
    ) throws(StoreError) -> R {
        var result: R?
        try key.withUnsafeBytes { (key) throws(StoreError) in
            try end.withUnsafeBytes { (end) throws(StoreError) in
                var query = RangeQuery(key: key, end: end)
                result = try body(&query)
            }
        }
        return result.take()!
    }

    var isSingle: Bool { end.count == 0 }

    /// The keys it covers; nil when there can be none. Not for a single key.
    var span: KeySpan? {
        if end.count == 1, end[0] == 0 { return KeySpan(start: key, end: nil) }
        return compareBytes(key, end) < 0 ? KeySpan(start: key, end: end) : nil
    }

    var hasFilters: Bool {
        minModRevision != 0 || maxModRevision != 0 || minCreateRevision != 0 || maxCreateRevision != 0
    }

    var filter: RevisionFilter {
        RevisionFilter(
            minMod: minModRevision, maxMod: maxModRevision == 0 ? .max : maxModRevision,
            minCreate: minCreateRevision, maxCreate: maxCreateRevision == 0 ? .max : maxCreateRevision)
    }
}

/// Bounds on a row's revisions; all inclusive.
struct RevisionFilter {
    var minMod: Int64
    var maxMod: Int64
    var minCreate: Int64
    var maxCreate: Int64

    static let all = RevisionFilter(minMod: .min, maxMod: .max, minCreate: .min, maxCreate: .max)

    @inline(__always)
    func passes(_ version: KeyVersion) -> Bool {
        version.main >= minMod && version.main <= maxMod
            && version.createRevision >= minCreate && version.createRevision <= maxCreate
    }
}

/// What an apply step may want to know of a key without reading its record.
package struct CurrentVersion: Equatable, Sendable {
    package var createRevision: Int64
    package var modRevision: Int64
    package var version: Int64
    /// The length of the record, key and value and numbers together.
    package var recordBytes: Int
    package var hasLease: Bool

    init(_ version: KeyVersion) {
        createRevision = version.createRevision
        modRevision = version.main
        self.version = version.version
        recordBytes = Int(version.recordBytes)
        hasLease = version.hasLease
    }
}
