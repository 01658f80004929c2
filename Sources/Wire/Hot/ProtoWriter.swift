package import Primitives

/// Writes protobuf fields into memory of a size computed before (with `ProtoSize`). Writing past the end, or leaving
/// room at `finish()`, is a programming error and stops the process.
///
/// The methods named after a type follow proto3: zero, false and empty are not written. Where presence matters (an
/// embedded message, a oneof's member, a proto2 scalar) use the ones that say `always` or `message`.
@frozen
package struct ProtoWriter {
    @usableFromInline let end: UnsafeMutableRawPointer
    @usableFromInline var cursor: UnsafeMutableRawPointer

    @inlinable @inline(__always)
    package init(_ buffer: UnsafeMutableRawBufferPointer) {
        // An empty buffer may have no address; any will do, it is never written.
        cursor = buffer.baseAddress ?? UnsafeMutableRawPointer(bitPattern: 1).unsafelyUnwrapped
        end = cursor + buffer.count
    }

    /// How many bytes may still be written.
    @inlinable @inline(__always)
    package var remaining: Int { end - cursor }

    /// Checks that the size computed before was right.
    @inlinable @inline(__always)
    package func finish() {
        invariant(cursor == end, "a protobuf message is \(remaining) bytes shorter than computed")
    }

    // MARK: Parts

    @inlinable @inline(__always)
    package mutating func varint(_ value: UInt64) {
        if _fastPath(value < 0x80 && cursor < end) {
            cursor.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
            cursor += 1
        } else {
            longVarint(value)
        }
    }

    @inlinable @inline(__always)
    package mutating func tag(_ tag: FieldTag) { varint(UInt64(tag.rawValue)) }

    /// Bytes as they are: a whole encoded message after `messageHeader`, for instance.
    @inlinable @inline(__always)
    package mutating func raw(_ bytes: UnsafeRawBufferPointer) {
        invariant(bytes.count <= remaining, "a protobuf message is longer than computed")
        if let source = bytes.baseAddress, bytes.count > 0 {
            cursor.copyMemory(from: source, byteCount: bytes.count)
            cursor += bytes.count
        }
    }

    /// Tag and length of an embedded message (or of bytes that must be present); `count` bytes must follow.
    @inlinable @inline(__always)
    package mutating func messageHeader(_ number: UInt32, count: Int) {
        tag(.bytes(number))
        varint(UInt64(truncatingIfNeeded: count))
    }

    /// Tag, length and content of an embedded message that is already encoded, also when it is empty.
    @inlinable @inline(__always)
    package mutating func message(_ number: UInt32, _ encoded: UnsafeRawBufferPointer) {
        messageHeader(number, count: encoded.count)
        raw(encoded)
    }

    // MARK: Fields that are left out when zero

    @inlinable @inline(__always)
    package mutating func uint64(_ number: UInt32, _ value: UInt64) {
        if value != 0 { uint64Always(number, value) }
    }

    @inlinable @inline(__always)
    package mutating func int64(_ number: UInt32, _ value: Int64) { uint64(number, UInt64(bitPattern: value)) }

    /// An `int32` or an enum's number; negative ones take ten bytes, as protobuf prescribes.
    @inlinable @inline(__always)
    package mutating func int32(_ number: UInt32, _ value: Int32) { int64(number, Int64(value)) }

    @inlinable @inline(__always)
    package mutating func bool(_ number: UInt32, _ value: Bool) {
        if value { uint64Always(number, 1) }
    }

    @inlinable @inline(__always)
    package mutating func bytes(_ number: UInt32, _ value: UnsafeRawBufferPointer) {
        if value.count > 0 { message(number, value) }
    }

    @inlinable @inline(__always)
    package mutating func bytes(_ number: UInt32, _ value: Bytes) {
        if !value.isEmpty { value.withUnsafeBytes { message(number, $0) } }
    }

    package mutating func string(_ number: UInt32, _ value: String) {
        if !value.isEmpty { stringAlways(number, value) }
    }

    // MARK: Fields that are always written

    @inlinable @inline(__always)
    package mutating func uint64Always(_ number: UInt32, _ value: UInt64) {
        tag(.varint(number))
        varint(value)
    }

    /// An `int32` or an enum's number, 0 included.
    @inlinable @inline(__always)
    package mutating func int32Always(_ number: UInt32, _ value: Int32) {
        uint64Always(number, UInt64(bitPattern: Int64(value)))
    }

    package mutating func stringAlways(_ number: UInt32, _ value: String) {
        var copy = value
        copy.withUTF8 { message(number, UnsafeRawBufferPointer($0)) }
    }

    // MARK: Slow path

    @usableFromInline @inline(never)
    mutating func longVarint(_ value: UInt64) {
        invariant(ProtoSize.varint(value) <= remaining, "a protobuf message is longer than computed")
        var rest = value
        while rest >= 0x80 {
            cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
            cursor += 1
            rest >>= 7
        }
        cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
        cursor += 1
    }
}

/// How many bytes a field takes, tag and length included. Mirrors `ProtoWriter` method by method.
package enum ProtoSize {
    /// 1 to 10.
    @inlinable @inline(__always)
    package static func varint(_ value: UInt64) -> Int {
        // Seven bits a byte: (bits * 9 + 64) / 64 is ceil(bits / 7) for 1...64.
        ((64 - (value | 1).leadingZeroBitCount) &* 9 &+ 64) / 64
    }

    @inlinable @inline(__always)
    package static func tag(_ number: UInt32) -> Int { varint(UInt64(number) << 3) }

    @inlinable @inline(__always)
    package static func uint64(_ number: UInt32, _ value: UInt64) -> Int {
        value == 0 ? 0 : uint64Always(number, value)
    }

    @inlinable @inline(__always)
    package static func uint64Always(_ number: UInt32, _ value: UInt64) -> Int { tag(number) + varint(value) }

    @inlinable @inline(__always)
    package static func int32Always(_ number: UInt32, _ value: Int32) -> Int {
        uint64Always(number, UInt64(bitPattern: Int64(value)))
    }

    @inlinable @inline(__always)
    package static func int64(_ number: UInt32, _ value: Int64) -> Int { uint64(number, UInt64(bitPattern: value)) }

    @inlinable @inline(__always)
    package static func int32(_ number: UInt32, _ value: Int32) -> Int { int64(number, Int64(value)) }

    @inlinable @inline(__always)
    package static func bool(_ number: UInt32, _ value: Bool) -> Int { value ? tag(number) + 1 : 0 }

    /// Bytes or a string of `count` bytes; nothing when that is 0.
    @inlinable @inline(__always)
    package static func bytes(_ number: UInt32, count: Int) -> Int { count == 0 ? 0 : message(number, count: count) }

    /// An embedded message of `count` bytes, also when that is 0.
    @inlinable @inline(__always)
    package static func message(_ number: UInt32, count: Int) -> Int {
        tag(number) + varint(UInt64(truncatingIfNeeded: count)) + count
    }

    package static func string(_ number: UInt32, _ value: String) -> Int { bytes(number, count: value.utf8.count) }
}

/// A message that knows its exact size and can write itself.
package protocol WireEncodable {
    /// How many bytes `write(to:)` writes.
    var encodedSize: Int { get }
    /// Writes the fields in the order of their numbers.
    func write(to writer: inout ProtoWriter)
}

extension WireEncodable {
    /// The message in memory of its own.
    @inlinable
    package func encoded() -> Bytes {
        Bytes(count: encodedSize) { buffer in
            var writer = ProtoWriter(buffer)
            write(to: &writer)
            writer.finish()
        }
    }
}

extension ProtoWriter {
    /// An embedded message, also when it is empty.
    @inlinable
    package mutating func message(_ number: UInt32, _ message: some WireEncodable) {
        messageHeader(number, count: message.encodedSize)
        message.write(to: &self)
    }

    /// An embedded message that is already encoded, also when it is empty.
    @inlinable
    package mutating func message(_ number: UInt32, _ encoded: Bytes) {
        encoded.withUnsafeBytes { message(number, $0) }
    }
}

extension ProtoSize {
    /// An embedded message, also when it is empty.
    @inlinable
    package static func message(_ number: UInt32, _ encodable: some WireEncodable) -> Int {
        message(number, count: encodable.encodedSize)
    }
}
