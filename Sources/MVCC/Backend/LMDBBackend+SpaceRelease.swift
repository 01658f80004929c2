import CLMDB
import Primitives
import Synchronization

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// Giving the space of free pages back.
///
/// Which pages. LMDB notes in a table of its own which pages each commit has freed: key the commit's number T, value the
/// number of pages and their page numbers, descending. Such a page belongs to images before T and to none from T on. It
/// may be written over, or made a hole, once nobody can look at an image before T any more:
/// - no reader does: T is not above the oldest image that is open in any process (LMDB's table of readers);
/// - no crash leads back to one: of the two roots in the file the newest is that of commit N, the other that of N-1, and
///   no other can become valid again. LMDB itself writes over pages with T < N. A hole is made for T < N - 2 only: a
///   mistake of one commit, here or there, would do no harm.
/// A reader that opens an image meanwhile gets commit N. The list is read, and the holes are made, with LMDB's writer
/// lock held, so that no page is used again between the two; a list that was read is good for as long as N is the newest.
///
/// What is read of a free page: nothing. Without `MDB_WRITEMAP` LMDB makes a page in memory, from nothing or from the
/// page that it replaces, and writes all of it. The number of pages in the file never falls in LMDB: what is behind the
/// last of them was written by a commit that failed, and is given back too.
///
/// The list has no checksum of its own. It is trusted only if it is in order, has no page twice and none that cannot be.
extension LMDBBackend {
    /// Does one slice of a pass. Backend thread. Throws what a commit throws, and `.corrupted` for a list that cannot be;
    /// a file system that refuses ends the pass (`SpaceRelease.failure`).
    package func releaseSpace(_ pass: inout SpaceRelease) throws(StoreError) {
        try releaseSpace(&pass, runsMax: SpaceRelease.sliceRunsMax, bytesMax: SpaceRelease.sliceBytesMax)
    }

    /// As the other, with other limits.
    func releaseSpace(_ pass: inout SpaceRelease, runsMax: Int, bytesMax: Int) throws(StoreError) {
        if isPoisoned.load(ordering: .acquiring) { throw .poisoned }
        if !isOpen { throw .closed }
        if pass.isFinished { return }
        if pass.commitsLeft > 0 {
            pass.commitsLeft -= 1
            return try commitNothing()
        }
        var writing: OpaquePointer?
        try LMDBError.check(mdb_txn_begin(environment, nil, 0, &writing), "mdb_txn_begin")
        defer { mdb_txn_abort(writing) }
        let newest = mdb_txn_id(writing) - 1
        if pass.snapshot != newest { try collect(&pass, newest) }
        try makeHoles(&pass, runsMax: runsMax, bytesMax: bytesMax)
    }

    // MARK: The list of free pages

    private func collect(_ pass: inout SpaceRelease, _ newest: Int) throws(StoreError) {
        let limit = min(oldestImage(), newest - SpaceRelease.marginCommits)
        var info = MDB_envinfo()
        try LMDBError.check(mdb_env_info(environment, &info), "mdb_env_info")
        pass.pages = PageSet(limit: info.me_last_pgno + 1)
        pass.nextRecord = nil
        pass.snapshot = newest
        // LMDB shows the list to read transactions only; this one's image is that of the newest commit.
        var reading: OpaquePointer?
        try LMDBError.check(
            mdb_txn_begin(environment, nil, UInt32(MDB_RDONLY), &reading), "mdb_txn_begin for the list of free pages")
        defer { mdb_txn_abort(reading) }
        invariant(mdb_txn_id(reading) == newest, "a commit beside the backend thread's")
        var cursor: OpaquePointer?
        try LMDBError.check(mdb_cursor_open(reading, 0, &cursor), "mdb_cursor_open of the list of free pages")
        defer { mdb_cursor_close(cursor) }
        var value = MDB_val()
        var (code, record) = seek(cursor, pass.firstRecord, &value)
        while code == 0, record < limit {
            if pass.pages.count >= SpaceRelease.collectedPagesMax {
                pass.nextRecord = record
                return
            }
            try add(value, of: record, to: &pass.pages)
            var key = MDB_val()
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            if code == 0 { record = key.mv_data.loadUnaligned(as: Int.self) }
        }
        if code != 0, code != MDB_NOTFOUND { throw LMDBError.make(code, "reading the list of free pages") }
    }

    private func seek(_ cursor: OpaquePointer?, _ first: Int, _ value: inout MDB_val) -> (code: Int32, record: Int) {
        var wanted = first
        return withUnsafeMutableBytes(of: &wanted) { bytes in
            var key = MDB_val(mv_size: bytes.count, mv_data: bytes.baseAddress)
            let code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            return (code, code == 0 ? key.mv_data.loadUnaligned(as: Int.self) : 0)
        }
    }

    private func add(_ value: MDB_val, of record: Int, to pages: inout PageSet) throws(StoreError) {
        let wordBytes = MemoryLayout<Int>.size
        guard value.mv_size >= wordBytes, let base = UnsafeRawPointer(value.mv_data) else {
            throw damagedList(record, "\(value.mv_size) bytes")
        }
        let count = base.loadUnaligned(as: Int.self)
        guard count >= 0, count < value.mv_size / wordBytes else { throw damagedList(record, "\(count) pages") }
        var previous = pages.limit
        for place in 0..<count {
            let page = base.loadUnaligned(fromByteOffset: (place + 1) * wordBytes, as: Int.self)
            // The first two pages are the roots.
            guard page < previous, page >= 2, pages.insert(page) else { throw damagedList(record, "page \(page)") }
            previous = page
        }
    }

    private func damagedList(_ record: Int, _ detail: String) -> StoreError {
        .corrupted(revision: nil, detail: "the list of free pages, record \(record), has \(detail)", file: path)
    }

    /// The number of the oldest image that is open, in any process; `.max` when none is, 0 when that cannot be told.
    private func oldestImage() -> Int {
        var oldest = Int.max
        let code = mdb_reader_list(
            environment,
            { line, context in
                guard let line, let oldest = context?.assumingMemoryBound(to: Int.self) else { return -1 }
                let image = LMDBBackend.image(ofReaderLine: String(cString: line))
                oldest.pointee = min(oldest.pointee, image)
                return 0
            }, &oldest)
        return code < 0 ? 0 : oldest
    }

    /// The image that a line of LMDB's list of readers speaks of: process, thread, and a number or `-`. `.max` when the
    /// line speaks of none, 0 when it cannot be read.
    static func image(ofReaderLine line: String) -> Int {
        let words = line.split { $0 == " " || $0 == "\n" }
        // The heading, or the sentence that there is nobody.
        guard let first = words.first, Int(first) != nil else { return .max }
        guard words.count == 3 else { return 0 }
        return words[2] == "-" ? .max : Int(words[2]) ?? 0
    }

    // MARK: Holes

    private func makeHoles(_ pass: inout SpaceRelease, runsMax: Int, bytesMax: Int) throws(StoreError) {
        var descriptor: Int32 = -1
        try LMDBError.check(mdb_env_get_fd(environment, &descriptor), "mdb_env_get_fd")
        var runs = 0
        var bytes = 0
        while let run = pass.pages.run(from: pass.nextPage) {
            guard runs < runsMax, bytes < bytesMax else { return }
            runs += 1
            let end = min(run.upperBound, run.lowerBound + max(1, (bytesMax - bytes) / pageBytes))
            let range = run.lowerBound * pageBytes..<end * pageBytes
            let before = pass.releasedBytes
            let next = makeHole(range, descriptor, &pass)
            if pass.isFinished { return }
            bytes += pass.releasedBytes - before
            pass.nextPage = min(next / pageBytes, pass.pages.limit)
        }
        if let next = pass.nextRecord {
            (pass.firstRecord, pass.nextRecord, pass.nextPage, pass.snapshot) = (next, nil, 0, nil)
            return
        }
        var file = stat()
        var rest = pass.pages.limit * pageBytes
        let length = fstat(descriptor, &file) == 0 ? Int(file.st_size) : 0
        while rest < length, !pass.isFinished { rest = makeHole(rest..<length, descriptor, &pass) }
        pass.isFinished = true
    }

    /// Gives the space of the first of these bytes that take any back, up to where they take none; returns where to go on.
    private func makeHole(_ range: Range<Int>, _ descriptor: Int32, _ pass: inout SpaceRelease) -> Int {
        let data = Int(martlet_next_data(descriptor, Int64(range.lowerBound)))
        // Nothing before it takes any space.
        guard data < range.upperBound else { return data }
        let start = data - data % pageBytes
        let hole = Int(martlet_next_hole(descriptor, Int64(data)))
        let isHoleWithin = hole < range.upperBound - pageBytes
        let end = isHoleWithin ? (hole + pageBytes - 1) / pageBytes * pageBytes : range.upperBound
        let code = martlet_punch_hole(descriptor, Int64(start), Int64(end - start))
        if code < 0 {
            pass.failure = SpaceRelease.Failure(
                words: LMDBError.text(-code), isUnsupported: [EOPNOTSUPP, ENOSYS, ENODEV].contains(-code))
            pass.isFinished = true
        }
        pass.releasedBytes += code < 0 ? 0 : end - start
        return end
    }

    // MARK: Commits without content

    /// Writes one entry again as it is: whatever was freed before has then been free for one commit longer.
    private func commitNothing() throws(StoreError) {
        do throws(StoreError) { try rewriteFormat() } catch {
            if error != .noSpace { isPoisoned.store(true, ordering: .releasing) }
            throw error
        }
    }

    private func rewriteFormat() throws(StoreError) {
        var transaction: OpaquePointer?
        try LMDBError.check(mdb_txn_begin(environment, nil, 0, &transaction), "mdb_txn_begin")
        let code = MetaKey.format.withUnsafeBytes { bytes -> Int32 in
            var key = MDB_val(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
            var value = MDB_val()
            let found = mdb_get(transaction, meta, &key, &value)
            // A file that nothing was stored in has nothing to give back.
            if found == MDB_NOTFOUND { return 0 }
            if found != 0 { return found }
            // What was found is in the page that the write replaces.
            var copy = Array(UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size))
            return copy.withUnsafeMutableBytes { content in
                var value = MDB_val(mv_size: content.count, mv_data: content.baseAddress)
                return mdb_put(transaction, meta, &key, &value, 0)
            }
        }
        if code != 0 {
            mdb_txn_abort(transaction)
            throw LMDBError.make(code, "writing the format again")
        }
        try LMDBError.check(mdb_txn_commit(transaction), "mdb_txn_commit")
    }
}
