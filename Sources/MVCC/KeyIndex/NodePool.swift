#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// The memory of the index's nodes: chunks of one huge page each, because a descent touches places far apart and would
/// else pay a page walk for each of them. Freed nodes are used again; the chunks are let go with the index.
struct NodePool: ~Copyable {
    private var chunks: [UnsafeMutableRawPointer] = []
    private var free: [IndexNodePointer] = []
    /// What is left of the newest chunk.
    private var unused = 0
    private static let chunkBytes = 2 << 20

    deinit {
        for chunk in chunks { chunk.deallocate() }
    }

    mutating func makeNode(level: Int32) -> IndexNodePointer {
        let node = free.popLast() ?? carve()
        node.initialize(to: IndexNode(count: 0, level: level, prefixCount: 0, next: nil, previous: nil))
        return node
    }

    /// Takes back the node alone, not what it holds.
    mutating func giveBack(_ node: IndexNodePointer) { free.append(node) }

    private mutating func carve() -> IndexNodePointer {
        if unused < IndexNodePointer.byteCount {
            var memory: UnsafeMutableRawPointer?
            let result = posix_memalign(&memory, Self.chunkBytes, Self.chunkBytes)
            guard result == 0, let memory else { fatalError("out of memory for the key index") }
            // A wish: without huge pages all works, slower.
            _ = madvise(memory, Self.chunkBytes, MADV_HUGEPAGE)
            chunks.append(memory)
            unused = Self.chunkBytes
        }
        let start = chunks[chunks.count - 1] + (Self.chunkBytes - unused)
        unused -= IndexNodePointer.byteCount
        return start.bindMemory(to: IndexNode.self, capacity: 1)
    }
}
