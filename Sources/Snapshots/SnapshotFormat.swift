import MVCC
import Primitives

/// The layout of a snapshot's header and frames: the only place that knows it. See the top of `Snapshots.swift`.
package enum SnapshotFormat {
    /// The first bytes of every snapshot.
    package static let magic = Array("MRTLSNAP".utf8)
    package static let version: UInt32 = 1
    package static let headerBytes = 80
    package static let frameHeaderBytes = 24
    /// Streams are padded to a multiple of it, so that with the SHA-256 behind it etcd's clients find that.
    package static let paddingBytes = 512
    /// The SHA-256 that may stand behind the stream.
    package static let digestBytes = 32
    /// Content of the largest frame: what bounds a reader's memory, whatever the stream says.
    package static let contentBytesMax = 256 << 20
    /// What stands before each record: revision, flags, length.
    static let recordHeadBytes = RevisionKey.byteCount + 1 + 4
    /// What stands before each meta entry: two lengths.
    static let metaHeadBytes = 8
    static let endBytes = 32
    static let tombstoneFlag: UInt8 = 1

    static let kindRecords: UInt8 = 1
    static let kindMeta: UInt8 = 2
    static let kindEnd: UInt8 = 3
    static let encodingPlain: UInt8 = 0
    static let encodingZlib: UInt8 = 1

    /// Whether a file that begins with `bytes` is a snapshot of this format, of any version.
    package static func isSnapshot(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count >= magic.count && bytes.prefix(magic.count).elementsEqual(magic)
    }

    // MARK: Header

    /// The header and its checksum, from which the chain of frames begins.
    static func encode(_ header: SnapshotHeader) -> (bytes: [UInt8], checksum: UInt32) {
        var bytes = magic
        bytes.reserveCapacity(headerBytes)
        append(version, to: &bytes)
        append(UInt32(0), to: &bytes)
        append(header.clusterID, to: &bytes)
        append(header.memberID.rawValue, to: &bytes)
        append(header.appliedIndex.rawValue, to: &bytes)
        append(header.appliedTerm.rawValue, to: &bytes)
        append(header.currentRevision, to: &bytes)
        append(header.compactRevision, to: &bytes)
        append(header.recordCount, to: &bytes)
        append(UInt32(0), to: &bytes)
        let checksum = bytes.withUnsafeBytes { CRC32C.checksum($0) }
        append(checksum, to: &bytes)
        return (bytes, checksum)
    }

    /// Reads `headerBytes` bytes.
    static func decodeHeader(
        _ bytes: UnsafeRawBufferPointer
    ) throws(SnapshotError) -> (header: SnapshotHeader, checksum: UInt32) {
        guard isSnapshot(bytes) else { throw .notSnapshot }
        let checksum: UInt32 = load(bytes, 76)
        let isIntact = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<76])) == checksum
        let version: UInt32 = load(bytes, 8)
        // A later version may have a header of another length: its checksum cannot be told.
        if version != Self.version, version != 0, version < 1 << 16 { throw .unsupportedVersion(version) }
        guard isIntact, version == Self.version else {
            throw .damaged(offset: 0, detail: "the header's checksum does not match")
        }
        guard load(bytes, 12) as UInt32 == 0, load(bytes, 72) as UInt32 == 0 else {
            throw .damaged(offset: 0, detail: "the header has flags that are not known")
        }
        let header = SnapshotHeader(
            clusterID: load(bytes, 16), memberID: MemberID(load(bytes, 24)), appliedIndex: LogIndex(load(bytes, 32)),
            appliedTerm: Term(load(bytes, 40)), currentRevision: load(bytes, 48), compactRevision: load(bytes, 56),
            recordCount: load(bytes, 64))
        return (header, checksum)
    }

    // MARK: Frames

    struct FrameHeader: Equatable {
        var kind: UInt8
        var encoding: UInt8
        var contentBytes: Int
        var bodyBytes: Int
        var itemCount: Int
        var bodyChecksum: UInt32
        /// Of the frame's header, continuing the chain.
        var chainChecksum: UInt32 = 0

        /// Writes itself to the 24 bytes at `target` and sets `chainChecksum`.
        mutating func write(to target: UnsafeMutableRawBufferPointer, chain: UInt32) {
            target.storeBytes(of: kind, toByteOffset: 0, as: UInt8.self)
            target.storeBytes(of: encoding, toByteOffset: 1, as: UInt8.self)
            target.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self)
            target.storeBytes(of: UInt32(contentBytes).littleEndian, toByteOffset: 4, as: UInt32.self)
            target.storeBytes(of: UInt32(bodyBytes).littleEndian, toByteOffset: 8, as: UInt32.self)
            target.storeBytes(of: UInt32(itemCount).littleEndian, toByteOffset: 12, as: UInt32.self)
            target.storeBytes(of: bodyChecksum.littleEndian, toByteOffset: 16, as: UInt32.self)
            chainChecksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: target[..<20]), continuing: chain)
            target.storeBytes(of: chainChecksum.littleEndian, toByteOffset: 20, as: UInt32.self)
        }

        /// Reads the 24 bytes at `bytes`, which are at `offset` of the stream.
        init(_ bytes: UnsafeRawBufferPointer, chain: UInt32, offset: UInt64) throws(SnapshotError) {
            kind = bytes[0]
            encoding = bytes[1]
            contentBytes = Int(load(bytes, 4) as UInt32)
            bodyBytes = Int(load(bytes, 8) as UInt32)
            itemCount = Int(load(bytes, 12) as UInt32)
            bodyChecksum = load(bytes, 16)
            chainChecksum = load(bytes, 20)
            let expected = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<20]), continuing: chain)
            guard chainChecksum == expected else {
                throw .damaged(offset: offset, detail: "a frame's header does not match its checksum")
            }
            let isPlain = encoding == encodingPlain && bodyBytes == contentBytes
            let isCompressed = encoding == encodingZlib && bodyBytes < contentBytes && kind != kindEnd
            guard kindRecords...kindEnd ~= kind, isPlain || isCompressed, load(bytes, 2) as UInt16 == 0 else {
                throw .damaged(offset: offset, detail: "a frame of a form that is not known")
            }
            guard contentBytes > 0, contentBytes <= contentBytesMax, itemCount > 0, itemCount <= contentBytes else {
                throw .damaged(offset: offset, detail: "a frame of an impossible length")
            }
        }

        init(kind: UInt8, encoding: UInt8, contentBytes: Int, bodyBytes: Int, itemCount: Int, bodyChecksum: UInt32) {
            self.kind = kind
            self.encoding = encoding
            self.contentBytes = contentBytes
            self.bodyBytes = bodyBytes
            self.itemCount = itemCount
            self.bodyChecksum = bodyChecksum
        }
    }

    // MARK: Items

    static func appendRecord(_ record: StoredRecord, to content: inout [UInt8]) {
        var head = (UInt64(0), UInt64(0), UInt64(0))
        withUnsafeMutableBytes(of: &head) { buffer in
            RevisionKey.write(record.revision, to: buffer.baseAddress.unsafelyUnwrapped)
            buffer[RevisionKey.byteCount] = record.isTombstone ? tombstoneFlag : 0
            buffer.storeBytes(
                of: UInt32(record.bytes.count).littleEndian, toByteOffset: RevisionKey.byteCount + 1, as: UInt32.self)
            content.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<recordHeadBytes]))
        }
        content.append(contentsOf: record.bytes)
    }

    static func appendMeta(key: Bytes, value: Bytes, to content: inout [UInt8]) {
        append(UInt32(key.count), to: &content)
        append(UInt32(value.count), to: &content)
        content.append(contentsOf: key.array)
        content.append(contentsOf: value.array)
    }

    static func encode(_ totals: SnapshotTotals) -> [UInt8] {
        var bytes: [UInt8] = []
        append(totals.recordCount, to: &bytes)
        append(totals.metaCount, to: &bytes)
        append(totals.contentBytes, to: &bytes)
        append(totals.contentChecksum, to: &bytes)
        append(UInt32(0), to: &bytes)
        return bytes
    }

    /// Reads `endBytes` bytes; nil when the reserved field is not zero.
    static func decodeTotals(_ bytes: UnsafeRawBufferPointer) -> SnapshotTotals? {
        guard bytes.count == endBytes, load(bytes, 28) as UInt32 == 0 else { return nil }
        var totals = SnapshotTotals()
        totals.recordCount = load(bytes, 0)
        totals.metaCount = load(bytes, 8)
        totals.contentBytes = load(bytes, 16)
        totals.contentChecksum = load(bytes, 24)
        return totals
    }

    /// How many zeros follow a stream of `bytes` bytes.
    static func padding(after bytes: UInt64) -> Int {
        let rest = Int(bytes % UInt64(paddingBytes))
        return rest == 0 ? 0 : paddingBytes - rest
    }

    // MARK: Numbers

    private static func append<T: FixedWidthInteger>(_ number: T, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }

    @inline(__always)
    static func load<T: FixedWidthInteger & BitwiseCopyable>(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> T {
        T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }
}
