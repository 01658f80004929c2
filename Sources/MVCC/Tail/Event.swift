package import Primitives
import Wire

/// One change of one key, encoded once and shared by the store, every watcher and the backend.
package struct Event: Sendable, Equatable {
    /// The `mvccpb.KeyValue` a watcher gets: for a put the whole record; for a delete the key and the mod revision.
    package var record: Bytes
    /// The key's record before the change; nil when there was none, or when the write was not asked to keep it.
    package var previous: Bytes?
    /// The checksum of the stored record (see `RecordChecksum`).
    package var checksum: UInt32
    private var keyOffset: UInt32
    private var keyCount: UInt32
    package var isDelete: Bool

    package init(isDelete: Bool, record: Bytes, previous: Bytes?, keyRange: Range<Int>, checksum: UInt32) {
        self.record = record
        self.previous = previous
        self.checksum = checksum
        self.isDelete = isDelete
        keyOffset = UInt32(keyRange.lowerBound)
        keyCount = UInt32(keyRange.count)
    }

    /// Where the key's bytes lie in `record`.
    package var keyRange: Range<Int> { Int(keyOffset)..<Int(keyOffset) + Int(keyCount) }

    /// The length of what is stored: `record`, for a delete only the key field at its beginning, as in etcd.
    package var storedCount: Int { isDelete ? Int(keyOffset) + Int(keyCount) : record.count }

    /// What the event keeps in memory, roughly; a previous record counts in full though it is often shared.
    package var footprintBytes: Int { record.count + (previous?.count ?? 0) + 160 }

    /// The key; borrowed.
    package func withKey<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try record.withUnsafeBytes { (bytes) throws(E) -> R in
            try body(UnsafeRawBufferPointer(rebasing: bytes[keyRange]))
        }
    }

    /// The stored bytes; borrowed.
    package func withStored<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try record.withUnsafeBytes { (bytes) throws(E) -> R in
            try body(UnsafeRawBufferPointer(rebasing: bytes[..<storedCount]))
        }
    }
}

extension Event {
    /// A put's event.
    @inline(__always)
    static func put(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, lease: LeaseID, version: Int64,
        createRevision: Int64, at revision: Revision, previous: Bytes?
    ) -> Event {
        let record = KeyValueCodec.encode(
            key: key, createRevision: createRevision, modRevision: revision.main, version: version, value: value,
            lease: lease.rawValue)
        let checksum = record.withUnsafeBytes { RecordChecksum.of(revision, isTombstone: false, $0) }
        let offset = 1 + ProtoSize.varint(UInt64(key.count))
        return Event(
            isDelete: false, record: record, previous: previous, keyRange: offset..<offset + key.count,
            checksum: checksum)
    }

    /// A delete's event.
    static func delete(key: UnsafeRawBufferPointer, at revision: Revision, previous: Bytes?) -> Event {
        let record = KeyValueCodec.encode(
            key: key, createRevision: 0, modRevision: revision.main, version: 0,
            value: UnsafeRawBufferPointer(start: nil, count: 0), lease: 0)
        let offset = 1 + ProtoSize.varint(UInt64(key.count))
        let end = offset + key.count
        let checksum = record.withUnsafeBytes {
            RecordChecksum.of(revision, isTombstone: true, UnsafeRawBufferPointer(rebasing: $0[..<end]))
        }
        return Event(isDelete: true, record: record, previous: previous, keyRange: offset..<end, checksum: checksum)
    }

    /// The event of a record read from a backend; its previous record is not known.
    package init(_ stored: StoredRecord) throws(StoreError) {
        let view: KeyValueView
        do {
            view = try KeyValueView(decoding: stored.bytes)
        } catch {
            throw .corrupted(revision: stored.revision, detail: "not a KeyValue: \(error)")
        }
        if stored.isTombstone {
            self = .delete(key: view.key, at: stored.revision, previous: nil)
        } else {
            let offset = 1 + ProtoSize.varint(UInt64(view.key.count))
            self.init(
                isDelete: false, record: Bytes(copying: stored.bytes), previous: nil,
                keyRange: offset..<offset + view.key.count, checksum: stored.checksum)
        }
    }
}

/// All changes of one main revision, in the order of their sub revisions, which are their positions.
package struct RevisionEvents: Sendable, Equatable {
    package var main: Int64
    package var events: [Event]

    package init(main: Int64, events: [Event]) {
        self.main = main
        self.events = events
    }
}
