import Primitives
import Wire

/// A row of a prepared slice: its record in memory, or where to read it.
struct RowReference {
    var record: Bytes?
    var main: Int64
    var sub: UInt32
    var recordBytes: UInt32

    var revision: Revision { Revision(main: main, sub: sub) }
}

/// A row of an answer that had to be sorted.
struct SortedRow {
    var key: Int64
    /// Its place in key order, which decides between equal sort keys.
    var order: Int
    var version: KeyVersion
    /// The length of its row in the answer.
    var rowBytes: Int
}

/// What a plan keeps between its calls. Pooled by its reader, so that a plan in steady state allocates nothing; behind
/// a plain pointer, because the dynamic exclusivity checks on a class's fields were a sixth of the time of a point
/// read.
struct RangeState {
    enum Mode { case done, natural, sorted }

    var mode = Mode.done
    var revision: Int64 = 0
    var isPinned = false
    var descending = false
    var keysOnly = false
    var filter = RevisionFilter.all
    /// Rows that are still to be prepared, at most.
    var rowsLeft = 0
    /// What is left of the span.
    var start: [UInt8] = []
    var end: [UInt8] = []
    var hasEnd = false
    var sorted: [SortedRow] = []
    var sortedNext = 0

    /// The prepared slice: references, or for keys alone the rows themselves.
    var rows: [RowReference] = []
    var encoded: [UInt8] = []
    var sliceBytes = 0
    var isPrepared = false

    /// Forgets all but the memory; false when that is too much to keep.
    mutating func reset() -> Bool {
        mode = .done
        rows.removeAll(keepingCapacity: true)
        encoded.removeAll(keepingCapacity: true)
        sorted = []
        sliceBytes = 0
        isPrepared = false
        return rows.capacity <= 4096 && encoded.capacity <= 64 << 10 && start.capacity + end.capacity <= 16 << 10
    }

    mutating func setSpan(_ span: KeySpan) {
        start.removeAll(keepingCapacity: true)
        start.append(contentsOf: span.start)
        end.removeAll(keepingCapacity: true)
        hasEnd = span.end != nil
        if let bytes = span.end { end.append(contentsOf: bytes) }
    }

    /// The span that begins (or, descending, ends) with `entry`, which is still to come.
    mutating func resume(at entry: UnsafeMutablePointer<KeyEntry>) {
        if descending {
            end.removeAll(keepingCapacity: true)
            end.append(contentsOf: entry.pointee.keyBytes)
            // The smallest key above it: it is itself still part of the span.
            end.append(0)
            hasEnd = true
        } else {
            start.removeAll(keepingCapacity: true)
            start.append(contentsOf: entry.pointee.keyBytes)
        }
    }

    @inline(__always)
    func withSpan<R>(_ body: (KeySpan) -> R) -> R {
        start.withUnsafeBytes { start in
            end.withUnsafeBytes { end in body(KeySpan(start: start, end: hasEnd ? end : nil)) }
        }
    }
}

/// A row that is the key and its numbers, without value and lease.
enum KeyOnlyRow {
    static func recordBytes(keyCount: Int, _ version: KeyVersion) -> Int {
        KeyValueCodec.encodedSize(
            keyCount: keyCount, createRevision: version.createRevision, modRevision: version.main,
            version: version.version, valueCount: 0, lease: 0)
    }

    static func rowBytes(keyCount: Int, _ version: KeyVersion) -> Int {
        ProtoSize.message(2, count: recordBytes(keyCount: keyCount, version))
    }

    static func write(_ key: UnsafeRawBufferPointer, _ version: KeyVersion, to writer: inout ProtoWriter) {
        writer.messageHeader(2, count: recordBytes(keyCount: key.count, version))
        KeyValueCodec.write(
            to: &writer, key: key, createRevision: version.createRevision, modRevision: version.main,
            version: version.version, value: UnsafeRawBufferPointer(start: nil, count: 0), lease: 0)
    }
}
