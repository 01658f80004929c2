import Glibc
import IOInterfaces
import MVCC
import Primitives
import ServerCore

/// The data directory, locked, with its backend open.
struct StoreDirectory {
    let lock: any FileLock
    let backend: LMDBBackend
    /// Nothing was ever applied here: a first start, or a member that still waits for its snapshot.
    let isEmpty: Bool
    /// What an operator should know of the directory.
    let notes: [String]

    /// The directory of the backend's files.
    static func storePath(_ configuration: ServerConfiguration) -> String {
        configuration.effectiveDataDirectory + "/store"
    }

    /// - Throws: `StartError`.
    static func open(_ configuration: ServerConfiguration) throws(StartError) -> StoreDirectory {
        let fileSystem = SystemFileSystem()
        let directory = configuration.effectiveDataDirectory
        let store = storePath(configuration)
        let lock: any FileLock
        try refuseForeignData(in: directory)
        do throws(IOInterfaces.IOError) {
            try create(directory, fileSystem)
            if let slash = configuration.walDirectory.lastIndex(of: "/") {
                try create(String(configuration.walDirectory[..<slash]), fileSystem)
            }
            lock = try fileSystem.lock(directory + "/lock")
        } catch { throw StartError("\(error)") }
        let notes = restrict(directory)
        do throws(StartError) { return try open(lock, store, configuration, fileSystem, notes) } catch {
            lock.release()
            throw error
        }
    }

    private static func open(
        _ lock: any FileLock, _ store: String, _ configuration: ServerConfiguration, _ fileSystem: SystemFileSystem,
        _ notes: [String]
    ) throws(StartError) -> StoreDirectory {
        do {
            try fileSystem.createDirectory(store)
            try SnapshotInstall.removeLeftover(in: store, fileSystem)
            var options = LMDBOptions()
            options.isSyncOff = configuration.unsafeNoFsync
            let backend = try LMDBBackend.open(path: store + "/" + SnapshotInstall.storeFileName, options: options)
            try fileSystem.syncDirectory(store)
            let image = try backend.makeReader()
            try image.begin()
            defer { image.end() }
            return StoreDirectory(
                lock: lock, backend: backend, isEmpty: try image.summary().appliedIndex == .zero, notes: notes)
        } catch let error as StoreError {
            throw StartError("\(store): \(error)")
        } catch { throw StartError("\(error)") }
    }

    /// Creates a directory and those above it that are missing; their names outlive a power cut.
    private static func create(_ path: String, _ fileSystem: SystemFileSystem) throws(IOInterfaces.IOError) {
        var about = stat()
        if path.isEmpty { return }
        guard stat(path, &about) != 0, errno == ENOENT, let slash = path.dropLast().lastIndex(of: "/") else {
            return try fileSystem.createDirectory(path)
        }
        let parent = String(path[..<slash])
        try create(parent, fileSystem)
        try fileSystem.createDirectory(path)
        try fileSystem.syncDirectory(parent.isEmpty ? "/" : parent)
    }

    /// etcd's own data is not served and not covered by an empty cluster beside it.
    private static func refuseForeignData(in directory: String) throws(StartError) {
        let member = directory + "/member"
        for part in ["snap", "wal"] {
            var about = stat()
            guard stat("\(member)/\(part)", &about) == 0 else { continue }
            throw StartError(
                "\(directory) holds the data of etcd itself (\(member)/\(part)), which Martlet cannot read: name another "
                    + "--data-dir; to take over the keys, let etcd run on and copy them with etcdctl make-mirror "
                    + "(leases and revisions do not come along)")
        }
    }

    /// Takes everybody else's rights on the data directory away. Returns what is to be said of it. A directory with the
    /// sticky bit is a shared one, such as /tmp, and stays as it is.
    private static func restrict(_ directory: String) -> [String] {
        var about = stat()
        guard stat(directory, &about) == 0, about.st_mode & 0o077 != 0 else { return [] }
        let mode = String(about.st_mode & 0o7777, radix: 8)
        guard about.st_mode & 0o1000 == 0, chmod(directory, 0o700) == 0 else {
            return ["the data directory \(directory) has mode \(mode): others may see or change what is in it"]
        }
        return ["the data directory \(directory) had mode \(mode); it has 700 now"]
    }

    /// Puts a snapshot that was received in place of the store, unless the member has come further by itself meanwhile.
    /// The member is stopped.
    ///
    /// - Parameter applied: the last entry that it had applied.
    static func install(
        snapshotAt index: LogIndex, over applied: LogIndex, _ configuration: ServerConfiguration
    ) throws(StartError) {
        let fileSystem = SystemFileSystem()
        do throws(IOInterfaces.IOError) {
            // What is not installed is removed at the next start.
            if index > applied { try SnapshotInstall.publish(in: storePath(configuration), fileSystem) }
        } catch { throw StartError("\(error)") }
    }
}
