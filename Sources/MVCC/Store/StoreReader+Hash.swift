import Primitives
import Wire

/// The answer of HashKV. Source: etcd-behaviour 1.5.
package struct KeyValueHash: Equatable, Sendable {
    package var hash: UInt32
    /// -1 before the first compaction.
    package var compactRevision: Int64
    /// The revision the hash is of.
    package var hashRevision: Int64
}

/// CRC-32C as etcd's HashKV has it: over the name of its bucket, then for each revision its 17-byte key (18 for a
/// tombstone) and the record.
private struct EtcdHasher {
    private(set) var value: UInt32

    init() { value = Array("key".utf8).withUnsafeBytes { CRC32C.checksum($0) } }

    mutating func add(_ revision: Revision, isTombstone: Bool, _ record: UnsafeRawBufferPointer) {
        var head = (UInt64(0), UInt64(0), UInt32(0))
        value = withUnsafeMutableBytes(of: &head) { buffer in
            buffer.storeBytes(of: revision.main.bigEndian, as: Int64.self)
            buffer[8] = UInt8(ascii: "_")
            buffer.storeBytes(of: Int64(revision.sub).bigEndian, toByteOffset: 9, as: Int64.self)
            buffer[17] = UInt8(ascii: "t")
            let count = isTombstone ? 18 : 17
            return CRC32C.checksum(UnsafeRawBufferPointer(rebasing: buffer[..<count]), continuing: value)
        }
        value = CRC32C.checksum(record, continuing: value)
    }
}

extension StoreReader {
    /// The hash of all revisions up to `revision` (0 or less: the current one), equal to etcd's over the same history.
    /// Throws `.compacted` below the compact revision, `.futureRevision` above the current one.
    ///
    /// Of the revisions up to the compact one only those count that a reader at `revision` still sees, whatever
    /// sweeping has removed by now; so the number does not depend on its progress. Reads the whole store: call it where
    /// a second does no harm. The backend is read in slices, each with an image of its own.
    package func hashKV(revision: Int64) throws(StoreError) -> KeyValueHash {
        threadOwner.check("a store reader")
        let state = takeState()
        defer { giveBack(state) }
        var result = KeyValueHash(hash: 0, compactRevision: -1, hashRevision: 0)
        var rule = KeepRule(compact: -1, revision: 0, keepsAny: false)
        try store.withState { (shared) throws(StoreError) in
            result.hashRevision = try resolveRevision(revision, shared).query
            result.compactRevision = shared.compact
            // Pinned at the compact revision, nothing above it goes away, nor what is seen at it.
            state.pointee.revision = max(shared.compact, 0)
            pin(&state.pointee)
            rule = KeepRule(compact: shared.compact, revision: result.hashRevision, keepsAny: false)
        }
        rule.keepsAny = hasKeys(at: result.hashRevision)
        var hasher = EtcdHasher()
        var next = Revision(main: 0, sub: 0)
        repeat {
            while try hashStored(&hasher, &next, rule) {}
        } while !hashTail(&hasher, &next, rule)
        result.hash = hasher.value
        return result
    }

    /// The hash of everything: the current revision's, continued over the meta entries in key order that are not the
    /// store's own. For tests; of the backend's meta, so persist first. Source: etcd-behaviour 1.5.
    package func hash() throws(StoreError) -> UInt32 {
        var value = try hashKV(revision: 0).hash
        try disk.begin()
        defer { disk.end() }
        for (key, content) in try disk.allMeta() where !Store.isOwnMeta(key) {
            value = key.withUnsafeBytes { CRC32C.checksum($0, continuing: value) }
            value = content.withUnsafeBytes { CRC32C.checksum($0, continuing: value) }
        }
        return value
    }

    private func hasKeys(at revision: Int64) -> Bool {
        let state = takeState()
        defer { giveBack(state) }
        state.pointee.revision = revision
        state.pointee.setSpan(KeySpan(start: UnsafeRawBufferPointer(start: nil, count: 0), end: nil))
        return !walk(&state.pointee) { (_, entry, _) in entry.pointee.live(at: revision) == nil }
    }

    /// Hashes some stored revisions from `next` on; false when the persisted ones are all done, `next` being the first
    /// that was not.
    private func hashStored(
        _ hasher: inout EtcdHasher, _ next: inout Revision, _ rule: KeepRule
    ) throws(StoreError) -> Bool {
        let persisted = store.withState { $0.persisted }
        let end = min(persisted, rule.revision)
        try disk.begin()
        defer { disk.end() }
        var left = 4096
        var stored = try disk.seek(next)
        while let record = stored, record.revision.main <= end {
            if left == 0 {
                next = record.revision
                return true
            }
            left -= 1
            if try counts(record, rule) {
                hasher.add(record.revision, isTombstone: record.isTombstone, record.bytes)
            }
            stored = try disk.next()
        }
        next = max(next, Revision(main: end + 1, sub: 0))
        return false
    }

    /// Hashes what was not persisted when `hashStored` looked last. False when the next revision has been persisted
    /// since then and has even left the tail: the backend has it now.
    private func hashTail(_ hasher: inout EtcdHasher, _ next: inout Revision, _ rule: KeepRule) -> Bool {
        while next.main <= rule.revision {
            let last = min(next.main + 255, rule.revision)
            guard let entries = store.tailEvents(after: next.main - 1, through: last, maxBytes: 1 << 20) else {
                return false
            }
            for entry in entries { hash(entry, &hasher, rule) }
            next = Revision(main: next.main + Int64(entries.count), sub: 0)
        }
        return true
    }

    private func hash(_ entry: RevisionEvents, _ hasher: inout EtcdHasher, _ rule: KeepRule) {
        for (sub, event) in entry.events.enumerated() {
            let revision = Revision(main: entry.main, sub: UInt32(sub))
            event.withStored { bytes in
                let isKept =
                    entry.main > rule.compact
                    || event.withKey { key in store.withState { rule.keeps(key, revision, event.isDelete, $0) } }
                if isKept { hasher.add(revision, isTombstone: event.isDelete, bytes) }
            }
        }
    }

    private func counts(_ record: StoredRecord, _ rule: KeepRule) throws(StoreError) -> Bool {
        if record.revision.main > rule.compact { return true }
        let version = KeyVersion.tombstone(
            main: record.revision.main, sub: record.revision.sub, recordBytes: record.bytes.count)
        let key = try KeyValueView.decode(record.bytes, at: version).key
        return store.withState { rule.keeps(key, record.revision, record.isTombstone, $0) }
    }
}

/// Which revisions up to the compact one belong to a hash. Source: etcd's `keyIndex.keep`.
private struct KeepRule {
    var compact: Int64
    /// The revision the hash is of.
    var revision: Int64
    /// Whether any key exists at `revision`.
    var keepsAny: Bool

    /// A put that a reader at `revision` sees. Where there is none at all, etcd hashes whatever its compaction has
    /// left: per key the newest version up to the compact revision, unless that is a tombstone from before it.
    func keeps(
        _ key: UnsafeRawBufferPointer, _ at: Revision, _ isTombstone: Bool, _ state: borrowing StoreState
    ) -> Bool {
        guard let entry = state.index.find(key) else { return false }
        let seen = entry.pointee.newest(at: keepsAny ? revision : compact)
        guard let seen, seen.main == at.main, seen.sub == at.sub else { return false }
        return !isTombstone || (!keepsAny && at.main == compact)
    }
}
