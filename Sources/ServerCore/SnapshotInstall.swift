package import IOInterfaces
package import MVCC
package import Primitives
import StateMachine

/// How another member's image takes the place of this one's store: as a restart.
///
/// Steps, each durable before the next:
///
/// 1. The stream goes into `store/incoming.mdb` by `SnapshotRestore`, whose `finish(adjusting:)` marks it
///    (`mark(_:index:)`) after everything was verified. What is left of an interrupted attempt is removed first, here and
///    at every start (`removeLeftover`).
/// 2. The member's owners stop, and its log and backend are closed. Nothing is lost by that: entries that the store has
///    not persisted are in the log.
/// 3. `publish` renames the file over `store/data.mdb`.
/// 4. The member is opened again. `ServerCore.open` finds that the log does not lead to the store's applied index, and
///    the mark, and begins the log anew after that index.
///
/// A crash before 3 leaves the old store and its log. One after it leaves the new store with the old log: 4 happens at
/// the next start. One within 4 leaves the log as it was, or begun anew: that is one record of it. When the old log holds
/// the image's last entry with the same term, it is kept with everything behind, which may be acknowledged.
///
/// Without the mark a log that does not reach the store's applied index has lost its end, and is refused.
package enum SnapshotInstall {
    package static let incomingFileName = "incoming.mdb"
    package static let storeFileName = "data.mdb"

    /// What to do with an image that is offered.
    package enum Verdict: Sendable, Equatable {
        case install
        /// This member has applied as much: answer success without reading on.
        case notNews
        /// Refuse, and say so loudly.
        case otherCluster
    }

    /// Judges an image by its header.
    ///
    /// - Parameter applied: the last entry that this member has applied, in memory.
    package static func judge(
        clusterID: UInt64, index: LogIndex, ownClusterID: UInt64, applied: LogIndex
    ) -> Verdict {
        if clusterID != ownClusterID { return .otherCluster }
        return index > applied ? .install : .notNews
    }

    /// For `SnapshotRestore.finish(adjusting:)`: marks the image as installed; `index` is its applied index.
    package static func mark(_ meta: inout [MetaChange], index: LogIndex) {
        meta.removeAll { $0.key == MetaKeys.installed }
        meta.append(MetaChange(key: MetaKeys.installed, value: Bytes(MetaKeys.bigEndian(index.rawValue))))
    }

    /// Puts the received file in place of the store's, durably. Both are closed.
    package static func publish(
        in storeDirectory: String, _ fileSystem: any FileSystem
    ) throws(IOError) {
        try fileSystem.rename("\(storeDirectory)/\(incomingFileName)", to: "\(storeDirectory)/\(storeFileName)")
        try fileSystem.syncDirectory(storeDirectory)
    }

    /// Removes what an interrupted attempt left, LMDB's lock file included.
    package static func removeLeftover(
        in storeDirectory: String, _ fileSystem: any FileSystem
    ) throws(IOError) {
        for name in [incomingFileName, incomingFileName + "-lock"] {
            let path = "\(storeDirectory)/\(name)"
            if try fileSystem.exists(path) { try fileSystem.remove(path) }
        }
    }
}
