import IOInterfaces
import Primitives

/// A bit of a member's log that flipped while its process was down.
struct LogDamage {
    let path: String
    /// Where the record with the bit begins.
    let record: Int
    /// A later record that is durable itself proves that the bit was durable: the log must be refused. Else it is in what
    /// no sync had covered, where refusing is allowed and losing what was synced is not.
    let isProven: Bool
}

/// Where a flipped bit must be found. What lies between, synced but with nothing durable behind it, is where the log's
/// format cannot tell a flipped bit from a torn append (see the head of WriteAheadLog.swift): no bit flips there.
struct LogZones {
    private struct Segment {
        var path: String
        var bytes: [UInt8]
        /// Offsets of its records, and the end of the last one.
        var records: [Int]
        var end: Int
        /// Before this everything is proven to have been durable.
        var proven: Int
    }

    private var segments: [Segment] = []

    /// Reads the log in `directory` by the chain of its records' checksums.
    init(_ fileSystem: MemoryFileSystem, directory: String) {
        let names = ((try? fileSystem.list(directory)) ?? []).filter { $0.hasSuffix(".wal") }.sorted()
        for name in names {
            let path = directory + "/" + name
            guard let bytes = fileSystem.contents(of: path), bytes.count >= 512 else { continue }
            segments.append(Self.walk(path, bytes))
        }
        // A segment that has a successor is complete and synced.
        for index in segments.indices.dropLast() { segments[index].proven = segments[index].end }
    }

    private static func number(_ bytes: [UInt8], _ offset: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
    }

    private static func walk(_ path: String, _ bytes: [UInt8]) -> Segment {
        var segment = Segment(path: path, bytes: bytes, records: [0], end: 512, proven: 0)
        var marks: [(offset: Int, synced: Int)] = []
        var chain = number(bytes, 508)
        while segment.end + 24 <= bytes.count {
            let at = segment.end
            let length = number(bytes, at + 8)
            guard number(bytes, at + 4) == chain, bytes[at + 12] != 0, at + 24 + length <= bytes.count else { break }
            chain = number(bytes, at)
            marks.append((at, number(bytes, at + 16)))
            segment.records.append(at)
            segment.end = at + 24 + (length + 7) / 8 * 8
        }
        let synced = marks.map(\.synced).max() ?? 0
        segment.proven = marks.filter { $0.offset < synced }.map(\.synced).max() ?? 0
        return segment
    }

    /// Flips a bit. Nil when there is no place for it.
    func flip(_ fileSystem: MemoryFileSystem, inTail: Bool, _ random: inout PRNG) -> LogDamage? {
        let places = inTail ? segments.suffix(1) : segments.filter { $0.proven > 0 }[...]
        guard !places.isEmpty else { return nil }
        let segment = places[places.startIndex + random.next(in: 0..<places.count)]
        let range = inTail ? segment.end..<min(segment.bytes.count, segment.end + 1024) : 0..<segment.proven
        guard !range.isEmpty else { return nil }
        let offset = random.next(in: range)
        fileSystem.flipBit(in: segment.path, atByte: offset, bit: random.next(in: 0..<8))
        return LogDamage(
            path: segment.path, record: segment.records.last { $0 <= offset } ?? 0, isProven: !inTail)
    }
}
