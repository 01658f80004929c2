package import MVCC
package import Primitives
package import Snapshots

/// A snapshot of a backend's image: an LMDB read transaction, frame by frame, each compressed or not.
///
/// The image is held from `init` to the last chunk, or as long as the object: let it go early. One thread at a time.
package final class ImageSnapshotSource: SnapshotSource {
    /// What the image is of: its applied index and term go into the raft message.
    package var header: SnapshotHeader { writer.header }

    private let writer: SnapshotWriter

    /// Opens an image with `reader`, which must have none open and is the source's from now on. Throws `.store`.
    package init(
        reader: any BackendReader, clusterID: UInt64, memberID: MemberID, options: SnapshotOptions = SnapshotOptions()
    ) throws(SnapshotError) {
        writer = try SnapshotWriter(reader: reader, clusterID: clusterID, memberID: memberID, options: options)
    }

    package func nextChunk(compressing: Bool) throws -> Bytes? { try writer.nextChunk(compressing: compressing) }
}
