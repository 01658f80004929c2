/// A growable run of bytes with a read position, owned by one stream: what has arrived and waits for the rest of its
/// message, or what waits for the peer's flow-control window.
///
/// Not `ByteBuffer`, because it never leaves its stream: no copy-on-write check on each append. A class, because a
/// struct inside another object would have every access checked for exclusivity at run time.
/// Owner: the event loop of the stream.
final class RawBuffer {
    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    private var start = 0
    private var end = 0

    deinit { base?.deallocate() }

    /// Unread bytes.
    var count: Int { end - start }
    var isEmpty: Bool { start == end }

    /// The unread bytes; valid until the next mutation.
    var readable: UnsafeRawBufferPointer {
        guard let base else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: base + start, count: end - start)
    }

    /// Room for `count` more bytes at the end; follow with `commit`. Valid until the next mutation.
    func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if capacity - end < count { makeRoom(for: count) }
        return UnsafeMutableRawBufferPointer(start: base.map { $0 + end }, count: count)
    }

    /// Makes the first `count` bytes of the last `reserve` readable.
    func commit(_ count: Int) {
        assert(end + count <= capacity)
        end += count
    }

    func append(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        reserve(bytes.count).copyMemory(from: bytes)
        end += bytes.count
    }

    /// Drops `count` bytes from the front.
    func consume(_ count: Int) {
        assert(count <= self.count)
        start += count
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Forgets the bytes; gives the memory back when it is more than `capacityKept` bytes.
    func clear(capacityKept: Int) {
        start = 0
        end = 0
        if capacity > capacityKept {
            base?.deallocate()
            base = nil
            capacity = 0
        }
    }

    @inline(never)
    private func makeRoom(for count: Int) {
        let used = end - start
        if let base, start > 0, capacity - used >= count, used <= capacity / 2 {
            base.copyMemory(from: base + start, byteCount: used)
        } else {
            let grown = max(capacity * 2, max(used + count, 256))
            let fresh = UnsafeMutableRawPointer.allocate(byteCount: grown, alignment: 16)
            if let base {
                fresh.copyMemory(from: base + start, byteCount: used)
                base.deallocate()
            }
            base = fresh
            capacity = grown
        }
        start = 0
        end = used
    }
}
