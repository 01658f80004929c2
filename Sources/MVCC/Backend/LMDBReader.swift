import CLMDB
import Primitives

/// A read transaction and a cursor, made once and renewed for each image.
final class LMDBReader: BackendReader {
    private let backend: LMDBBackend
    private let transaction: OpaquePointer
    private let cursor: OpaquePointer
    private var isOpen = false

    init(_ backend: LMDBBackend) throws(StoreError) {
        var transaction: OpaquePointer?
        try LMDBError.check(
            mdb_txn_begin(backend.environment, nil, UInt32(MDB_RDONLY), &transaction), "mdb_txn_begin of a reader")
        var cursor: OpaquePointer?
        let code = mdb_cursor_open(transaction, backend.revisions, &cursor)
        guard code == 0, let transaction, let cursor else {
            mdb_txn_abort(transaction)
            throw LMDBError.make(code, "mdb_cursor_open of a reader")
        }
        mdb_txn_reset(transaction)
        self.backend = backend
        self.transaction = transaction
        self.cursor = cursor
    }

    deinit {
        mdb_cursor_close(cursor)
        mdb_txn_abort(transaction)
    }

    func begin() throws(StoreError) {
        invariant(!isOpen, "an image is open")
        if !backend.isOpen { throw .closed }
        try LMDBError.check(mdb_txn_renew(transaction), "mdb_txn_renew")
        let code = mdb_cursor_renew(transaction, cursor)
        if code != 0 {
            mdb_txn_reset(transaction)
            throw LMDBError.make(code, "mdb_cursor_renew")
        }
        isOpen = true
    }

    func end() {
        if isOpen { mdb_txn_reset(transaction) }
        isOpen = false
    }

    func record(at revision: Revision) throws(StoreError) -> StoredRecord? {
        try find(revision, MDB_SET_KEY, "reading revision \(revision.main)")
    }

    func seek(_ revision: Revision) throws(StoreError) -> StoredRecord? {
        try find(revision, MDB_SET_RANGE, "seeking revision \(revision.main)")
    }

    func next() throws(StoreError) -> StoredRecord? {
        invariant(isOpen, "a read without an image")
        var key = MDB_val()
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        if code == MDB_NOTFOUND { return nil }
        if _slowPath(code != 0) { throw failure(code, "reading the next revision") }
        return try decode(key, value)
    }

    @inline(__always)
    private func find(
        _ revision: Revision, _ operation: MDB_cursor_op, _ what: @autoclosure () -> String
    ) throws(StoreError) -> StoredRecord? {
        invariant(isOpen, "a read without an image")
        var space = (UInt64(0), UInt64(0))
        var key = MDB_val()
        var value = MDB_val()
        let code = withUnsafeMutableBytes(of: &space) { buffer in
            RevisionKey.write(revision, to: buffer.baseAddress.unsafelyUnwrapped)
            key = MDB_val(mv_size: RevisionKey.byteCount, mv_data: buffer.baseAddress)
            return mdb_cursor_get(cursor, &key, &value, operation)
        }
        if code == MDB_NOTFOUND { return nil }
        if _slowPath(code != 0) { throw failure(code, what()) }
        return try decode(key, value)
    }

    private func failure(_ code: Int32, _ operation: String) -> StoreError {
        LMDBError.make(code, operation).located(backend.path)
    }

    @inline(__always)
    private func decode(_ key: MDB_val, _ value: MDB_val) throws(StoreError) -> StoredRecord {
        let bytes = UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size)
        guard let revision = RevisionKey.read(bytes) else {
            throw .corrupted(
                revision: nil, detail: "a revision's key has \(key.mv_size) bytes", file: backend.path)
        }
        do throws(StoreError) { return try StoredValue.decode(revision, value) } catch {
            throw error.located(backend.path)
        }
    }

    func recordCount() throws(StoreError) -> Int {
        var statistics = MDB_stat()
        try LMDBError.check(mdb_stat(transaction, backend.revisions, &statistics), "mdb_stat")
        return statistics.ms_entries
    }

    func meta(_ key: Bytes) throws(StoreError) -> Bytes? {
        invariant(isOpen, "a read without an image")
        var value = MDB_val()
        let code = key.withUnsafeBytes { bytes in
            var key = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            return mdb_get(transaction, backend.meta, &key, &value)
        }
        if code == MDB_NOTFOUND { return nil }
        if code != 0 { throw failure(code, "reading meta entry \(key)") }
        return try decode(key, value)
    }

    func allMeta() throws(StoreError) -> [(key: Bytes, value: Bytes)] {
        invariant(isOpen, "a read without an image")
        var opened: OpaquePointer?
        try LMDBError.check(mdb_cursor_open(transaction, backend.meta, &opened), "mdb_cursor_open of the meta table")
        defer { mdb_cursor_close(opened) }
        var result: [(key: Bytes, value: Bytes)] = []
        var key = MDB_val()
        var value = MDB_val()
        var code = mdb_cursor_get(opened, &key, &value, MDB_FIRST)
        while code == 0 {
            let name = Bytes(copying: UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size))
            result.append((name, try decode(name, value)))
            code = mdb_cursor_get(opened, &key, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { throw failure(code, "reading the meta table") }
        return result
    }

    private func decode(_ key: Bytes, _ value: MDB_val) throws(StoreError) -> Bytes {
        do throws(StoreError) { return try MetaValue.decode(key, value) } catch { throw error.located(backend.path) }
    }
}
