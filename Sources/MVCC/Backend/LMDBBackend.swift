import CLMDB
import CPlatform
import Primitives
import Synchronization

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// How an LMDB file is used.
package struct LMDBOptions: Sendable {
    /// The address range reserved for the file: its size can never be more. Reserving costs nothing: pages are mapped
    /// when touched and the file grows as it is written. So the range is fixed and far above any sensible size, and
    /// need not grow while readers are at work. Halved where the system grants less (a limit on address space).
    package var mapBytes = 256 << 30
    /// Not tried below this size.
    package var mapBytesMin = 1 << 30
    /// Readers at the same time, at most.
    package var readersMax: UInt32 = 512
    /// For a file larger than memory: the kernel does not read neighbours of a page. Slows down the scan at opening.
    package var isReadAheadOff = false
    /// Commits without waiting for the disk. Unsafe: for tests and for etcd's `--unsafe-no-fsync`.
    package var isSyncOff = false
    /// With `isSyncOff`: the kernel begins to write out what a commit wrote as soon as it is over, instead of half a minute
    /// later, so that whoever syncs the whole file in the end does not wait for all of it.
    package var isWritebackEager = false

    package init() {}
}

/// One LMDB file with two tables, `revisions` and `meta`.
///
/// Pages are written with `pwrite`, not through the map (no `MDB_WRITEMAP`): LMDB never overwrites a page that the last
/// commit refers to, and its root page, written last and synced, is what makes a commit valid. So a process that dies,
/// at any instruction, leaves the last commit; and a stray write of this process cannot reach the file, because the map
/// is read-only. Free pages are used again by later commits, once no image that sees them is open; `releaseSpace` gives
/// their space back to the file system.
package final class LMDBBackend: Backend, @unchecked Sendable {
    // The environment is safe to use from any thread; `isPoisoned` is atomic; commits come from one thread, the backend
    // thread, which LMDB's own writer lock enforces.
    package let path: String
    let environment: OpaquePointer
    let revisions: MDB_dbi
    let meta: MDB_dbi
    let pageBytes: Int
    private let isWritebackEager: Bool
    let isPoisoned = Atomic<Bool>(false)
    private let isClosed = Atomic<Bool>(false)

    private init(
        path: String, environment: OpaquePointer, revisions: MDB_dbi, meta: MDB_dbi, pageBytes: Int,
        isWritebackEager: Bool
    ) {
        self.path = path
        self.isWritebackEager = isWritebackEager
        self.environment = environment
        self.revisions = revisions
        self.meta = meta
        self.pageBytes = pageBytes
    }

    deinit { mdb_env_close(environment) }

    /// Opens or makes the file at `path`; beside it LMDB keeps a lock file, `path` with `-lock`. One process at a time:
    /// the caller locks the directory.
    package static func open(path: String, options: LMDBOptions = LMDBOptions()) throws(StoreError) -> LMDBBackend {
        let environment = try openEnvironment(path: path, options: options)
        var transaction: OpaquePointer?
        do throws(StoreError) {
            var stale: Int32 = 0
            try LMDBError.check(mdb_reader_check(environment, &stale), "mdb_reader_check")
            try extendToLastPage(path: path, environment)
            try LMDBError.check(mdb_txn_begin(environment, nil, 0, &transaction), "mdb_txn_begin")
            var revisions: MDB_dbi = 0
            var meta: MDB_dbi = 0
            try LMDBError.check(
                mdb_dbi_open(transaction, "revisions", UInt32(MDB_CREATE), &revisions), "mdb_dbi_open revisions")
            try LMDBError.check(mdb_dbi_open(transaction, "meta", UInt32(MDB_CREATE), &meta), "mdb_dbi_open meta")
            var statistics = MDB_stat()
            try LMDBError.check(mdb_stat(transaction, revisions, &statistics), "mdb_stat")
            let committed = transaction
            transaction = nil
            try LMDBError.check(mdb_txn_commit(committed), "mdb_txn_commit of the tables")
            return LMDBBackend(
                path: path, environment: environment, revisions: revisions, meta: meta,
                pageBytes: Int(statistics.ms_psize), isWritebackEager: options.isWritebackEager)
        } catch {
            if let transaction { mdb_txn_abort(transaction) }
            mdb_env_close(environment)
            throw error
        }
    }

    private static func openEnvironment(path: String, options: LMDBOptions) throws(StoreError) -> OpaquePointer {
        var mapBytes = max(options.mapBytes, 1 << 16)
        while true {
            var created: OpaquePointer?
            try LMDBError.check(mdb_env_create(&created), "mdb_env_create")
            guard let environment = created else { throw .system(code: ENOMEM, operation: "mdb_env_create") }
            var code = mdb_env_set_mapsize(environment, mapBytes)
            if code == 0 { code = mdb_env_set_maxdbs(environment, 4) }
            if code == 0 { code = mdb_env_set_maxreaders(environment, options.readersMax) }
            var flags = UInt32(MDB_NOSUBDIR) | UInt32(MDB_NOTLS)
            if options.isReadAheadOff { flags |= UInt32(MDB_NORDAHEAD) }
            if options.isSyncOff { flags |= UInt32(MDB_NOSYNC) }
            if code == 0 { code = mdb_env_open(environment, path, flags, 0o600) }
            if code == 0 { return environment }
            mdb_env_close(environment)
            guard code == ENOMEM, mapBytes / 2 >= options.mapBytesMin else {
                throw LMDBError.make(code, "opening \(path)")
            }
            mapBytes /= 2
        }
    }

    /// Gives the file the length that its newest root speaks of. A page past the end that was never written is free, and
    /// nobody looks at it; one that was cut off is then found as damaged, where the access itself would end the process
    /// by a signal. Source: LMDB reads through a map of the file.
    private static func extendToLastPage(path: String, _ environment: OpaquePointer) throws(StoreError) {
        var info = MDB_envinfo()
        var statistics = MDB_stat()
        var file = stat()
        try LMDBError.check(mdb_env_info(environment, &info), "mdb_env_info")
        try LMDBError.check(mdb_env_stat(environment, &statistics), "mdb_env_stat")
        guard stat(path, &file) == 0 else { throw .system(code: errno, operation: "stat \(path)") }
        let bytes = off_t(info.me_last_pgno + 1) * off_t(statistics.ms_psize)
        guard file.st_size < bytes else { return }
        guard truncate(path, bytes) == 0 else { throw .system(code: errno, operation: "extending \(path)") }
    }

    package func close() { isClosed.store(true, ordering: .releasing) }

    var isOpen: Bool { !isClosed.load(ordering: .acquiring) }

    package func makeReader() throws(StoreError) -> any BackendReader {
        if !isOpen { throw .closed }
        return try LMDBReader(self)
    }

    package var sizes: BackendSizes {
        guard isOpen else { return BackendSizes(fileBytes: 0, inUseBytes: 0) }
        var info = MDB_envinfo()
        var transaction: OpaquePointer?
        guard mdb_env_info(environment, &info) == 0,
            mdb_txn_begin(environment, nil, UInt32(MDB_RDONLY), &transaction) == 0
        else { return BackendSizes(fileBytes: 0, inUseBytes: 0) }
        defer { mdb_txn_abort(transaction) }
        // Two pages at the beginning of the file are LMDB's roots.
        var pages = 2
        for table in [MDB_dbi(0), MDB_dbi(1), revisions, meta] {
            var statistics = MDB_stat()
            guard mdb_stat(transaction, table, &statistics) == 0 else { continue }
            pages += statistics.ms_branch_pages + statistics.ms_leaf_pages + statistics.ms_overflow_pages
        }
        let inUseBytes = pages * pageBytes
        let fileBytes = occupiedBytes ?? (info.me_last_pgno + 1) * pageBytes
        return BackendSizes(fileBytes: max(fileBytes, inUseBytes), inUseBytes: inUseBytes)
    }

    /// What the file takes of the disk: its length without the holes, and without what some file systems reserve behind
    /// its end.
    private var occupiedBytes: Int? {
        var descriptor: Int32 = -1
        var file = stat()
        guard mdb_env_get_fd(environment, &descriptor) == 0, fstat(descriptor, &file) == 0 else { return nil }
        return min(Int(file.st_blocks) * 512, Int(file.st_size))
    }

    // MARK: Committing

    package func commit(_ batch: PersistBatch) throws(StoreError) {
        if isPoisoned.load(ordering: .acquiring) { throw .poisoned }
        if !isOpen { throw .closed }
        do throws(StoreError) {
            try store(batch)
        } catch {
            // Where a page found no room, nothing has changed: what was written of the others are free pages, and the next
            // attempt writes all of its own. (A root that cannot be written LMDB takes as the end itself.) Else, what LMDB
            // and the kernel now hold in memory is not known to equal what is on disk.
            if error != .noSpace { isPoisoned.store(true, ordering: .releasing) }
            throw error.located(path)
        }
    }

    private func store(_ batch: PersistBatch) throws(StoreError) {
        var transaction: OpaquePointer?
        try LMDBError.check(mdb_txn_begin(environment, nil, 0, &transaction), "mdb_txn_begin")
        do throws(StoreError) {
            var cursor: OpaquePointer?
            try LMDBError.check(mdb_cursor_open(transaction, revisions, &cursor), "mdb_cursor_open")
            defer { mdb_cursor_close(cursor) }
            for revision in batch.deletions { try delete(revision, cursor) }
            for entry in batch.revisions {
                for (sub, event) in entry.events.enumerated() {
                    let revision = Revision(main: entry.main, sub: UInt32(sub))
                    try append(revision, count: event.storedCount, cursor) { StoredValue.write(event, to: $0) }
                }
            }
            for record in batch.imageRecords {
                try append(record.revision, count: record.count, cursor) { StoredValue.write(record, to: $0) }
            }
        } catch {
            mdb_txn_abort(transaction)
            throw error
        }
        do throws(StoreError) {
            for change in batch.meta { try apply(change, transaction) }
        } catch {
            mdb_txn_abort(transaction)
            throw error
        }
        let code = mdb_txn_commit(transaction)
        // LMDB takes a write that the end of the disk cut short for a failed one.
        if code == EIO, isDiskFull { throw .noSpace }
        try LMDBError.check(code, "mdb_txn_commit")
        if isWritebackEager { try beginWriteback() }
    }

    /// Whether the disk has so little room left that a write may have been cut short for it.
    private var isDiskFull: Bool {
        var room: UInt64 = 0
        return martlet_free_bytes(path, &room) == 0 && room < 1 << 20
    }

    private func beginWriteback() throws(StoreError) {
        var descriptor: Int32 = -1
        try LMDBError.check(mdb_env_get_fd(environment, &descriptor), "mdb_env_get_fd")
        let result = martlet_begin_writeback(descriptor)
        if result < 0 { throw LMDBError.make(-result, "beginning to write out \(path)") }
    }

    private func delete(_ revision: Revision, _ cursor: OpaquePointer?) throws(StoreError) {
        var space = (UInt64(0), UInt64(0))
        let code = withUnsafeMutableBytes(of: &space) { buffer in
            RevisionKey.write(revision, to: buffer.baseAddress.unsafelyUnwrapped)
            var key = MDB_val(mv_size: RevisionKey.byteCount, mv_data: buffer.baseAddress)
            let found = mdb_cursor_get(cursor, &key, nil, MDB_SET)
            return found == 0 ? mdb_cursor_del(cursor, 0) : found
        }
        if code == MDB_NOTFOUND { throw .corrupted(revision: revision, detail: "a record to remove is missing") }
        try LMDBError.check(code, "removing revision \(revision.main)")
    }

    @inline(__always)
    private func append(
        _ revision: Revision, count: Int, _ cursor: OpaquePointer?, _ write: (UnsafeMutableRawPointer) -> Void
    ) throws(StoreError) {
        var space = (UInt64(0), UInt64(0))
        let code = withUnsafeMutableBytes(of: &space) { buffer in
            RevisionKey.write(revision, to: buffer.baseAddress.unsafelyUnwrapped)
            var key = MDB_val(mv_size: RevisionKey.byteCount, mv_data: buffer.baseAddress)
            // LMDB makes the room and the record is written there: one copy.
            var value = MDB_val(mv_size: StoredValue.headBytes + count, mv_data: nil)
            let code = mdb_cursor_put(cursor, &key, &value, UInt32(MDB_APPEND) | UInt32(MDB_RESERVE))
            if code == 0 { write(value.mv_data) }
            return code
        }
        if code == MDB_KEYEXIST {
            throw .corrupted(revision: revision, detail: "the file already has this revision or a later one")
        }
        try LMDBError.check(code, "appending revision \(revision.main)")
    }

    private func apply(_ change: MetaChange, _ transaction: OpaquePointer?) throws(StoreError) {
        let code = change.key.withUnsafeBytes { keyBytes in
            var key = MDB_val(mv_size: keyBytes.count, mv_data: UnsafeMutableRawPointer(mutating: keyBytes.baseAddress))
            guard let content = change.value else {
                let code = mdb_del(transaction, meta, &key, nil)
                return code == MDB_NOTFOUND ? 0 : code
            }
            return content.withUnsafeBytes { bytes in
                var value = MDB_val(mv_size: 4 + bytes.count, mv_data: nil)
                let code = mdb_put(transaction, meta, &key, &value, UInt32(MDB_RESERVE))
                if code == 0, let target = value.mv_data {
                    target.storeBytes(of: MetaValue.checksum(keyBytes, bytes).littleEndian, as: UInt32.self)
                    if let base = bytes.baseAddress { (target + 4).copyMemory(from: base, byteCount: bytes.count) }
                }
                return code
            }
        }
        try LMDBError.check(code, "writing meta entry \(change.key)")
    }
}
