import CLMDB
import Primitives

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// LMDB's result codes as store errors.
enum LMDBError {
    static func make(_ code: Int32, _ operation: String) -> StoreError {
        switch code {
        case ENOSPC, EDQUOT: .noSpace
        case MDB_MAP_FULL: .mapFull
        case MDB_CORRUPTED, MDB_PAGE_NOTFOUND: .corrupted(revision: nil, detail: "\(operation): \(text(code))")
        case MDB_VERSION_MISMATCH, MDB_INVALID: .incompatible(detail: "\(operation): \(text(code))")
        // A file that is no store of LMDB's is an invalid argument to it.
        case EINVAL: .system(code: code, operation: "\(operation): \(text(code)), perhaps a damaged file")
        default: .system(code: code, operation: "\(operation): \(text(code))")
        }
    }

    @inline(__always)
    static func check(_ code: Int32, _ operation: @autoclosure () -> String) throws(StoreError) {
        if _slowPath(code != 0) { throw make(code, operation()) }
    }

    static func text(_ code: Int32) -> String { String(cString: mdb_strerror(code)) }
}

/// The form of a value of the revisions table: checksum (4 bytes, little-endian), flags (1 byte), record.
enum StoredValue {
    static let headBytes = 5

    static func decode(_ revision: Revision, _ value: MDB_val) throws(StoreError) -> StoredRecord {
        guard value.mv_size >= headBytes, let base = UnsafeRawPointer(value.mv_data) else {
            throw .corrupted(revision: revision, detail: "the value has \(value.mv_size) bytes")
        }
        let flags = base.load(fromByteOffset: 4, as: UInt8.self)
        let record = StoredRecord(
            revision: revision, isTombstone: flags & RecordChecksum.tombstoneFlag != 0,
            checksum: UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)),
            bytes: UnsafeRawBufferPointer(start: base + headBytes, count: value.mv_size - headBytes))
        if flags & ~RecordChecksum.tombstoneFlag != 0 {
            throw .corrupted(revision: revision, detail: "flags \(flags) are unknown")
        }
        try record.verify()
        return record
    }

    static func write(_ event: Event, to target: UnsafeMutableRawPointer) {
        event.withStored { write($0, checksum: event.checksum, isTombstone: event.isDelete, to: target) }
    }

    static func write(_ record: ImageRecord, to target: UnsafeMutableRawPointer) {
        record.withStored { write($0, checksum: $1, isTombstone: record.isTombstone, to: target) }
    }

    @inline(__always)
    private static func write(
        _ bytes: UnsafeRawBufferPointer, checksum: UInt32, isTombstone: Bool, to target: UnsafeMutableRawPointer
    ) {
        target.storeBytes(of: checksum.littleEndian, as: UInt32.self)
        target.storeBytes(of: isTombstone ? RecordChecksum.tombstoneFlag : 0, toByteOffset: 4, as: UInt8.self)
        if let base = bytes.baseAddress { (target + headBytes).copyMemory(from: base, byteCount: bytes.count) }
    }
}

/// The form of a value of the meta table: checksum over key and value (4 bytes, little-endian), value.
enum MetaValue {
    static func checksum(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> UInt32 {
        CRC32C.checksum(value, continuing: CRC32C.checksum(key))
    }

    static func decode(_ key: Bytes, _ value: MDB_val) throws(StoreError) -> Bytes {
        guard value.mv_size >= 4, let base = UnsafeRawPointer(value.mv_data) else {
            throw .corrupted(revision: nil, detail: "meta entry \(key) has \(value.mv_size) bytes")
        }
        let content = UnsafeRawBufferPointer(start: base + 4, count: value.mv_size - 4)
        let expected = UInt32(littleEndian: base.loadUnaligned(as: UInt32.self))
        guard key.withUnsafeBytes({ checksum($0, content) }) == expected else {
            throw .corrupted(revision: nil, detail: "checksum of meta entry \(key) does not match")
        }
        return Bytes(copying: content)
    }
}
