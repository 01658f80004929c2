/// Why bytes from a peer, a client or the disk are not the protobuf message they should be.
///
/// `offset` counts bytes from the start of the innermost message that was being decoded.
package enum WireError: Error, Equatable, Sendable {
    /// The bytes end inside a field, or a length points past the end.
    case truncated(offset: Int)
    /// A varint has more than 64 bits, or a tag more than 32.
    case varintOverflow(offset: Int)
    /// A field number of 0, which protobuf reserves.
    case invalidFieldNumber(offset: Int)
    /// A wire type of 6 or 7, which do not exist.
    case invalidWireType(offset: Int)
    /// The end of a group that was not opened, or that bears another field's number.
    case unbalancedGroup(offset: Int)
    /// Messages or groups are nested deeper than `ProtoLimits` allows.
    case nestingTooDeep(offset: Int)
    /// A `string` field holds bytes that are not UTF-8.
    case invalidUTF8(offset: Int)
}

/// How the bytes after a tag are laid out. Source: protobuf encoding, "message structure".
@frozen
package enum WireType: UInt8, Sendable {
    case varint = 0
    case fixed64 = 1
    case lengthDelimited = 2
    case startGroup = 3
    case endGroup = 4
    case fixed32 = 5
}

/// The tag before each field: its number (1 to 2^29 - 1) and its wire type, never anything invalid.
///
/// `switch reader.nextField()` over `.varint(3)`, `.bytes(1)`, ... compiles to integer comparisons; a known number with
/// an unexpected wire type falls through to the default and is skipped like an unknown field, as protobuf wants.
@frozen
package struct FieldTag: Hashable, Sendable {
    /// `number << 3 | wireType`, as on the wire.
    package let rawValue: UInt32

    @inlinable @inline(__always)
    package init(_ number: UInt32, _ wireType: WireType) { rawValue = number << 3 | UInt32(wireType.rawValue) }

    /// Takes a tag that has been checked: number not 0, wire type known.
    @inlinable @inline(__always)
    init(checked rawValue: UInt32) { self.rawValue = rawValue }

    /// The field's number.
    @inlinable @inline(__always)
    package var number: Int { Int(rawValue >> 3) }

    /// The field's wire type.
    @inlinable @inline(__always)
    package var wireType: WireType { WireType(rawValue: UInt8(truncatingIfNeeded: rawValue & 7)).unsafelyUnwrapped }

    /// The tag of an integer, boolean or enum field.
    @inlinable @inline(__always)
    package static func varint(_ number: UInt32) -> FieldTag { FieldTag(number, .varint) }

    /// The tag of a bytes, string, embedded message or packed field.
    @inlinable @inline(__always)
    package static func bytes(_ number: UInt32) -> FieldTag { FieldTag(number, .lengthDelimited) }
}
