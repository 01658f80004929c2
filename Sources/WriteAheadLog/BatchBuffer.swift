/// The bytes of one batch, contiguous, in memory that is used again for the next. Freed by its owner.
struct BatchBuffer {
    /// A buffer that one large batch made larger than this is given back after it.
    static let keptBytesMax = 4 << 20

    private var storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private(set) var count = 0

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: storage[..<count]) }

    /// Starts a batch of at most `capacity` bytes.
    mutating func begin(_ capacity: Int) {
        count = 0
        if storage.count >= capacity { return }
        storage.deallocate()
        let size = max(capacity, min(storage.count * 2, Self.keptBytesMax), 64 << 10)
        storage = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
    }

    /// The next `bytes` bytes, to be filled by the caller before it adds more.
    mutating func add(_ bytes: Int) -> UnsafeMutableRawBufferPointer {
        let part = UnsafeMutableRawBufferPointer(rebasing: storage[count..<count + bytes])
        count += bytes
        return part
    }

    mutating func end() {
        count = 0
        if storage.count > Self.keptBytesMax { deallocate() }
    }

    mutating func deallocate() {
        storage.deallocate()
        storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
}
