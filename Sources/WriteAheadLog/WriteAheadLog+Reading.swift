import IOInterfaces
package import Primitives

extension WriteAheadLog {
    /// The entries from `first` up to but not including `end`, from disk: as many as have at most `bytesMax` bytes of
    /// payload together, but at least one. `end` is cut to one past the last entry; an empty range gives nothing.
    ///
    /// Errors: `.compacted` when `first` is before `firstIndex`; `.corrupt` when a record can not be read back, with
    /// its file and offset; `.failed`; `.closed`.
    package func entries(
        from first: LogIndex, to end: LogIndex, bytesMax: Int
    ) throws(WALError) -> [WALEntry] {
        try enter()
        let end = min(end, map.last.advanced(by: 1))
        guard first >= firstIndex else {
            throw WALError(.compacted, "entry \(first.rawValue) was asked for, the first is \(firstIndex.rawValue)")
        }
        var result: [WALEntry] = []
        var bytes = 0
        var next = first
        while next < end {
            let (sample, sampleEnd) = map.place(of: next)
            guard let segment = segments.last(where: { $0.header.sequence == sample.sequence }) else {
                invariantFailed("the index names segment \(sample.sequence), which is gone")
            }
            let isFull = try read(
                segment, from: sample.offset, upTo: min(end, sampleEnd), next: &next, into: &result, bytes: &bytes,
                bytesMax: bytesMax)
            if isFull { break }
        }
        return result
    }

    /// Reads entries from `next` on up to `end`, in one run of a segment; true when `bytesMax` is reached.
    private func read(
        _ segment: Segment, from start: Int, upTo end: LogIndex, next: inout LogIndex, into result: inout [WALEntry],
        bytes: inout Int, bytesMax: Int
    ) throws(WALError) -> Bool {
        let limit = segment.header.sequence == segments[segments.count - 1].header.sequence ? offset : segment.size
        let reader = SegmentReader(segment.file, size: limit, salt: segment.salt)
        var place = start
        while next < end {
            let record: SegmentReader.Record
            do throws(IOError) { record = try reader.record(at: place) } catch { throw fail(error) }
            guard case .valid(let header, let body) = record, header.type != RecordType.restart.rawValue else {
                throw WALError(
                    .corrupt, "the record of entry \(next.rawValue) can not be read back", file: segment.path,
                    offset: place)
            }
            place += header.extent
            guard header.type == RecordType.entry.rawValue, let entry = WALEntry(header, body), entry.index >= next
            else { continue }
            guard entry.index == next else {
                throw WALError(
                    .corrupt, "entry \(entry.index.rawValue) was found in place of \(next.rawValue)",
                    file: segment.path, offset: place)
            }
            if !result.isEmpty, bytes + entry.payload.count > bytesMax { return true }
            bytes += entry.payload.count
            result.append(entry)
            next = next.advanced(by: 1)
        }
        return false
    }
}

extension WALEntry {
    /// The entry in a record of that type; nil when the body is too short.
    init?(_ header: RecordHeader, _ body: UnsafeRawBufferPointer) {
        guard body.count >= 16 else { return nil }
        self.init(
            index: LogIndex(body.number(at: 0)), term: Term(body.number(at: 8)), kind: header.kind,
            payload: Bytes(copying: UnsafeRawBufferPointer(rebasing: body[16...])))
    }
}

extension WALHardState {
    /// The 24 bytes at `offset`; nil when the body is too short.
    init?(_ body: UnsafeRawBufferPointer, at offset: Int) {
        guard body.count >= offset + 24 else { return nil }
        self.init(
            term: Term(body.number(at: offset)), vote: MemberID(body.number(at: offset + 8)),
            commit: LogIndex(body.number(at: offset + 16)))
    }
}
