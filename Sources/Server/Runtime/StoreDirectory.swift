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
        do throws(IOInterfaces.IOError) {
            try fileSystem.createDirectory(directory)
            lock = try fileSystem.lock(directory + "/lock")
        } catch { throw StartError("\(error)") }
        do throws(StartError) { return try open(lock, store, configuration, fileSystem) } catch {
            lock.release()
            throw error
        }
    }

    private static func open(
        _ lock: any FileLock, _ store: String, _ configuration: ServerConfiguration, _ fileSystem: SystemFileSystem
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
                lock: lock, backend: backend, isEmpty: try image.summary().appliedIndex == .zero)
        } catch let error as StoreError {
            throw StartError("\(store): \(error)")
        } catch { throw StartError("\(error)") }
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
