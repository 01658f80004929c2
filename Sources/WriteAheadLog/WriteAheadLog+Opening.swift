package import IOInterfaces
package import Primitives

extension WriteAheadLog {
    /// Whether the directory holds a log. What an interrupted `create` left is none.
    ///
    /// Errors: `.failed`.
    package static func exists(in directory: String, _ fileSystem: any FileSystem) throws(WALError) -> Bool {
        do throws(IOError) {
            guard try fileSystem.exists(directory) else { return false }
            return try fileSystem.list(directory).contains { $0.hasSuffix(".wal") }
        } catch {
            throw WALError(.failed, "the log's directory can not be read", file: directory, cause: error)
        }
    }

    /// Makes a new log in `directory`, which is made when missing (its parent exists). Durable when it returns; after a
    /// crash before that there is no log.
    ///
    /// - `salt`: any random number, drawn anew for each log; keeps stored bytes from looking like records.
    /// - `start`: where the log begins; not the origin when the member starts from a snapshot.
    /// - `hardState`: the first one; its commit is not past `start`.
    ///
    /// Errors: `.alreadyExists`, `.noSpace`, `.failed`.
    package static func create(
        in directory: String, _ fileSystem: any FileSystem, metadata: WALMetadata, salt: UInt64,
        start: WALPosition = .origin, hardState: WALHardState = WALHardState(), options: WALOptions = WALOptions()
    ) throws(WALError) -> WriteAheadLog {
        invariant(hardState.commit <= start.index, "a new log with a commit index past its start")
        if try exists(in: directory, fileSystem) {
            throw WALError(.alreadyExists, "there is a log already", file: directory)
        }
        let header = SegmentHeader(
            sequence: 1, metadata: metadata, logSalt: salt, previous: 0, isRecycled: false, base: start,
            knowsBaseTerm: true, hardState: hardState)
        let spare = "\(directory)/\(Spare.fileName)"
        let path = "\(directory)/\(header.fileName)"
        let sizing = SegmentSizing(options)
        do throws(IOError) {
            try fileSystem.createDirectory(directory)
            try fileSystem.syncDirectory(parentDirectory(of: directory))
            // What an interrupted attempt left.
            if try fileSystem.exists(spare) { try fileSystem.remove(spare) }
            // A volume that cannot be asked for its room is tried.
            let free = (try? fileSystem.freeBytes(directory)).map { Int(clamping: $0) } ?? .max
            let size = sizing.segment(free: free)
            let file = try fileSystem.open(spare, .createExclusive)
            try file.preallocate(size)
            let checksum = try write(header, to: file)
            try fileSystem.rename(spare, to: path)
            try fileSystem.syncDirectory(directory)
            file.path = path
            return WriteAheadLog(
                fileSystem, directory, options, header,
                segments: [Segment(header: header, path: path, file: file, size: size)],
                map: LogMap(base: start, knowsTerm: true), hardState: hardState, offset: SegmentHeader.bytes,
                chain: checksum)
        } catch {
            throw WALError(
                error.isNoSpace ? .noSpace : .failed, "the log can not be made", file: directory, cause: error)
        }
    }

    /// Opens the log in `directory`, cuts a torn tail off, and gives the entries after `index`, which is the index that
    /// the store has applied durably (0: none). Everything given is durable when it returns.
    ///
    /// `expecting`: whose log it must be. Takes a time that is linear in the log's bytes, one window of memory
    /// besides the entries returned.
    ///
    /// Errors: `.notFound`, `.wrongMagic`, `.wrongVersion`, `.wrongMember`, `.corrupt`, `.missingSegment`, `.gap`,
    /// `.failed`; nothing on disk has been changed then, except that a failure may have cut a torn tail partly.
    package static func open(
        in directory: String, _ fileSystem: any FileSystem, expecting: WALMetadata? = nil, after index: LogIndex,
        options: WALOptions = WALOptions()
    ) throws(WALError) -> (log: WriteAheadLog, recovered: WALRecovered) {
        guard try exists(in: directory, fileSystem) else {
            throw WALError(.notFound, "there is no log", file: directory)
        }
        var recovery = Recovery(directory, fileSystem, after: index, options: options)
        do throws(Recovery.Failure) {
            return try recovery.run(expecting: expecting)
        } catch {
            switch error {
            case .refused(let error): throw error
            case .io(let error):
                throw WALError(.failed, "the log can not be read or repaired", file: directory, cause: error)
            }
        }
    }
}
