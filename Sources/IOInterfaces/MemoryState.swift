internal import Primitives

/// The contents of a `MemoryFileSystem`: a value, so that a copy is cheap. Protected by its owner's mutex.
struct MemoryState {
    var random: PRNG
    var capacityBytes: Int
    /// Names as callers see them, and as the disk has them.
    var live = MemoryNames()
    var durable = MemoryNames()
    /// What leads from `durable` to `live`, in order.
    var pendingNames: [MemoryNameChange] = []
    var nodes: [Int: MemoryNode] = [:]
    var nextNode = 1
    var faults: [MemoryFault] = []
    var counts: [IOError.Operation: Int] = [:]
    var locks: Set<String> = []
    /// Grows with each crash: file objects of an older generation are dead.
    var generation = 0

    init(seed: UInt64, capacityBytes: Int) {
        random = PRNG(seed: seed)
        self.capacityBytes = capacityBytes
    }

    /// Counts an operation; the error number if it is to fail.
    mutating func count(_ operation: IOError.Operation) -> Int32? {
        counts[operation, default: 0] += 1
        var result: Int32?
        for i in faults.indices where faults[i].operation == nil || faults[i].operation == operation {
            faults[i].after -= 1
            if faults[i].after == 0 || (faults[i].after < 0 && faults[i].forever) { result = result ?? faults[i].errno }
        }
        return result
    }

    // MARK: Names

    func hasDirectory(_ path: String) -> Bool { live.hasDirectory(path) }

    func hasParent(_ path: String) -> Bool { live.hasDirectory(parentDirectory(of: path)) }

    mutating func makeNode() -> Int {
        nodes[nextNode] = MemoryNode()
        nextNode += 1
        return nextNode - 1
    }

    mutating func change(_ change: MemoryNameChange) {
        live.apply(change)
        pendingNames.append(change)
    }

    mutating func syncNames(of directory: String) {
        var left: [MemoryNameChange] = []
        for change in pendingNames {
            if change.directories.contains(directory) { durable.apply(change) } else { left.append(change) }
        }
        pendingNames = left
        collect()
    }

    // MARK: Bytes

    var usedBytes: Int { live.files.values.reduce(0) { $0 + nodes[$1]!.bytes.count } }

    /// Some of the sectors that are not synced reach the disk, the others never will.
    mutating func tear(_ node: Int) {
        // Most crashes are made to look like the common cases: nothing of the tail, or all of it, or a mixture.
        let keepOneIn = random.next(in: 0..<5)
        var stopped: Set<Int> = []
        for change in nodes[node]!.pending {
            switch change {
            case .resize(let size):
                if random.chance(oneIn: 2) { nodes[node]!.durable.resize(size) }
            case .write(let offset, let bytes):
                let end = offset + bytes.count
                var start = offset
                while start < end {
                    let sector = start / 512
                    let stop = min(end, (sector + 1) * 512)
                    if !keeps(oneIn: keepOneIn) { stopped.insert(sector) }
                    if !stopped.contains(sector) {
                        nodes[node]!.durable.overwrite(start, bytes[(start - offset)..<(stop - offset)])
                    }
                    start = stop
                }
            }
        }
        nodes[node]!.pending = []
    }

    private mutating func keeps(oneIn: Int) -> Bool {
        switch oneIn {
        case 0: false
        case 1: true
        default: random.chance(oneIn: oneIn)
        }
    }

    mutating func crash() {
        for node in nodes.keys.sorted() {
            tear(node)
            nodes[node]!.bytes = nodes[node]!.durable
            nodes[node]!.openCount = 0
        }
        let kept =
            switch random.next(in: 0..<3) {
            case 0: 0
            case 1: pendingNames.count
            default: random.next(in: 0..<pendingNames.count + 1)
            }
        for change in pendingNames[..<kept] { durable.apply(change) }
        durable.prune()
        live = durable
        pendingNames = []
        locks = []
        generation += 1
        collect()
    }

    /// Forgets nodes that no name leads to and nobody has open.
    private mutating func collect() {
        var used = Set(live.files.values).union(durable.files.values)
        for case .link(_, let node) in pendingNames { used.insert(node) }
        nodes = nodes.filter { used.contains($0.key) || $0.value.openCount > 0 }
    }
}

/// One file's bytes.
struct MemoryNode {
    enum Change {
        case write(Int, [UInt8])
        case resize(Int)
    }

    /// As reads see them, and as the disk has them.
    var bytes: [UInt8] = []
    var durable: [UInt8] = []
    /// What leads from `durable` to `bytes`, in order.
    var pending: [Change] = []
    var openCount = 0

    mutating func apply(_ change: Change) {
        bytes.apply(change)
        pending.append(change)
    }

    mutating func sync() {
        for change in pending { durable.apply(change) }
        pending = []
    }
}

enum MemoryNameChange {
    case createDirectory(String)
    case link(String, Int)
    case rename(String, String)
    case remove(String)

    /// The directories whose sync makes it durable.
    var directories: [String] {
        switch self {
        case .createDirectory(let path), .link(let path, _), .remove(let path): [parentDirectory(of: path)]
        case .rename(let path, let newPath): [parentDirectory(of: path), parentDirectory(of: newPath)]
        }
    }
}

/// Which name leads to which file.
struct MemoryNames {
    var files: [String: Int] = [:]
    var directories: Set<String> = []

    mutating func apply(_ change: MemoryNameChange) {
        switch change {
        case .createDirectory(let path): directories.insert(path)
        case .link(let path, let node): files[path] = node
        case .rename(let path, let newPath):
            if let node = files.removeValue(forKey: path) { files[newPath] = node }
        case .remove(let path): files[path] = nil
        }
    }

    /// Drops what lies in a directory that does not exist.
    mutating func prune() {
        for path in directories.sorted() where !hasDirectory(parentDirectory(of: path)) {
            directories.remove(path)
        }
        files = files.filter { hasDirectory(parentDirectory(of: $0.key)) }
    }

    /// The root and the working directory always exist.
    func hasDirectory(_ path: String) -> Bool { path == "." || path == "/" || directories.contains(path) }
}

extension [UInt8] {
    fileprivate mutating func apply(_ change: MemoryNode.Change) {
        switch change {
        case .write(let offset, let bytes): overwrite(offset, bytes[...])
        case .resize(let size): resize(size)
        }
    }

    fileprivate mutating func resize(_ size: Int) {
        if size > count {
            self += [UInt8](repeating: 0, count: size - count)
        } else {
            removeLast(count - size)
        }
    }

    fileprivate mutating func overwrite(_ offset: Int, _ bytes: ArraySlice<UInt8>) {
        if count < offset + bytes.count { resize(offset + bytes.count) }
        withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: $0) }
        }
    }
}
