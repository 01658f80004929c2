import Primitives

/// The keys of a workload: numbers below `count` in base 36, as many digits as the key has bytes, so that keys are of
/// one size, printable, and ordered as their numbers.
package struct KeySpace: Sendable {
    /// How many different keys there are.
    package let count: Int
    /// The size of each, bytes.
    package let keyBytes: Int
    private let isSequential: Bool
    private var generator: PRNG
    private var position: Int

    /// Keys in ascending order, beginning again after the last, or drawn at random from `seed`. Nil when `keyBytes`
    /// digits are too few for `count` keys, or either is not positive. A sequence begins at `first`.
    package init?(count: Int, keyBytes: Int, isSequential: Bool, seed: UInt64, first: Int = 0) {
        guard count > 0, keyBytes > 0 else { return nil }
        var capacity = 1
        for _ in 0..<keyBytes where capacity < count { capacity *= 36 }
        guard capacity >= count else { return nil }
        self.count = count
        self.keyBytes = keyBytes
        self.isSequential = isSequential
        generator = PRNG(seed: seed)
        position = first
    }

    /// The number of the next key.
    package mutating func next() -> Int {
        guard isSequential else { return generator.next(in: 0..<count) }
        defer { position = position + 1 == count ? 0 : position + 1 }
        return position
    }

    /// Writes the key of `number` into `buffer`, which has `keyBytes` bytes.
    package static func write(_ number: Int, into buffer: UnsafeMutableRawBufferPointer) {
        var rest = number
        for index in buffer.indices.reversed() {
            let digit = UInt8(rest % 36)
            buffer[index] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
            rest /= 36
        }
    }

    /// The key of `number`.
    package func key(_ number: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: keyBytes) { buffer, initialized in
            Self.write(number, into: UnsafeMutableRawBufferPointer(buffer))
            initialized = keyBytes
        }
    }
}

/// Random bytes that values are cut from, so that no two neighbouring values are the same and none can be compressed
/// (text: by little), at the price of a copy.
package struct ValuePool: Sendable {
    private let bytes: [UInt8]
    private let sizeMax: Int
    private var offset = 0

    /// A pool for values of up to `sizeMax` bytes; as text, of letters, digits, + and /.
    package init(sizeMax: Int, seed: UInt64, isText: Bool = false) {
        var generator = PRNG(seed: seed)
        self.sizeMax = sizeMax
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        bytes = (0..<(sizeMax + 4096)).map { _ in
            let byte = UInt8(truncatingIfNeeded: generator.next())
            return isText ? digits[Int(byte & 63)] : byte
        }
    }

    /// The next value, of `size` bytes (at most `sizeMax`).
    package mutating func next(size: Int) -> ArraySlice<UInt8> {
        offset = offset >= 4096 - 61 ? 0 : offset + 61
        return bytes[offset..<offset + min(size, sizeMax)]
    }
}
