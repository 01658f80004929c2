import NIOCore

/// gRPC's length-prefixed messages: one byte of flags (1: compressed), four of length, big-endian. Pure.
enum MessageFraming {
    static let prefixBytes = 5

    enum Step {
        /// The first message is not whole yet.
        case incomplete
        /// The first message, and how many bytes to drop to come to the next.
        case message(UnsafeRawBufferPointer, compressed: Bool, framedBytes: Int)
        /// The prefix announces more than `limit`.
        case tooLarge(Int)
        /// Flag bits that mean nothing.
        case badFlags(UInt8)
    }

    /// Looks at the front of `bytes`; never reads past them, whatever the prefix says.
    @inline(__always)
    static func first(in bytes: UnsafeRawBufferPointer, limit: Int) -> Step {
        guard bytes.count >= prefixBytes else { return .incomplete }
        let flags = bytes[0]
        guard flags <= 1 else { return .badFlags(flags) }
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
        guard length <= limit else { return .tooLarge(length) }
        guard bytes.count - prefixBytes >= length else { return .incomplete }
        let message = UnsafeRawBufferPointer(rebasing: bytes[prefixBytes..<prefixBytes + length])
        return .message(message, compressed: flags == 1, framedBytes: prefixBytes + length)
    }

    /// Writes the prefix of a message of `length` bytes.
    @inline(__always)
    static func writePrefix(_ target: UnsafeMutableRawBufferPointer, length: Int, compressed: Bool) {
        target[0] = compressed ? 1 : 0
        target.storeBytes(of: UInt32(truncatingIfNeeded: length).bigEndian, toByteOffset: 1, as: UInt32.self)
    }
}

/// `grpc-timeout`: one to eight digits and a unit.
enum GRPCTimeout {
    /// Nil when malformed.
    static func parse(_ text: UnsafeRawBufferPointer) -> TimeAmount? {
        guard text.count >= 2, text.count <= 9 else { return nil }
        var value: Int64 = 0
        for byte in text.dropLast() {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        switch text[text.count - 1] {
        case UInt8(ascii: "H"): return .seconds(min(value, 1_000_000) * 3600)
        case UInt8(ascii: "M"): return .seconds(min(value, 60_000_000) * 60)
        case UInt8(ascii: "S"): return .seconds(value)
        case UInt8(ascii: "m"): return .milliseconds(value)
        case UInt8(ascii: "u"): return .microseconds(value)
        case UInt8(ascii: "n"): return .nanoseconds(value)
        default: return nil
        }
    }

    /// The shortest form that does not lengthen the time left.
    static func format(_ time: TimeAmount) -> String {
        let nanoseconds = max(1, time.nanoseconds)
        let units: [(Int64, String)] = [
            (1, "n"), (1000, "u"), (1_000_000, "m"), (1_000_000_000, "S"), (60_000_000_000, "M"),
        ]
        for (size, name) in units where nanoseconds / size < 100_000_000 {
            return "\(nanoseconds / size)\(name)"
        }
        return "\(min(99_999_999, nanoseconds / 3_600_000_000_000))H"
    }
}
