// What the core may ask of the world, as protocols: files and a monotonic clock.
//
// Production uses `SystemFileSystem` and `SystemClock`; tests and the simulator use `MemoryFileSystem` (crashable,
// faulty from a seed) and `ManualClock`. Nothing above this target and below the shell calls the operating system in
// any other way.
//
// Owner thread: a `FileSystem` may be used by any thread. A `File` belongs to one thread at a time.
// Durability: nothing survives a power cut until `File.syncData()` returned for a file's bytes and
// `FileSystem.syncDirectory(_:)` for the names in a directory (create, rename, remove).

/// How a file is opened.
package enum OpenMode: Sendable {
    /// An existing file, to be read.
    case readOnly
    /// An existing file, to be read and written.
    case readWrite
    /// To be read and written; made (mode 0600, empty) when it does not exist.
    case create
    /// To be read and written; made (mode 0600, empty), an error (EEXIST) when it exists.
    case createExclusive
}

/// Names, directories and locks. Paths are `/`-separated, as the operating system takes them.
package protocol FileSystem: Sendable {
    /// Makes the directory (mode 0700); one that exists is left as it is. The parent must exist.
    func createDirectory(_ path: String) throws(IOError)
    /// The names (not paths) of the directory's files and directories, in byte order.
    func list(_ path: String) throws(IOError) -> [String]
    func open(_ path: String, _ mode: OpenMode) throws(IOError) -> any File
    /// Gives the file another name, atomically replacing a file that bears it.
    func rename(_ path: String, to newPath: String) throws(IOError)
    /// Removes the file's name (not a directory's).
    func remove(_ path: String) throws(IOError)
    /// The file's length in bytes.
    func size(_ path: String) throws(IOError) -> Int
    /// Whether a file or directory bears the name.
    func exists(_ path: String) throws(IOError) -> Bool
    /// Makes the directory's names durable: what was created, renamed or removed in it.
    func syncDirectory(_ path: String) throws(IOError)
    /// Takes the exclusive lock on a lock file, made when missing, without waiting. The lock ends with `release()`,
    /// with the object or with the process. When another holds it: EWOULDBLOCK, and the error says who.
    func lock(_ path: String) throws(IOError) -> any FileLock
    /// Bytes that this process may still fill on the volume that holds `path`.
    func freeBytes(_ path: String) throws(IOError) -> UInt64
}

/// The directory that holds the name: "." for a bare name, "/" for a name in the root.
package func parentDirectory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// One open file. Offsets and counts are bytes. After `close()` no other call is allowed.
package protocol File: AnyObject {
    /// The path for messages: as it was opened by, until the owner that renamed it sets another.
    var path: String { get set }
    /// Fills `buffer` from `offset`; returns how many bytes, fewer than asked only at the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOError) -> Int
    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOError)
    /// Makes the file at least `size` bytes long with room on the volume for all of them; new bytes read as zero.
    /// ENOSPC when there is no room.
    func preallocate(_ size: Int) throws(IOError)
    /// Makes the file exactly `size` bytes long.
    func truncate(_ size: Int) throws(IOError)
    /// Returns when every byte written so far, and the length, will survive a power cut. After an error nothing is
    /// known about the bytes since the last successful call, and calling again proves nothing: stop.
    func syncData() throws(IOError)
    /// The length in bytes.
    func size() throws(IOError) -> Int
    func close() throws(IOError)
}

/// A held exclusive lock; released with the object at the latest.
package protocol FileLock: AnyObject, Sendable {
    func release()
}

/// Time that never goes back and does not follow the calendar.
package protocol MonotonicClock: Sendable {
    /// Nanoseconds since a moment that is fixed for the process.
    func now() -> UInt64
}
