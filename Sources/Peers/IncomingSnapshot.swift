import IOInterfaces
package import MVCC
package import Primitives
package import Snapshots

/// A snapshot on its way into a file of its own: opened empty, filled, verified, synced, closed, and then the
/// caller's to rename. One thread at a time; every method may block for the disk.
package final class IncomingSnapshot {
    package let path: String
    private let files: any FileSystem = SystemFileSystem()
    private var backend: LMDBBackend?
    private var restore: SnapshotRestore?

    /// Makes an empty store at `path`, in place of one that was left there. Throws `.store`.
    package init(path: String, options: LMDBOptions = LMDBOptions()) throws(SnapshotError) {
        self.path = path
        var options = options
        // A file that is not whole is worth nothing: it is synced once, at the end. The disk is at work all the time.
        options.isSyncOff = true
        options.isWritebackEager = true
        try Self.remove(path, files)
        let backend: LMDBBackend
        do throws(StoreError) { backend = try LMDBBackend.open(path: path, options: options) } catch {
            throw .store(error)
        }
        self.backend = backend
        restore = try SnapshotRestore(into: backend)
    }

    /// Known once the first bytes have come.
    package var header: SnapshotHeader? { restore?.header }

    /// Takes the next bytes of the stream. Throws what is wrong with them, or `.store`; only `abort` makes sense then.
    package func append(_ bytes: Bytes) throws(SnapshotError) {
        guard let restore else { throw .store(.closed) }
        try restore.append(bytes)
    }

    /// Verifies that the stream was whole, writes the meta entries as `adjust` changes them, syncs the file and its
    /// name, and closes it. Throws as `append`.
    package func finish(
        adjusting adjust: (inout [MetaChange]) -> Void = { _ in }
    ) throws(SnapshotError) -> SnapshotStatus {
        guard let restore else { throw .store(.closed) }
        let status = try restore.finish(adjusting: adjust)
        close()
        do throws(IOError) {
            let file = try files.open(path, .readWrite)
            try file.syncData()
            try file.close()
            // LMDB's lock file means nothing to who opens the store under its final name.
            if try files.exists(path + "-lock") { try files.remove(path + "-lock") }
            try files.syncDirectory(parentDirectory(of: path))
        } catch { throw Self.failure(error) }
        return status
    }

    /// Closes and removes the file. After `finish`: does nothing.
    package func abort() {
        guard backend != nil else { return }
        close()
        // What cannot be removed is removed by the next attempt, or complained of there.
        try? Self.remove(path, files)
    }

    private func close() {
        backend?.close()
        restore = nil
        backend = nil
    }

    private static func remove(_ path: String, _ files: any FileSystem) throws(SnapshotError) {
        do throws(IOError) {
            for name in [path, path + "-lock"] where try files.exists(name) { try files.remove(name) }
        } catch { throw failure(error) }
    }

    private static func failure(_ error: IOError) -> SnapshotError {
        .store(.system(code: error.errno, operation: "\(error)"))
    }
}
