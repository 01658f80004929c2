package import IOInterfaces
import Primitives

/// Where a log on disk begins, by its oldest segment.
package struct WALOrigin: Hashable, Sendable {
    package var metadata: WALMetadata
    /// The position before the oldest segment's first record. A restart or an entry in it may move the log's beginning.
    package var start: WALPosition
}

extension WriteAheadLog {
    /// Whose log the directory holds, and where it begins; nil when it holds none. Reads one sector.
    ///
    /// Errors: `.wrongMagic`, `.wrongVersion`, `.corrupt`, `.failed`.
    package static func origin(
        in directory: String, _ fileSystem: any FileSystem
    ) throws(WALError) -> WALOrigin? {
        guard try exists(in: directory, fileSystem) else { return nil }
        var path = directory
        let sector: Bytes
        let isWhole: Bool
        do throws(IOError) {
            guard let name = try fileSystem.list(directory).first(where: { $0.hasSuffix(".wal") }) else { return nil }
            path = "\(directory)/\(name)"
            let file = try fileSystem.open(path, .readOnly)
            isWhole = try file.size() >= SegmentHeader.bytes
            sector = try Bytes(count: SegmentHeader.bytes) { buffer throws(IOError) in
                _ = try file.read(into: buffer, at: 0)
            }
            try file.close()
        } catch {
            throw WALError(.failed, "the log can not be read", file: path, cause: error)
        }
        guard isWhole else { throw WALError(.corrupt, "segment is too short", file: path, offset: 0) }
        do throws(WALError) {
            let header = try sector.withUnsafeBytes { bytes throws(WALError) in try SegmentHeader.decode(bytes).0 }
            return WALOrigin(metadata: header.metadata, start: header.base)
        } catch {
            throw WALError(error.code, error.message, file: path, offset: error.offset)
        }
    }

    /// The first position of each run of equal terms that the log knows, ascending: mostly the one before the first entry,
    /// then one for each change of term. Reads memory only.
    package var termRuns: [WALPosition] { map.termRuns }
}
