// MVCC: the multi-version store. What a key is at any revision since the last compaction, in memory and on disk.
//
// Purpose. `Store` holds a `KeyIndex` (every key, every version: where its record is and how long), a `Tail` (the
// newest revisions' records, in memory) and a `Backend` (the older records: LMDB, or memory in the simulator). A stored
// record is the protobuf `mvccpb.KeyValue` in etcd's canonical bytes; a tombstone's record is `KeyValue{key}`.
//
// Owner threads. The apply thread changes the store; the backend thread persists batches; any number of threads read,
// each through a `StoreReader` and the `RangePlan`s it makes. One short lock guards index, tail and numbers.
//
// Invariants.
// - Main revisions are consecutive: the tail holds `tail.first ... current` without gaps.
// - Every record is in the tail, or in the backend, or in both: it leaves the tail only after its commit.
// - A change is made at revision `current + 1`, which no reader asks for, and published by one assignment.
// - Compaction refuses readers first (`compact`), and removes later (`sweepStep`): from the index, then from the
//   backend; never what a reader at or above min(compact revision, oldest pinned revision) sees, and never before the
//   compaction itself is persisted. A tombstone written at the compact revision stays.
// - A batch ends where an entry ends, and carries the applied index, the revision and all meta changes of its entries.
//
// File format (LMDB, two tables).
//   revisions: key = main revision (8 bytes) and sub revision (4 bytes), big-endian;
//              value = CRC-32C (4 bytes, little-endian) over key, flags and record; flags (1 byte,
//              1 = tombstone); record.
//   meta:      key = name; value = CRC-32C (4 bytes, little-endian) over name and content; content. See `MetaKey`.
