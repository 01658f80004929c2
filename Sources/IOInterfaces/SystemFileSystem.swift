internal import CPlatform
internal import Primitives
internal import Synchronization

/// The operating system's files (POSIX). Any thread.
package struct SystemFileSystem: FileSystem {
    package init() {}

    package func createDirectory(_ path: String) throws(IOError) {
        try check(martlet_create_directory(path), .createDirectory, path)
    }

    package func list(_ path: String) throws(IOError) -> [String] {
        var names: [String] = []
        let result = withUnsafeMutablePointer(to: &names) { pointer in
            martlet_list(
                path,
                { context, name in
                    guard let context, let name else { return }
                    context.assumingMemoryBound(to: [String].self).pointee.append(String(cString: name))
                }, pointer)
        }
        try check(result, .list, path)
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    package func open(_ path: String, _ mode: OpenMode) throws(IOError) -> any File {
        let (flags, operation): (Int, IOError.Operation) =
            switch mode {
            case .readOnly: (MARTLET_OPEN_READ_ONLY, .open)
            case .readWrite: (MARTLET_OPEN_READ_WRITE, .open)
            case .create: (MARTLET_OPEN_CREATE, .create)
            case .createExclusive: (MARTLET_OPEN_CREATE_EXCLUSIVE, .create)
            }
        let descriptor = martlet_open(path, Int32(flags))
        try check(descriptor, operation, path)
        return SystemFile(path: path, descriptor: descriptor)
    }

    package func rename(_ path: String, to newPath: String) throws(IOError) {
        let result = martlet_rename(path, newPath)
        if result < 0 { throw IOError(.rename, path, errno: -result, detail: "to \(newPath)") }
    }

    package func remove(_ path: String) throws(IOError) {
        try check(martlet_remove(path), .remove, path)
    }

    package func size(_ path: String) throws(IOError) -> Int {
        let size = martlet_path_size(path)
        if size < 0 { throw IOError(.size, path, errno: Int32(-size)) }
        return Int(size)
    }

    package func exists(_ path: String) throws(IOError) -> Bool {
        let size = martlet_path_size(path)
        if size >= 0 { return true }
        if Int32(-size) == martlet_enoent() { return false }
        throw IOError(.exists, path, errno: Int32(-size))
    }

    package func syncDirectory(_ path: String) throws(IOError) {
        try check(martlet_sync_directory(path), .syncDirectory, path)
    }

    package func lock(_ path: String) throws(IOError) -> any FileLock {
        let descriptor = martlet_open(path, Int32(MARTLET_OPEN_CREATE))
        try check(descriptor, .lock, path)
        let file = SystemFile(path: path, descriptor: descriptor)
        let result = martlet_lock(descriptor)
        if result == -martlet_ewouldblock() {
            throw IOError(
                .lock, path, errno: -result, detail: "another process\(holder(file)) uses this data directory")
        }
        try check(result, .lock, path)
        // The process id is there for the message above only; the lock does not depend on it.
        let id = Bytes(utf8: "\(martlet_process_id())\n")
        try file.truncate(0)
        try id.withUnsafeBytes { bytes throws(IOError) in try file.write(bytes, at: 0) }
        return SystemFileLock(file)
    }

    package func freeBytes(_ path: String) throws(IOError) -> UInt64 {
        var bytes: UInt64 = 0
        try check(martlet_free_bytes(path, &bytes), .freeBytes, path)
        return bytes
    }

    /// The process id that the lock's holder left in the file, as words to go into a sentence.
    private func holder(_ file: SystemFile) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = bytes.withUnsafeMutableBytes { try? file.read(into: $0, at: 0) } ?? 0
        let digits = bytes[..<count].prefix { $0 >= 0x30 && $0 <= 0x39 }
        return digits.isEmpty ? "" : " (pid \(String(decoding: digits, as: UTF8.self)))"
    }
}

private func check(_ result: Int32, _ operation: IOError.Operation, _ path: String) throws(IOError) {
    if result < 0 { throw IOError(operation, path, errno: -result) }
}

/// An open descriptor; closed with the object at the latest.
private final class SystemFile: File {
    var path: String
    private var descriptor: Int32

    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        if descriptor >= 0 { _ = martlet_close(descriptor) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        let count = martlet_read(descriptor, base, buffer.count, Int64(offset))
        if count < 0 { throw IOError(.read, path, errno: Int32(-count), offset: offset) }
        return Int(count)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOError) {
        guard let base = bytes.baseAddress else { return }
        let result = martlet_write(descriptor, base, bytes.count, Int64(offset))
        if result < 0 { throw IOError(.write, path, errno: -result, offset: offset) }
    }

    func preallocate(_ size: Int) throws(IOError) {
        // posix_fallocate refuses a length of 0.
        if size > 0 { try check(martlet_preallocate(descriptor, Int64(size)), .preallocate, path) }
    }

    func truncate(_ size: Int) throws(IOError) {
        try check(martlet_truncate(descriptor, Int64(size)), .truncate, path)
    }

    func syncData() throws(IOError) {
        try check(martlet_sync_data(descriptor), .sync, path)
    }

    func size() throws(IOError) -> Int {
        let size = martlet_descriptor_size(descriptor)
        if size < 0 { throw IOError(.size, path, errno: Int32(-size)) }
        return Int(size)
    }

    func close() throws(IOError) {
        guard descriptor >= 0 else { return }
        let result = martlet_close(descriptor)
        descriptor = -1
        try check(result, .close, path)
    }
}

/// Held as long as its descriptor is open.
private final class SystemFileLock: FileLock {
    private let file: Mutex<SystemFile?>

    init(_ file: sending SystemFile) { self.file = Mutex(file) }

    // Closing the only descriptor of the open file ends its flock.
    func release() { file.withLock { $0 = nil } }
}
