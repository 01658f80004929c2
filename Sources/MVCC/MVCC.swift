// Purpose: the multi-version store: key index and tail in memory, revisions and meta in a backend.
// The signatures below are what the other targets code against until the files with the implementations stand.
//
// ---- Values
// enum StoreError: Error, Hashable, Sendable {
//   case compacted(compactRevision: Int64), futureRevision(currentRevision: Int64)
//   case corrupted(revision: Revision?, detail: String)       // a checksum or the order of the file is wrong
//   case noSpace, mapFull, poisoned, closed                   // a commit failed; poisoned: an earlier one did
//   case incompatible(detail: String), system(code: Int32, operation: String)
// }
// struct RangeQuery {            // pointers are borrowed for the call that takes the query, and copied where kept longer
//   var key, end: UnsafeRawBufferPointer   // end: empty = one key; [0] = from key on; end <= key = nothing
//   var limit: Int64 (<= 0 none), revision: Int64 (<= 0 latest)
//   var keysOnly, countOnly: Bool
//   var order: SortOrder (.none .ascend .descend), target: SortTarget (.key .version .create .mod .value)
//   var minModRevision, maxModRevision, minCreateRevision, maxCreateRevision: Int64 (0 = no filter)
//   init(key:end:limit:revision:keysOnly:countOnly:order:target:)     // all but key have defaults
//   static func with<R>(key: Bytes, end: Bytes, _ body: (inout RangeQuery) throws(StoreError) -> R) ...
// }
// struct Event { isDelete, record: Bytes, previous: Bytes?, keyRange: Range<Int>, checksum: UInt32 }
// struct RevisionEvents { main: Int64, events: [Event] }
//
// ---- Store (final class, Sendable)
// static func open(backend: any Backend, options: StoreOptions = .init()) throws(StoreError) -> Store
//   any thread:
// var currentRevision: Int64, compactRevision: Int64 (-1 before the first compaction, as in etcd's HashKV answer)
// var isTailFull: Bool; var keepPrevious: Bool { get set }; func numbers() -> StoreNumbers
// func usage(key:end:) -> (keys: Int, rowBytes: Int)         // O(log n), current revision; per-prefix accounting
// func makeReader() throws(StoreError) -> StoreReader
// func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]?
//   apply thread:
// var appliedIndex: LogIndex, appliedTerm: Term
// func write<R, E>(_ body: (inout WriteTransaction) throws(E) -> R) throws(E) -> R
// func setMeta(_ key: Bytes, _ value: Bytes?); func meta(_ key: Bytes) -> Bytes?
// func metaEntries(prefix: Bytes) -> [(key: Bytes, value: Bytes)]     // in key order
// func entryApplied(index: LogIndex, term: Term)
// func compact(to revision: Int64) throws(StoreError)
// func sweepStep(maxKeys: Int) -> SweepProgress              // .idle .more .finished(Int64) .waiting (for pins/persist)
// func forEachLeasedKey(_ body: (UnsafeRawBufferPointer, LeaseID) -> Void) throws(StoreError)    // after open
// var stateHash: UInt32
//   backend thread:
// func nextBatch(maxBytes: Int) -> PersistBatch?; func persisted(_ batch: PersistBatch)
//   between them: try backend.commit(batch)
//
// ---- WriteTransaction (~Copyable; all its methods may throw .corrupted or .system: then stop the process)
// var revision: Int64 { get }          // what a put now gets: current + 1
// var readRevision: Int64 { get }      // revision a response header shows: current, + 1 once something was written
// func current(_ key: UnsafeRawBufferPointer) -> CurrentVersion?      // createRevision, modRevision, version, recordBytes, hasLease
// mutating func withCurrentRecord<R>(_ key, _ body: (KeyValueView?) -> R) throws(StoreError) -> R   // for VALUE/LEASE compares
// mutating func forEachCurrent(key:, end:, _ body: (CurrentVersion, key) -> Bool)    // range compares; false stops
// mutating func put(key:, value:, lease: LeaseID, wantPrevious: Bool) throws(StoreError) -> PutResult {previous: Bytes?, previousLease: LeaseID}
// mutating func deleteRange(key:, end:, wantPrevious: Bool) throws(StoreError) -> DeleteResult
//        {deleted: Int, previous: [Bytes], detached: [(key: Bytes, lease: LeaseID)]}
// mutating func range(_ query: RangeQuery) throws(StoreError) -> RangePlan    // consume it before the next change
//
// ---- StoreReader (final class; used by one thread at a time, its owner)
// func plan(_ query: RangeQuery) throws(StoreError) -> RangePlan
// func historyEvents(after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool)
//        throws(StoreError) -> (events: [RevisionEvents], through: Int64)
// func hashKV(revision: Int64) throws(StoreError) -> KeyValueHash {hash: UInt32, compactRevision: Int64, hashRevision: Int64}
// func hash() throws(StoreError) -> UInt32
// func scrub(after: Revision?, maxRecords: Int) throws(StoreError) -> Revision?    // nil: the end was reached
//
// ---- RangePlan (~Copyable, used and dropped on its reader's thread; dropping it unpins)
// var queryRevision, headerRevision, count: Int64; var more: Bool; var rowBytes: Int   // rows as field 2 of RangeResponse
// mutating func prepareSlice(maxBytes: Int) throws(StoreError) -> Int          // 0: no rows left; at least one row
// mutating func writeSlice(into: UnsafeMutableRawBufferPointer) throws(StoreError)    // exactly what prepareSlice said
// mutating func writeAll(into: UnsafeMutableRawBufferPointer) throws(StoreError)      // rowBytes bytes
//
// ---- Backends
// LMDBBackend.open(path: String, options:) throws(StoreError); MemoryBackend(): crash(), failCommit(number:outcome:)
// protocol Backend: AnyObject, Sendable { makeReader, commit(_: PersistBatch), sizes, close() }
