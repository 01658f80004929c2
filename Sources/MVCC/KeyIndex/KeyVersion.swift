import Wire

/// What the index knows of one version of one key: enough to place it, to count it and to know the length of its
/// record, not its value. 32 bytes.
@frozen
package struct KeyVersion: Equatable, Sendable {
    /// The revision that wrote it (its mod revision).
    package var main: Int64
    /// The revision that created the key's generation; 0 for a tombstone.
    package var createRevision: Int64
    /// Version number times two, plus one when the record names a lease.
    @usableFromInline var versionBits: UInt64
    /// The position among the changes of `main`.
    package var sub: UInt32
    /// The length of the stored record.
    package var recordBytes: UInt32

    @inlinable
    package init(
        main: Int64, sub: UInt32, createRevision: Int64, version: Int64, hasLease: Bool, recordBytes: Int
    ) {
        self.main = main
        self.createRevision = createRevision
        versionBits = UInt64(bitPattern: version) << 1 | (hasLease ? 1 : 0)
        self.sub = sub
        self.recordBytes = UInt32(recordBytes)
    }

    /// A deletion.
    @inlinable
    package static func tombstone(main: Int64, sub: UInt32, recordBytes: Int) -> KeyVersion {
        KeyVersion(main: main, sub: sub, createRevision: 0, version: 0, hasLease: false, recordBytes: recordBytes)
    }

    /// 1 for the put that created the key; 0 for a tombstone.
    @inlinable package var version: Int64 { Int64(bitPattern: versionBits >> 1) }
    @inlinable package var hasLease: Bool { versionBits & 1 != 0 }
    @inlinable package var isTombstone: Bool { versionBits == 0 }

    /// The length of the record as an element of a repeated message field with a one-byte tag.
    @inlinable package var rowBytes: Int { 1 + ProtoSize.varint(UInt64(recordBytes)) + Int(recordBytes) }
}

/// One key of a leaf: its bytes and all its versions, the newest in place, older ones aside.
struct KeyEntry {
    /// The key's bytes; owned.
    var key: UnsafeMutableRawPointer
    var keyCount: UInt32
    var historyCount: UInt32
    /// The versions before `latest`, oldest first; owned; room for `historyCapacity(historyCount)`. Nil when none.
    var history: UnsafeMutablePointer<KeyVersion>?
    var latest: KeyVersion

    init(copying key: UnsafeRawBufferPointer, _ version: KeyVersion) {
        self.key = .allocate(byteCount: max(key.count, 1), alignment: 1)
        if let base = key.baseAddress { self.key.copyMemory(from: base, byteCount: key.count) }
        keyCount = UInt32(key.count)
        historyCount = 0
        history = nil
        latest = version
    }

    var keyBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: key, count: Int(keyCount)) }

    func free() {
        key.deallocate()
        history?.deallocate()
    }

    /// The versions a compaction may remove one day: all but a newest put.
    var supersededCount: Int { Int(historyCount) + (latest.isTombstone ? 1 : 0) }

    /// Powers of two, so that the capacity need not be stored.
    static func historyCapacity(_ count: UInt32) -> Int {
        count == 0 ? 0 : 1 << (32 - (count - 1).leadingZeroBitCount)
    }

    /// Makes `version` the newest.
    mutating func push(_ version: KeyVersion) {
        let count = Int(historyCount)
        let capacity = Self.historyCapacity(historyCount)
        if count == capacity {
            let larger = UnsafeMutablePointer<KeyVersion>.allocate(capacity: Self.historyCapacity(historyCount + 1))
            if let history {
                larger.update(from: history, count: count)
                history.deallocate()
            }
            history = larger
        }
        history.unsafelyUnwrapped[count] = latest
        historyCount += 1
        latest = version
    }

    /// Removes the `count` oldest versions, none of which is `latest`.
    mutating func dropOldest(_ count: Int) {
        guard count > 0, let history else { return }
        let kept = Int(historyCount) - count
        let capacity = Self.historyCapacity(UInt32(kept))
        if capacity == Self.historyCapacity(historyCount) {
            history.update(from: history + count, count: kept)
        } else {
            var smaller: UnsafeMutablePointer<KeyVersion>?
            if kept > 0 {
                smaller = .allocate(capacity: capacity)
                smaller.unsafelyUnwrapped.update(from: history + count, count: kept)
            }
            history.deallocate()
            self.history = smaller
        }
        historyCount = UInt32(kept)
    }

    /// How many versions of the history have a main revision <= `revision`.
    func historyCount(through revision: Int64) -> Int {
        guard let history else { return 0 }
        var low = 0
        var high = Int(historyCount)
        while low < high {
            let middle = (low + high) / 2
            if history[middle].main <= revision { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The newest version of a main revision <= `revision`, a tombstone too.
    @inline(__always)
    func newest(at revision: Int64) -> KeyVersion? {
        if _fastPath(latest.main <= revision) { return latest }
        return newestOfHistory(at: revision)
    }

    /// The version a reader at `revision` sees; nil when the key did not exist then.
    @inline(__always)
    func live(at revision: Int64) -> KeyVersion? {
        if _fastPath(latest.main <= revision) { return latest.isTombstone ? nil : latest }
        guard let version = newestOfHistory(at: revision), !version.isTombstone else { return nil }
        return version
    }

    private func newestOfHistory(at revision: Int64) -> KeyVersion? {
        let count = historyCount(through: revision)
        return count == 0 ? nil : history.unsafelyUnwrapped[count - 1]
    }
}
