internal import CPlatform
internal import Primitives
internal import Synchronization

/// A file operation that is to fail.
package struct MemoryFault: Sendable {
    /// The kind of operation; nil: any.
    package var operation: IOError.Operation?
    /// Which of the matching operations from now on fails, from 1.
    package var after: Int
    /// What it fails with.
    package var errno: Int32
    /// Whether every later matching operation fails too.
    package var forever: Bool

    package init(
        _ operation: IOError.Operation? = nil, after: Int, errno: Int32 = inputOutputError, forever: Bool = false
    ) {
        self.operation = operation
        self.after = after
        self.errno = errno
        self.forever = forever
    }

    /// EIO.
    package static var inputOutputError: Int32 { martlet_eio() }
    /// ENOSPC.
    package static var noSpace: Int32 { martlet_enospc() }
}

/// Files in memory that forget what was not synced, tear writes and fail, all from one seed: the same calls give the
/// same outcome. For tests and the simulator. Any thread (one mutex); determinism needs one thread, or calls in a
/// fixed order.
///
/// What a crash leaves behind:
/// - Bytes since a file's last `syncData`: for each 512-byte sector, the writes that touched it up to a random one;
///   so an append can lose any subset of its sectors. A sector is never half a write: what the disks we run on
///   promise.
/// - Names since a directory's last `syncDirectory`: the changes up to a random one, in order (a journal); files whose
///   directory is gone are gone.
/// - Open files and locks: none. A file object from before the crash fails with EBADF.
///
/// A failed write leaves a random first part of its bytes. A failed sync leaves some of its sectors on the disk and
/// loses the others for good, though reads still show them until a crash and a later sync succeeds: what Linux does.
///
/// `@unchecked Sendable`: `mutex` protects `state`.
package final class MemoryFileSystem: FileSystem, @unchecked Sendable {
    private let mutex = Mutex<Void>(())
    private var state: MemoryState

    /// `capacityBytes`: how many bytes the files may hold together before ENOSPC.
    package init(seed: UInt64, capacityBytes: Int = .max) {
        state = MemoryState(seed: seed, capacityBytes: capacityBytes)
    }

    private init(_ copy: MemoryState) { state = copy }

    // MARK: Names

    package func createDirectory(_ path: String) throws(IOError) {
        try run(.createDirectory, path) { (state) throws(ErrorNumber) in
            if state.live.directories.contains(path) { return }
            if state.live.files[path] != nil { throw ErrorNumber(martlet_eexist()) }
            guard state.hasParent(path) else { throw ErrorNumber(martlet_enoent()) }
            state.change(.createDirectory(path))
        }
    }

    package func list(_ path: String) throws(IOError) -> [String] {
        try run(.list, path) { (state) throws(ErrorNumber) in
            guard state.hasDirectory(path) else { throw ErrorNumber(martlet_enoent()) }
            let paths = Array(state.live.files.keys) + Array(state.live.directories)
            let names = paths.filter { parentDirectory(of: $0) == path }.map {
                String($0.split(separator: "/").last ?? "")
            }
            return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
    }

    package func open(_ path: String, _ mode: OpenMode) throws(IOError) -> any File {
        let creates = mode == .create || mode == .createExclusive
        let (node, generation) = try run(creates ? .create : .open, path) { (state) throws(ErrorNumber) in
            if let node = state.live.files[path] {
                if mode == .createExclusive { throw ErrorNumber(martlet_eexist()) }
                state.nodes[node]!.openCount += 1
                return (node, state.generation)
            }
            guard creates, state.hasParent(path) else { throw ErrorNumber(martlet_enoent()) }
            let node = state.makeNode()
            state.nodes[node]!.openCount = 1
            state.change(.link(path, node))
            return (node, state.generation)
        }
        return MemoryFile(self, path: path, node: node, generation: generation, isReadOnly: mode == .readOnly)
    }

    package func rename(_ path: String, to newPath: String) throws(IOError) {
        try run(.rename, path) { (state) throws(ErrorNumber) in
            guard state.live.files[path] != nil, state.hasParent(newPath) else { throw ErrorNumber(martlet_enoent()) }
            state.change(.rename(path, newPath))
        }
    }

    package func remove(_ path: String) throws(IOError) {
        try run(.remove, path) { (state) throws(ErrorNumber) in
            guard state.live.files[path] != nil else { throw ErrorNumber(martlet_enoent()) }
            state.change(.remove(path))
        }
    }

    package func size(_ path: String) throws(IOError) -> Int {
        try run(.size, path) { (state) throws(ErrorNumber) in
            guard let node = state.live.files[path] else { throw ErrorNumber(martlet_enoent()) }
            return state.nodes[node]!.bytes.count
        }
    }

    package func exists(_ path: String) throws(IOError) -> Bool {
        try run(.exists, path) { (state) throws(ErrorNumber) in
            state.live.files[path] != nil || state.hasDirectory(path)
        }
    }

    package func syncDirectory(_ path: String) throws(IOError) {
        try run(.syncDirectory, path) { (state) throws(ErrorNumber) in
            guard state.hasDirectory(path) else { throw ErrorNumber(martlet_enoent()) }
            state.syncNames(of: path)
        }
    }

    package func lock(_ path: String) throws(IOError) -> any FileLock {
        do throws(IOError) {
            return try run(.lock, path) { (state) throws(ErrorNumber) in
                guard state.hasParent(path) else { throw ErrorNumber(martlet_enoent()) }
                guard state.locks.insert(path).inserted else { throw ErrorNumber(martlet_ewouldblock()) }
                return MemoryLock(self, path: path, generation: state.generation)
            }
        } catch {
            guard error.errno == martlet_ewouldblock() else { throw error }
            throw IOError(.lock, path, errno: error.errno, detail: "another process uses this data directory")
        }
    }

    package func freeBytes(_ path: String) throws(IOError) -> UInt64 {
        try run(.freeBytes, path) { (state) throws(ErrorNumber) in UInt64(max(0, state.capacityBytes - state.usedBytes))
        }
    }

    // MARK: Control

    /// Power cut and restart; see the type's comment for what is left.
    package func crash() { locked { $0.crash() } }

    /// Adds a failure to come.
    package func inject(_ fault: MemoryFault) { locked { $0.faults.append(fault) } }

    /// Forgets the failures to come.
    package func clearFaults() { locked { $0.faults = [] } }

    /// Bytes all files together may hold.
    package func setCapacity(bytes: Int) { locked { $0.capacityBytes = bytes } }

    /// Operations asked for so far, failed ones included.
    package var operationCount: Int { locked { $0.counts.values.reduce(0, +) } }

    /// The same, of one kind.
    package func operationCount(of operation: IOError.Operation) -> Int {
        locked { $0.counts[operation] ?? 0 }
    }

    /// Another file system with the same contents, synced and not, and its own randomness; no open files or locks.
    package func copy(seed: UInt64) -> MemoryFileSystem {
        MemoryFileSystem(
            locked { state in
                var copy = state
                copy.random = PRNG(seed: seed)
                copy.locks = []
                copy.generation += 1
                return copy
            })
    }

    /// The file's bytes as a reader sees them; nil when there is no such file.
    package func contents(of path: String) -> [UInt8]? {
        locked { state in state.live.files[path].map { state.nodes[$0]!.bytes } }
    }

    /// Puts bytes on the disk behind everybody's back; the file must exist.
    package func replaceContents(of path: String, with bytes: [UInt8]) {
        locked { state in
            guard let node = state.live.files[path] else { invariantFailed("no file \(path)") }
            state.nodes[node]!.bytes = bytes
            state.nodes[node]!.durable = bytes
            state.nodes[node]!.pending = []
        }
    }

    /// Flips one bit on the disk; the file must have it.
    package func flipBit(in path: String, atByte offset: Int, bit: Int) {
        locked { state in
            guard let node = state.live.files[path] else { invariantFailed("no file \(path)") }
            state.nodes[node]!.bytes[offset] ^= UInt8(1 << bit)
            if offset < state.nodes[node]!.durable.count { state.nodes[node]!.durable[offset] ^= UInt8(1 << bit) }
        }
    }

    // MARK: Within this file

    private func locked<Value>(_ body: (inout MemoryState) -> Value) -> Value {
        var value: Value?
        mutex.withLock { _ in value = body(&state) }
        return value!
    }

    /// Counts the operation, fails it if its time has come (having done what `failing` says), else does it.
    fileprivate func run<Value>(
        _ operation: IOError.Operation, _ path: String, at offset: Int? = nil,
        failing: (inout MemoryState) -> Void = { _ in },
        _ body: (inout MemoryState) throws(ErrorNumber) -> Value
    ) throws(IOError) -> Value {
        let result = locked { state -> Result<Value, ErrorNumber> in
            if let number = state.count(operation) {
                failing(&state)
                return .failure(ErrorNumber(number))
            }
            do throws(ErrorNumber) { return .success(try body(&state)) } catch { return .failure(error) }
        }
        switch result {
        case .success(let value): return value
        case .failure(let error): throw IOError(operation, path, errno: error.number, offset: offset)
        }
    }

    fileprivate func unlock(_ path: String, generation: Int) {
        locked { if $0.generation == generation { $0.locks.remove(path) } }
    }

    fileprivate func close(_ node: Int, generation: Int) {
        locked { if $0.generation == generation { $0.nodes[node]?.openCount -= 1 } }
    }
}

/// An operation's failure inside the mutex; becomes an `IOError` outside.
private struct ErrorNumber: Error {
    let number: Int32
    init(_ number: Int32) { self.number = number }
}

/// An open file; closed with the object at the latest.
private final class MemoryFile: File {
    private let fileSystem: MemoryFileSystem
    var path: String
    private let node: Int
    private let generation: Int
    private let isReadOnly: Bool
    private var isOpen = true

    init(_ fileSystem: MemoryFileSystem, path: String, node: Int, generation: Int, isReadOnly: Bool) {
        self.fileSystem = fileSystem
        self.path = path
        self.node = node
        self.generation = generation
        self.isReadOnly = isReadOnly
    }

    deinit {
        if isOpen { fileSystem.close(node, generation: generation) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOError) -> Int {
        try run(.read, at: offset) { (node) throws(ErrorNumber) in
            let count = max(0, min(buffer.count, node.bytes.count - offset))
            node.bytes.withUnsafeBytes { bytes in
                if count > 0 {
                    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count]))
                }
            }
            return count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(IOError) {
        try run(.write, at: offset, growingTo: offset + bytes.count) { state, node in
            let part = UnsafeRawBufferPointer(rebasing: bytes[..<state.random.next(in: 0..<bytes.count + 1)])
            state.nodes[node]!.apply(.write(offset, [UInt8](part)))
        } _: { (node) throws(ErrorNumber) in
            node.apply(.write(offset, [UInt8](bytes)))
        }
    }

    func preallocate(_ size: Int) throws(IOError) {
        try run(.preallocate, growingTo: size) { (node) throws(ErrorNumber) in
            if size > node.bytes.count { node.apply(.resize(size)) }
        }
    }

    func truncate(_ size: Int) throws(IOError) {
        try run(.truncate, growingTo: size) { (node) throws(ErrorNumber) in node.apply(.resize(size)) }
    }

    func syncData() throws(IOError) {
        try run(.sync) { state, node in
            // What did reach the disk stays; the rest is never tried again.
            state.tear(node)
        } _: { (node) throws(ErrorNumber) in
            node.sync()
        }
    }

    func size() throws(IOError) -> Int {
        try run(.size) { (node) throws(ErrorNumber) in node.bytes.count }
    }

    func close() throws(IOError) {
        guard isOpen else { return }
        isOpen = false
        fileSystem.close(node, generation: generation)
        _ = try fileSystem.run(.close, path) { _ throws(ErrorNumber) in }
    }

    private func run<Value>(
        _ operation: IOError.Operation, at offset: Int? = nil, growingTo size: Int = 0,
        failing: (inout MemoryState, Int) -> Void = { _, _ in },
        _ body: (inout MemoryNode) throws(ErrorNumber) -> Value
    ) throws(IOError) -> Value {
        let (node, generation) = (node, generation)
        let isRefused = !isOpen || (isReadOnly && size > 0)
        return try fileSystem.run(operation, path, at: offset) { state in
            if state.generation == generation, !isRefused { failing(&state, node) }
        } _: { (state) throws(ErrorNumber) in
            guard state.generation == generation, !isRefused else { throw ErrorNumber(martlet_ebadf()) }
            let growth = size - state.nodes[node]!.bytes.count
            if growth > 0, growth > state.capacityBytes - state.usedBytes { throw ErrorNumber(martlet_enospc()) }
            return try body(&state.nodes[node]!)
        }
    }
}

/// A held lock.
private final class MemoryLock: FileLock {
    private let fileSystem: MemoryFileSystem
    private let path: String
    private let generation: Int

    init(_ fileSystem: MemoryFileSystem, path: String, generation: Int) {
        self.fileSystem = fileSystem
        self.path = path
        self.generation = generation
    }

    deinit { release() }

    func release() { fileSystem.unlock(path, generation: generation) }
}
