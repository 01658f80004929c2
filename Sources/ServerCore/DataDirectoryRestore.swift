package import IOInterfaces
package import MVCC
package import Membership
package import Primitives
import StateMachine
package import WriteAheadLog

/// Makes the data directory of a member of a new cluster from a saved image.
///
/// All members of the new cluster are restored from the same image with the same plan but for `memberID` and the
/// directories: then their stores are equal, at entry 1 of term 1, as founders' are (`Founding.new`). The new cluster's
/// identity comes from the members, the image and the revisions it gets, so that members that were restored from different
/// images, or members of the old cluster, can never be taken for members of this one.
///
/// Of the image remain keys, revisions and leases; members, removed members and alarms are those of the plan: none of the
/// latter two.
///
/// Files: everything is written below `DATA-DIR.part`, which is renamed once it is complete and durable; a log directory of
/// its own is made before that. An interrupted restore leaves `DATA-DIR.part` behind, and no data directory.
package enum DataDirectoryRestore {
    /// What the new member is to be.
    package struct Plan: Sendable {
        package var dataDirectory: String
        /// Empty: `wal` inside the data directory.
        package var walDirectory = ""
        /// All of the new cluster, none of them started, this one among them.
        package var members: [Membership.Member]
        package var memberID: MemberID
        /// Added to the image's revision, so that no revision that clients of the old cluster may have seen after the image
        /// was taken is given out again. 0 adds nothing.
        package var revisionBump: Int64
        /// Everything below the new revision counts as compacted: clients that watch or read at an older one are told so,
        /// and list anew.
        package var marksCompacted: Bool
        /// Any random number, for the log.
        package var salt: UInt64
        package var log = WALOptions()

        package init(
            dataDirectory: String, members: [Membership.Member], memberID: MemberID, revisionBump: Int64,
            marksCompacted: Bool, salt: UInt64
        ) {
            self.dataDirectory = dataDirectory
            self.members = members
            self.memberID = memberID
            self.revisionBump = revisionBump
            self.marksCompacted = marksCompacted
            self.salt = salt
        }
    }

    /// What identifies an image, and its revisions.
    package struct Image: Sendable, Equatable {
        package var clusterID: UInt64
        package var appliedIndex: LogIndex
        package var appliedTerm: Term
        package var currentRevision: Int64
        /// -1: never compacted.
        package var compactRevision: Int64

        package init(
            clusterID: UInt64, appliedIndex: LogIndex, appliedTerm: Term, currentRevision: Int64, compactRevision: Int64
        ) {
            self.clusterID = clusterID
            self.appliedIndex = appliedIndex
            self.appliedTerm = appliedTerm
            self.currentRevision = currentRevision
            self.compactRevision = compactRevision
        }
    }

    /// What was made.
    package struct Result: Sendable, Equatable {
        package var clusterID: UInt64
        package var currentRevision: Int64
        package var compactRevision: Int64
    }

    /// The meta entries of the image, to be changed before they are committed.
    package typealias Adjustment = (inout [MetaChange]) -> Void

    /// Makes the directory. On an error nothing of it is there but `DATA-DIR.part` or the log's directory: remove them.
    ///
    /// - Parameters:
    ///   - image: of the stream that `fill` restores.
    ///   - fill: restores the stream into the backend, and applies the adjustment before the meta entries are committed.
    /// - Throws: also when the data directory exists and holds something.
    package static func run(
        _ plan: Plan, image: Image, fileSystem: any FileSystem, sha1: ClusterIdentity.SHA1,
        fill: (any Backend, Adjustment) throws(StartError) -> Void
    ) throws(StartError) -> Result {
        try checkAbsent(plan, fileSystem)
        let restart = try restart(plan, image)
        let result = Result(
            clusterID: clusterID(plan, image, restart, sha1), currentRevision: restart.currentRevision,
            compactRevision: restart.compactRevision)
        let part = partDirectory(plan)
        let store = part + "/store"
        try orStop { () throws(IOError) in
            try makeDirectories(parentDirectory(of: part), fileSystem)
            try fileSystem.createDirectory(part)
            try fileSystem.createDirectory(store)
        }
        let path = "\(store)/\(SnapshotInstall.storeFileName)"
        try fillStore(at: path, plan, result, restart, fill)
        try orStop { () throws(IOError) in
            // LMDB's lock file; a server makes it anew.
            if try fileSystem.exists(path + "-lock") { try fileSystem.remove(path + "-lock") }
            try fileSystem.syncDirectory(store)
        }
        try createLog(plan, result, fileSystem)
        try orStop { () throws(IOError) in
            try fileSystem.syncDirectory(part)
            try fileSystem.rename(part, to: plan.dataDirectory)
            try fileSystem.syncDirectory(parentDirectory(of: plan.dataDirectory))
        }
        return result
    }

    /// Where the data directory is made before it gets its name.
    package static func partDirectory(_ plan: Plan) -> String { plan.dataDirectory + ".part" }

    // MARK: Checks

    private static func checkAbsent(_ plan: Plan, _ fileSystem: any FileSystem) throws(StartError) {
        guard plan.members.contains(where: { $0.id == plan.memberID }) else {
            throw StartError("the member is not one of the cluster's")
        }
        if !isEmpty(plan.dataDirectory, fileSystem) {
            throw StartError("data-dir \"\(plan.dataDirectory)\" not empty or could not be read")
        }
        if !plan.walDirectory.isEmpty, !isEmpty(plan.walDirectory, fileSystem) {
            throw StartError("wal-dir \"\(plan.walDirectory)\" not empty or could not be read")
        }
        let part = partDirectory(plan)
        if !isEmpty(part, fileSystem) { throw StartError("\(part) is left of an interrupted restore: remove it") }
    }

    /// Whether the directory does not exist or holds nothing; false when that cannot be told.
    private static func isEmpty(_ path: String, _ fileSystem: any FileSystem) -> Bool {
        do throws(IOError) {
            guard try fileSystem.exists(path) else { return true }
            return try fileSystem.list(path).isEmpty
        } catch { return false }
    }

    private static func restart(_ plan: Plan, _ image: Image) throws(StartError) -> ImageRestart {
        let (revision, isOver) = image.currentRevision.addingReportingOverflow(plan.revisionBump)
        guard !isOver, plan.revisionBump >= 0 else {
            throw StartError("revision \(image.currentRevision) cannot be bumped by \(plan.revisionBump)")
        }
        return ImageRestart(
            appliedIndex: Founding.position.index, appliedTerm: Founding.position.term, currentRevision: revision,
            compactRevision: plan.marksCompacted ? revision : image.compactRevision)
    }

    private static func clusterID(
        _ plan: Plan, _ image: Image, _ restart: ImageRestart, _ sha1: ClusterIdentity.SHA1
    ) -> UInt64 {
        let members = ClusterIdentity.clusterID(members: plan.members.map(\.id), sha1: sha1)
        let numbers = [
            members, image.clusterID, image.appliedIndex.rawValue, image.appliedTerm.rawValue,
            UInt64(bitPattern: restart.currentRevision), UInt64(bitPattern: restart.compactRevision),
        ]
        return sha1(numbers.flatMap(MetaKeys.bigEndian)).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    // MARK: Steps

    private static func makeDirectories(_ path: String, _ fileSystem: any FileSystem) throws(IOError) {
        if path.isEmpty || path == "." || path == "/" { return }
        if try fileSystem.exists(path) { return }
        let parent = parentDirectory(of: path)
        try makeDirectories(parent, fileSystem)
        try fileSystem.createDirectory(path)
        try fileSystem.syncDirectory(parent)
    }

    private static func fillStore(
        at path: String, _ plan: Plan, _ result: Result, _ restart: ImageRestart,
        _ fill: (any Backend, Adjustment) throws(StartError) -> Void
    ) throws(StartError) {
        let backend = try orStop { () throws(StoreError) in try LMDBBackend.open(path: path) }
        defer { backend.close() }
        try fill(backend) { meta in
            replaceCluster(&meta, plan.members, result.clusterID)
            restart.apply(to: &meta)
        }
        // What a member would find at its start, found now: every record is read and checked.
        let store = try orStop { () throws(StoreError) in try Store.open(backend: backend) }
        guard store.appliedIndex == restart.appliedIndex, store.currentRevision == restart.currentRevision else {
            throw StartError("\(path): the restored store is not at the revision it should be")
        }
        do { _ = try StateMachine.members(in: store) } catch { throw StartError("\(path): \(error)") }
    }

    private static func replaceCluster(
        _ meta: inout [MetaChange], _ members: [Membership.Member], _ clusterID: UInt64
    ) {
        let prefixes = [MetaKeys.memberPrefix, MetaKeys.removedPrefix, MetaKeys.alarmPrefix]
        meta.removeAll { entry in
            entry.key == MetaKeys.cluster || entry.key == MetaKeys.installed
                || prefixes.contains { entry.key.array.starts(with: $0.array) }
        }
        meta.append(MetaChange(key: MetaKeys.cluster, value: Bytes(MetaKeys.bigEndian(clusterID))))
        for member in members {
            meta.append(MetaChange(key: MetaKeys.member(member.id), value: MemberCodec.encode(member)))
        }
    }

    private static func createLog(
        _ plan: Plan, _ result: Result, _ fileSystem: any FileSystem
    ) throws(StartError) {
        let directory = plan.walDirectory.isEmpty ? partDirectory(plan) + "/wal" : plan.walDirectory
        let start = Founding.position
        try orStop { () throws(IOError) in try makeDirectories(parentDirectory(of: directory), fileSystem) }
        try orStop { () throws(WALError) in
            let log = try WriteAheadLog.create(
                in: directory, fileSystem,
                metadata: WALMetadata(clusterID: result.clusterID, memberID: plan.memberID), salt: plan.salt,
                start: start, hardState: WALHardState(term: start.term, commit: start.index), options: plan.log)
            try log.close()
        }
    }
}
