import IOInterfaces
package import Primitives

/// A segment's file and where it stands in the log.
struct Segment {
    var header: SegmentHeader
    var path: String
    var file: any File
    /// The file's length in bytes.
    var size: Int
    /// What the checksums of its records start from.
    var salt: UInt32

    init(header: SegmentHeader, path: String, file: any File, size: Int) {
        self.header = header
        self.path = path
        self.file = file
        self.size = size
        salt = header.salt
    }
}

/// The next segment in the making, under a name that recovery takes for nothing.
struct Spare {
    static let fileName = "next.spare"

    var file: any File
    var size: Int
    /// How much of it is known to be written on the disk, so that a sync of later writes there has no metadata to
    /// write.
    var writtenBytes: Int
    /// Whether it holds bytes of a former segment.
    var isRecycled: Bool
}

extension WriteAheadLog {
    /// No segment, and so no batch, is larger than this many bytes.
    static let segmentBytesMax = 1 << 30

    // MARK: Getting the next segment ready

    /// Whether the next segment is ready, so that `prepareNextSegment` has nothing to do.
    package var isNextSegmentReady: Bool { spare.map { $0.writtenBytes >= $0.size } ?? false }

    /// Whether room for the next segment is reserved.
    package var isNextSegmentReserved: Bool { spare != nil }

    /// Bytes that can surely be appended without room on the volume being needed: a batch no larger than the segment.
    package var reservedBytes: Int {
        segments[segments.count - 1].size - offset + (spare.map { $0.size - SegmentHeader.bytes } ?? 0)
    }

    /// What a log on a full volume needs at hand for what must pass, in bytes: the least segment.
    package var segmentBytesMin: Int { sizing.least }

    /// Bytes that may still be taken of the volume. One that cannot be asked is taken to have room: trying tells.
    var freeBytes: Int {
        let free = try? fileSystem.freeBytes(directory)
        return free.map { Int(clamping: $0) } ?? .max
    }

    /// Makes the next segment ready ahead of need; to be called when idle until it returns true. Room is reserved
    /// first, as much as the volume has plenty of, and only beyond what is left to others; then zeros are written, at most
    /// `bytesMax` a call, because the first write to a reserved block costs the sync that covers it a metadata write
    /// (measured: 150 instead of 95 us for 32 KB on ext4).
    ///
    /// Errors: `.noSpace` when the volume has no room to spare, the log goes on; `.failed`; `.closed`.
    @discardableResult
    package func prepareNextSegment(bytesMax: Int = 1 << 20) throws(WALError) -> Bool {
        try enter()
        if spare == nil { try reserveAhead() }
        guard var next = spare, next.writtenBytes < next.size else { return true }
        let count = min(max(bytesMax, 1), next.size - next.writtenBytes)
        let zeros = Bytes([UInt8](repeating: 0, count: count))
        do throws(IOError) {
            try zeros.withUnsafeBytes { bytes throws(IOError) in try next.file.write(bytes, at: next.writtenBytes) }
            try next.file.syncData()
        } catch {
            throw failUnlessNoSpace(error)
        }
        next.writtenBytes += count
        spare = next
        return next.writtenBytes == next.size
    }

    /// Reserves a spare file if the volume has room to spare for it.
    private func reserveAhead() throws(WALError) {
        do throws(IOError) { try adoptSpare() } catch { throw refuseSpare(error) }
        if spare != nil { return }
        let free = freeBytes
        let bytes = sizing.segment(free: free)
        guard free - bytes >= sizing.reserve else {
            throw WALError(.noSpace, "no room to spare for the next segment", file: directory)
        }
        try reserveSpare(bytes: bytes)
    }

    /// Goes on with the spare file of an earlier run, once: one that is larger than the volume can well spare is removed, as
    /// is one that was not finished.
    private func adoptSpare() throws(IOError) {
        guard mayFindSpare, spare == nil else { return }
        let path = path(Spare.fileName)
        if try fileSystem.exists(path) {
            let size = try fileSystem.size(path)
            if size % 4096 == 0, size >= sizing.least, size <= sizing.segment(free: freeBytes) {
                let file = try fileSystem.open(path, .readWrite)
                // Its length may have outlived its room.
                try file.preallocate(size)
                // It may be anything, a former segment too.
                spare = Spare(file: file, size: size, writtenBytes: size, isRecycled: true)
            } else {
                try fileSystem.remove(path)
            }
        }
        mayFindSpare = false
    }

    /// Sees to it that there is a spare file of at least `bytes` bytes with room for all of them.
    private func reserveSpare(bytes: Int) throws(WALError) {
        if let spare, spare.size >= bytes { return }
        do throws(IOError) {
            try adoptSpare()
            if let spare, spare.size >= bytes { return }
            var next: Spare
            if let spare {
                next = spare
            } else {
                let file = try fileSystem.open(path(Spare.fileName), .createExclusive)
                next = Spare(file: file, size: 0, writtenBytes: 0, isRecycled: false)
                spare = next
            }
            try next.file.preallocate(bytes)
            if next.isRecycled { next.writtenBytes = bytes }
            next.size = bytes
            spare = next
        } catch {
            throw refuseSpare(error)
        }
    }

    /// The spare file found no room: what it has of it goes back.
    private func refuseSpare(_ error: IOError) -> WALError {
        let failure = failUnlessNoSpace(error)
        if failure.code == .noSpace { giveBackSpare() }
        return failure
    }

    /// Removes the spare file.
    private func giveBackSpare() {
        // When a step fails, the file is found when the next one is made.
        try? spare?.file.close()
        spare = nil
        mayFindSpare = true
        try? fileSystem.remove(path(Spare.fileName))
    }

    // MARK: Rolling over

    /// Ends the last segment and starts the next, with room for a batch of `bytes`. Until the rename nothing has
    /// changed for the log, so that a full volume is an error and no failure.
    func roll(for bytes: Int) throws(WALError) {
        let needed = SegmentHeader.bytes + bytes
        guard needed <= Self.segmentBytesMax else {
            throw WALError(.batchTooLarge, "a batch of \(bytes) bytes does not fit in a segment", file: directory)
        }
        try reserveSpare(forBatch: SegmentSizing.rounded(needed))
        guard let next = spare else { invariantFailed("no spare segment after it was reserved") }
        try sync()
        let header = SegmentHeader(
            sequence: segments[segments.count - 1].header.sequence + 1, metadata: metadata, logSalt: logSalt,
            previous: chain, isRecycled: next.isRecycled,
            base: WALPosition(index: map.last, term: map.term(at: map.last) ?? .zero),
            knowsBaseTerm: map.term(at: map.last) != nil, hardState: hardState)
        let path = path(header.fileName)
        let checksum: UInt32
        do throws(IOError) {
            checksum = try Self.write(header, to: next.file)
            try fileSystem.rename(self.path(Spare.fileName), to: path)
        } catch {
            throw failUnlessNoSpace(error)
        }
        do throws(IOError) { try fileSystem.syncDirectory(directory) } catch { throw fail(error) }
        spare = nil
        next.file.path = path
        segments.append(Segment(header: header, path: path, file: next.file, size: next.size))
        offset = SegmentHeader.bytes
        syncedOffset = offset
        chain = checksum
        statistics.segmentsStarted += 1
    }

    /// Reserves room for a segment of `needed` bytes or more: as much as the volume has plenty of, else the least, else what
    /// is needed.
    private func reserveSpare(forBatch needed: Int) throws(WALError) {
        if let spare, spare.size >= needed { return }
        var refused = Int.max
        for bytes in [sizing.segment(free: freeBytes), sizing.least, 0] {
            let bytes = max(bytes, needed)
            if bytes >= refused { continue }
            do throws(WALError) { return try reserveSpare(bytes: bytes) } catch {
                guard error.code == .noSpace, bytes > needed else { throw error }
                refused = bytes
            }
        }
    }

    /// Writes and syncs the header; returns its checksum.
    static func write(_ header: SegmentHeader, to file: any File) throws(IOError) -> UInt32 {
        var checksum: UInt32 = 0
        let sector = Bytes(count: SegmentHeader.bytes) { checksum = header.encode(into: $0) }
        try sector.withUnsafeBytes { bytes throws(IOError) in try file.write(bytes, at: 0) }
        try file.syncData()
        return checksum
    }

    // MARK: Cutting at the front

    /// Lets go what is at or before `index`, which is durable elsewhere: whole segments, the oldest first, as long as
    /// more than `retainedBytes` of such segments are left, or than half of what the volume has left. The newest hard state
    /// always stays.
    ///
    /// Errors: `.failed`, `.closed`.
    package func truncatePrefix(through index: LogIndex) throws(WALError) {
        try truncatePrefix(through: index) { sizing.retained(free: freeBytes) }
    }

    /// Gives up what the log can do without: everything at or before `index`, which is durable elsewhere, and, where the
    /// volume has hardly any room left, a spare file that is larger than it must be. To be called when room is lacking.
    /// Returns whether it gave anything up.
    ///
    /// Errors: `.failed`, `.closed`.
    package func giveUpRoom(through index: LogIndex) throws(WALError) -> Bool {
        try enter()
        let before = (segments.count, spare?.size)
        if let spare, spare.size > sizing.least, sizing.isScarce(free: freeBytes) { giveBackSpare() }
        try truncatePrefix(through: index) { 0 }
        return (segments.count, spare?.size) != before
    }

    /// Whether the volume has so little room that `giveUpRoom(through:)` is called for.
    package var isRoomScarce: Bool { sizing.isScarce(free: freeBytes) }

    private func truncatePrefix(through index: LogIndex, retaining: () -> Int) throws(WALError) {
        try enter()
        var obsolete = segments.dropLast().prefix { map.lastIndex(through: $0.header.sequence) <= index }
        if obsolete.isEmpty { return }
        let retained = retaining()
        var bytes = obsolete.reduce(0) { $0 + $1.size }
        guard bytes > retained else { return }
        // An entry may count as replaced because of a record that a crash could still take back.
        try sync()
        while let segment = obsolete.first, bytes > retained {
            obsolete.removeFirst()
            bytes -= segment.size
            do throws(IOError) {
                try discard(segment)
                // One by one: a crash must not leave a later one removed and an earlier one in place.
                try fileSystem.syncDirectory(directory)
            } catch {
                throw fail(error)
            }
            segments.removeFirst()
            map.drop(through: segment.header.sequence)
        }
    }

    /// Makes the segment the next one's file, unless that would be a small one for no reason or a larger one than the volume
    /// can well spare, or removes it.
    private func discard(_ segment: Segment) throws(IOError) {
        guard options.recyclesSegments, spare == nil, segment.size == sizing.segment(free: freeBytes) else {
            try segment.file.close()
            return try fileSystem.remove(segment.path)
        }
        try fileSystem.rename(segment.path, to: path(Spare.fileName))
        mayFindSpare = false
        segment.file.path = path(Spare.fileName)
        spare = Spare(file: segment.file, size: segment.size, writtenBytes: segment.size, isRecycled: true)
    }

    // MARK: Helpers

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// A full volume leaves the log as it was; anything else fails it.
    private func failUnlessNoSpace(_ error: IOError) -> WALError {
        guard error.isNoSpace else { return fail(error) }
        return WALError(.noSpace, "no room for the next segment", file: directory, cause: error)
    }
}
