import Primitives

/// The kinds of record. The numbers are on disk.
enum RecordType: UInt8 {
    /// u64 index, u64 term, the payload; the caller's kind is in the record's header.
    case entry = 1
    /// u64 term, u64 vote, u64 commit.
    case hardState = 2
    /// u64 index, u64 term, then a hard state: the log holds nothing and goes on after that index.
    case restart = 3
    /// Empty: the log was closed in order here.
    case mark = 4
}

/// The 24 bytes before each record's body. The layout is at the head of WriteAheadLog.swift.
struct RecordHeader {
    static let bytes = 24

    var checksum: UInt32
    var previous: UInt32
    /// Of the body, without padding.
    var length: UInt32
    var type: UInt8
    var kind: UInt8
    /// The offset in the segment up to which a sync had returned when the record was made.
    var synced: UInt32

    /// The bytes a record with such a body takes in the file.
    static func extent(body: Int) -> Int { (bytes + body + 7) & ~7 }

    var extent: Int { Self.extent(body: Int(length)) }

    /// Reads the header at the start of `bytes` (at least 24); nil unless its own checksum is right for the segment.
    init?(_ bytes: UnsafeRawBufferPointer, salt: UInt32) {
        // The cheap checks first: recovery tries every place of a file.
        guard RecordType(rawValue: bytes[12]) != nil, bytes.number(at: 14, UInt16.self) == 0 else { return nil }
        let check = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[4..<20]), continuing: salt)
        guard bytes.number(at: 20, UInt32.self) == check else { return nil }
        checksum = bytes.number(at: 0)
        previous = bytes.number(at: 4)
        length = bytes.number(at: 8)
        type = bytes[12]
        kind = bytes[13]
        synced = bytes.number(at: 16)
    }

    /// The checksum of a whole record: everything behind its first field, the padding included.
    static func checksum(record: UnsafeRawBufferPointer, salt: UInt32) -> UInt32 {
        CRC32C.checksum(UnsafeRawBufferPointer(rebasing: record[4...]), continuing: ~salt)
    }

    /// Writes the header before a body that is in place, with its padding zeroed; returns the record's checksum.
    static func seal(
        _ record: UnsafeMutableRawBufferPointer, type: RecordType, kind: UInt8, length: Int, previous: UInt32,
        synced: Int, salt: UInt32
    ) -> UInt32 {
        record.store(previous, at: 4)
        record.store(UInt32(length), at: 8)
        record[12] = type.rawValue
        record[13] = kind
        record.store(UInt16(0), at: 14)
        record.store(UInt32(synced), at: 16)
        let check = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: record[4..<20]), continuing: salt)
        record.store(check, at: 20)
        let checksum = checksum(record: UnsafeRawBufferPointer(record), salt: salt)
        record.store(checksum, at: 0)
        return checksum
    }
}

/// The first sector of a segment. The layout is at the head of WriteAheadLog.swift.
struct SegmentHeader: Equatable {
    static let bytes = 512
    static let version: UInt32 = 1
    /// "MRTLWAL\0", little-endian.
    static let magic: UInt64 = 0x004c_4157_4c54_524d

    var sequence: UInt64
    var metadata: WALMetadata
    /// The log's random number, the same in all segments.
    var logSalt: UInt64
    /// The checksum of the last record of the segment before; 0 in the first.
    var previous: UInt32
    /// Whether the file held another segment before, so that what is behind the last record is not zero.
    var isRecycled: Bool
    /// The last entry before this segment.
    var base: WALPosition
    /// False when the base's term is not known.
    var knowsBaseTerm: Bool
    /// The newest hard state before this segment.
    var hardState: WALHardState

    /// The last field: the checksum of all others, which also begins the chain of the segment's records.
    func encode(into sector: UnsafeMutableRawBufferPointer) -> UInt32 {
        sector.initializeMemory(as: UInt8.self, repeating: 0)
        sector.store(Self.magic, at: 0)
        sector.store(Self.version, at: 8)
        sector.store(UInt32((isRecycled ? 1 : 0) | (knowsBaseTerm ? 2 : 0)), at: 12)
        let numbers: [UInt64] = [
            sequence, metadata.clusterID, metadata.memberID.rawValue, logSalt, base.index.rawValue, base.term.rawValue,
            hardState.term.rawValue, hardState.vote.rawValue, hardState.commit.rawValue, UInt64(previous),
        ]
        for (i, number) in numbers.enumerated() { sector.store(number, at: 16 + 8 * i) }
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: sector[..<508]))
        sector.store(checksum, at: 508)
        return checksum
    }

    /// Reads a sector. Errors: `.wrongMagic`, `.wrongVersion`, `.corrupt`; the caller adds the file.
    static func decode(_ sector: UnsafeRawBufferPointer) throws(WALError) -> (header: SegmentHeader, checksum: UInt32) {
        guard sector.count == bytes, sector.number(at: 0, UInt64.self) == magic else {
            throw WALError(.wrongMagic, "not a segment of a write-ahead log", offset: 0)
        }
        let version = sector.number(at: 8, UInt32.self)
        guard version == Self.version else {
            throw WALError(
                .wrongVersion, "segment has format version \(version), this build reads \(Self.version)", offset: 8)
        }
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: sector[..<508]))
        guard sector.number(at: 508, UInt32.self) == checksum else {
            throw WALError(.corrupt, "segment header has a wrong checksum", offset: 0)
        }
        func number(_ i: Int) -> UInt64 { sector.number(at: 16 + 8 * i) }
        let flags = sector.number(at: 12, UInt32.self)
        let header = SegmentHeader(
            sequence: number(0), metadata: WALMetadata(clusterID: number(1), memberID: MemberID(number(2))),
            logSalt: number(3), previous: UInt32(truncatingIfNeeded: number(9)), isRecycled: flags & 1 != 0,
            base: WALPosition(index: LogIndex(number(4)), term: Term(number(5))), knowsBaseTerm: flags & 2 != 0,
            hardState: WALHardState(term: Term(number(6)), vote: MemberID(number(7)), commit: LogIndex(number(8))))
        return (header, checksum)
    }

    /// What the checksums of the segment's records start from. Differs between any two segments of a log less than
    /// 2^32 apart (each step maps different numbers to different numbers), so that an old record in a recycled file
    /// never passes; and is not known to clients, so that no payload can look like a record.
    var salt: UInt32 {
        var x = UInt32(truncatingIfNeeded: sequence) ^ UInt32(truncatingIfNeeded: logSalt)
        x = (x ^ (x >> 16)) &* 0x85eb_ca6b
        x = (x ^ (x >> 13)) &* 0xc2b2_ae35
        return x ^ (x >> 16) ^ UInt32(truncatingIfNeeded: logSalt >> 32)
    }

    /// `SEQUENCE-FIRSTINDEX.wal`, both in 16 hexadecimal digits.
    var fileName: String { "\(hexadecimal(sequence))-\(hexadecimal(base.index.rawValue &+ 1)).wal" }

    /// The sequence and first index in a segment's name; nil for another name.
    static func parse(fileName: String) -> (sequence: UInt64, firstIndex: UInt64)? {
        let parts = fileName.dropLast(4).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let sequence = UInt64(parts[0], radix: 16), let index = UInt64(parts[1], radix: 16),
            "\(hexadecimal(sequence))-\(hexadecimal(index)).wal" == fileName
        else { return nil }
        return (sequence, index)
    }
}

private func hexadecimal(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

extension UnsafeRawBufferPointer {
    /// The little-endian number at `offset`.
    func number<Number: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, _: Number.Type = Number.self
    ) -> Number {
        Number(littleEndian: loadUnaligned(fromByteOffset: offset, as: Number.self))
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Puts the number at `offset`, little-endian.
    func store(_ number: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
        storeBytes(of: number.littleEndian, toByteOffset: offset, as: type(of: number.littleEndian))
    }
}
