import Foundation
import Primitives

/// Draws field values that lie where encodings change: zero, one, the varint boundaries, negatives, extremes.
struct RandomValues {
    var generator: PRNG

    init(seed: UInt64) { generator = PRNG(seed: seed) }

    mutating func uint64() -> UInt64 {
        switch generator.next(in: 0..<6) {
        case 0: 0
        case 1: UInt64(generator.next(in: 1..<300))
        case 2: UInt64(1) << UInt64(generator.next(in: 0..<64))
        case 3: (UInt64(1) << UInt64(7 * generator.next(in: 1..<10))) - 1
        case 4: UInt64.max - UInt64(generator.next(in: 0..<2))
        default: generator.next()
        }
    }

    mutating func int64() -> Int64 { Int64(bitPattern: uint64()) }
    mutating func uint32() -> UInt32 { UInt32(truncatingIfNeeded: uint64()) }
    mutating func bool() -> Bool { generator.chance(oneIn: 2) }
    mutating func count(_ limit: Int) -> Int { generator.next(in: 0..<limit + 1) }

    mutating func data() -> Data {
        let count = generator.chance(oneIn: 20) ? generator.next(in: 100..<400) : generator.next(in: 0..<12)
        return Data((0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
    }

    mutating func string() -> String {
        String((0..<count(8)).map { _ in ["a", "0", "/", "é", "漢", "🐦"][generator.next(in: 0..<6)] as Character })
    }

    mutating func list<T>(_ limit: Int, _ make: (inout RandomValues) -> T) -> [T] {
        (0..<count(limit)).map { _ in make(&self) }
    }

    mutating func maybe<T>(_ make: (inout RandomValues) -> T) -> T? { bool() ? make(&self) : nil }
}

/// Keeps copies of bytes at a fixed address until it goes away, for views that borrow them.
final class Arena {
    private var blocks: [UnsafeMutableRawBufferPointer] = []

    func keep(_ data: Data) -> UnsafeRawBufferPointer {
        if data.isEmpty { return UnsafeRawBufferPointer(start: nil, count: 0) }
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: data.count, alignment: 1)
        block.copyBytes(from: data)
        blocks.append(block)
        return UnsafeRawBufferPointer(block)
    }

    deinit { for block in blocks { block.deallocate() } }
}

/// Memory whose last byte is followed by a page that must not be touched: reading one byte too many ends the process.
final class GuardedMemory {
    private let base: UnsafeMutableRawPointer
    private let pageBytes = sysconf(Int32(_SC_PAGESIZE))
    private let usableBytes: Int

    init(capacity: Int) {
        usableBytes = (capacity + pageBytes - 1) / pageBytes * pageBytes
        base = mmap(
            nil, usableBytes + pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        precondition(base != MAP_FAILED)
        precondition(mprotect(base + usableBytes, pageBytes, PROT_NONE) == 0)
    }

    /// Copies `bytes` so that they end at the forbidden page; valid until the next call.
    func place(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
        precondition(bytes.count <= usableBytes)
        let start = base + (usableBytes - bytes.count)
        bytes.withUnsafeBytes { if let source = $0.baseAddress { memcpy(start, source, bytes.count) } }
        return UnsafeRawBufferPointer(start: start, count: bytes.count)
    }

    deinit { munmap(base, usableBytes + pageBytes) }
}
