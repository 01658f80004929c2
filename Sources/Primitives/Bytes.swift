public import Glibc

/// An immutable, shared, contiguous run of bytes: a key, a record, a log payload. Copies share storage.
///
/// Ordered as unsigned bytes, the shorter first where one is a prefix of the other, as keys are in etcd.
@frozen
package struct Bytes: Sendable, Hashable, Comparable {
    @usableFromInline var storage: [UInt8]

    @inlinable package init() { storage = [] }
    @inlinable package init(_ storage: [UInt8]) { self.storage = storage }
    @inlinable package init(copying bytes: UnsafeRawBufferPointer) { storage = [UInt8](bytes) }
    @inlinable package init(utf8 string: String) { storage = Array(string.utf8) }

    /// Makes `count` bytes that `fill` writes, all of them.
    @inlinable @inline(__always)
    package init<E: Error>(
        count: Int, fill: (UnsafeMutableRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        var failure: E?
        storage = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            do throws(E) { try fill(UnsafeMutableRawBufferPointer(buffer)) } catch { failure = error }
            initialized = failure == nil ? count : 0
        }
        if let failure { throw failure }
    }

    @inlinable package var count: Int { storage.count }
    @inlinable package var isEmpty: Bool { storage.isEmpty }
    /// The bytes as an array; shares storage.
    @inlinable package var array: [UInt8] { storage }
    @inlinable package subscript(index: Int) -> UInt8 { storage[index] }

    // Always inlined, like the filling initializer: unspecialised, both cost more than most of what they wrap.
    @inlinable @inline(__always)
    package func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try storage.withUnsafeBufferPointer { (buffer) throws(E) -> R in try body(UnsafeRawBufferPointer(buffer)) }
    }

    @inlinable package static func < (a: Bytes, b: Bytes) -> Bool {
        a.withUnsafeBytes { x in b.withUnsafeBytes { y in compareBytes(x, y) < 0 } }
    }

    @inlinable package static func == (a: Bytes, b: Bytes) -> Bool {
        a.count == b.count && a.withUnsafeBytes { x in b.withUnsafeBytes { y in compareBytes(x, y) == 0 } }
    }

    @inlinable package func hash(into hasher: inout Hasher) {
        withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension Bytes: CustomStringConvertible {
    /// The bytes as text where they are printable ASCII, others as `\xNN`.
    package var description: String {
        var text = ""
        for byte in storage {
            if byte >= 0x20, byte < 0x7f, byte != 0x5c {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                text += byte < 16 ? "\\x0\(digits)" : "\\x\(digits)"
            }
        }
        return text
    }
}

extension Bytes: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self.init(utf8: value) }
}

/// Negative, zero or positive as `a` orders before, equal to or after `b`: unsigned bytes, then length.
@inlinable
package func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    let common = min(a.count, b.count)
    if common > 0 {
        let order = memcmp(a.baseAddress!, b.baseAddress!, common)
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}
