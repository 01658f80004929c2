import IOInterfaces
import Primitives

/// Tells what stands behind the last good record of the last segment: nothing, a torn append, or damaged synced
/// records. The reasoning is at the head of WriteAheadLog.swift.
struct TailExamination {
    private let reader: SegmentReader
    /// Where the next record would be.
    private let start: Int
    private let isRecycled: Bool
    /// The end of what an append of this segment may have left.
    private var end: Int

    init(_ reader: SegmentReader, at start: Int, isRecycled: Bool) {
        self.reader = reader
        self.start = start
        self.isRecycled = isRecycled
        end = start
    }

    /// How many bytes from the start are a torn tail, 0 when nothing is there; refuses a damaged log.
    mutating func run(_ segment: Segment) throws(Recovery.Failure) -> Int {
        let damage: String?
        do throws(IOError) { damage = try examine() } catch { throw .io(error) }
        if let damage { throw .refused(WALError(.corrupt, damage, file: segment.path, offset: start)) }
        return min(end, reader.size) - start
    }

    /// In words why the record at the start was damaged after it had been synced; nil when nothing tells.
    private mutating func examine() throws(IOError) -> String? {
        switch try reader.record(at: start) {
        case .valid: return "a record does not follow the one before it"
        case .brokenBody(let header):
            end = start + header.extent
            if try isWhole(bytes: RecordHeader.bytes + Int(header.length)) {
                return "a record was written whole and has changed since"
            }
        case .none:
            if try isWhole(bytes: RecordHeader.bytes) {
                return "a record's header was written whole and has changed since"
            }
        }
        var place = start + 8
        while place + RecordHeader.bytes <= reader.size {
            guard let found = try record(from: &place) else { break }
            end = max(end, place + found.header.extent)
            if found.isValid, found.header.synced > start, found.header.synced <= place {
                return
                    "a record that had been synced is damaged: the one at offset \(place) was appended after that sync"
            }
            place += 8
        }
        if !isRecycled { end = max(end, try lastNonzero()) }
        return nil
    }

    /// Whether the bytes were surely written to their end: no sector's part of them is all zero, nor the last byte,
    /// as in a file of zeros something would be after a torn write.
    private func isWhole(bytes count: Int) throws(IOError) -> Bool {
        guard !isRecycled, let bytes = try reader.bytes(at: start, count: count) else { return false }
        if bytes[count - 1] == 0 { return false }
        var place = 0
        while place < count {
            let stop = min(count, ((start + place) / 512 + 1) * 512 - start)
            if bytes[place..<stop].allSatisfy({ $0 == 0 }) { return false }
            place = stop
        }
        return true
    }

    /// The next record of this segment at or after `place`, which becomes its offset; nil when there is none.
    private func record(from place: inout Int) throws(IOError) -> (header: RecordHeader, isValid: Bool)? {
        let step = 64 << 10
        while place + RecordHeader.bytes <= reader.size {
            let count = min(step, reader.size - place)
            guard let bytes = try reader.bytes(at: place, count: count) else { return nil }
            var candidate: Int?
            var i = 0
            while i + RecordHeader.bytes <= count, candidate == nil {
                // A header has a type, so its second word is never zero.
                if bytes.number(at: i + 8, UInt64.self) != 0 {
                    let head = UnsafeRawBufferPointer(rebasing: bytes[i..<i + RecordHeader.bytes])
                    if reader.header(head) != nil { candidate = i }
                }
                i += 8
            }
            guard let candidate else {
                place += (count - RecordHeader.bytes) / 8 * 8 + 8
                continue
            }
            place += candidate
            switch try reader.record(at: place) {
            case .valid(let header, _): return (header, true)
            case .brokenBody(let header): return (header, false)
            case .none: place += 8
            }
        }
        return nil
    }

    /// One past the last byte of the file that is not zero; the start when none behind it is.
    private func lastNonzero() throws(IOError) -> Int {
        var result = start
        var place = start
        while place < reader.size {
            let count = min(64 << 10, reader.size - place)
            guard let bytes = try reader.bytes(at: place, count: count) else { break }
            var last = count
            while last >= 8, bytes.number(at: last - 8, UInt64.self) == 0 { last -= 8 }
            while last > 0, bytes[last - 1] == 0 { last -= 1 }
            if last > 0 { result = place + last }
            place += count
        }
        return result
    }
}
