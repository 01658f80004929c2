import MVCC
import Primitives

/// Which records are served with a flipped bit.
final class FlippedRecords: @unchecked Sendable {
    // Used by the simulation's thread alone.
    var bytes: [Revision: Int] = [:]
}

/// The planted bug `trust-records`: a backend that serves what it finds as if it were what was written.
final class TrustingBackend: Backend, @unchecked Sendable {
    // Used by the simulation's thread alone.
    private let backend: MemoryBackend
    private let flipped: FlippedRecords

    init(_ backend: MemoryBackend, _ flipped: FlippedRecords) {
        self.backend = backend
        self.flipped = flipped
    }

    func commit(_ batch: PersistBatch) throws(StoreError) { try backend.commit(batch) }
    func makeReader() throws(StoreError) -> any BackendReader { Reader(try backend.makeReader(), flipped) }
    var sizes: BackendSizes { backend.sizes }
    var path: String { backend.path }
    func close() { backend.close() }

    private final class Reader: BackendReader {
        private let reader: any BackendReader
        private let flipped: FlippedRecords
        /// Valid until the end of the image, as the caller expects.
        private var copies: [UnsafeMutableRawBufferPointer] = []

        init(_ reader: any BackendReader, _ flipped: FlippedRecords) {
            self.reader = reader
            self.flipped = flipped
        }

        deinit { for copy in copies { copy.deallocate() } }

        private func trusted(_ record: StoredRecord?) -> StoredRecord? {
            guard let record, let byte = flipped.bytes[record.revision], byte < record.bytes.count else {
                return record
            }
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: record.bytes.count, alignment: 1)
            copy.copyMemory(from: record.bytes)
            copy[record.bytes.count - 1 - byte] ^= 0x10
            copies.append(copy)
            let bytes = UnsafeRawBufferPointer(copy)
            return StoredRecord(
                revision: record.revision, isTombstone: record.isTombstone,
                checksum: RecordChecksum.of(record.revision, isTombstone: record.isTombstone, bytes), bytes: bytes)
        }

        func begin() throws(StoreError) { try reader.begin() }
        func end() { reader.end() }
        func record(at revision: Revision) throws(StoreError) -> StoredRecord? {
            trusted(try reader.record(at: revision))
        }
        func seek(_ revision: Revision) throws(StoreError) -> StoredRecord? { trusted(try reader.seek(revision)) }
        func next() throws(StoreError) -> StoredRecord? { trusted(try reader.next()) }
        func recordCount() throws(StoreError) -> Int { try reader.recordCount() }
        func meta(_ key: Bytes) throws(StoreError) -> Bytes? { try reader.meta(key) }
        func allMeta() throws(StoreError) -> [(key: Bytes, value: Bytes)] { try reader.allMeta() }
    }
}
