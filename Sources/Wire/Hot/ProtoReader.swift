/// Reads protobuf fields from borrowed bytes, in place. Nothing is copied; what `bytes()` returns points into the
/// caller's memory and is valid only as long as that is.
///
/// Strict: it never reads outside of the buffer, and every malformed byte sequence is an error (see `WireError`).
/// After an error the reader must not be used again.
@frozen
package struct ProtoReader {
    @usableFromInline let start: UnsafeRawPointer
    @usableFromInline let end: UnsafeRawPointer
    @usableFromInline var cursor: UnsafeRawPointer

    @inlinable @inline(__always)
    package init(_ bytes: UnsafeRawBufferPointer) {
        // An empty buffer may have no address; any will do, it is never read.
        start = bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1).unsafelyUnwrapped
        end = start + bytes.count
        cursor = start
    }

    /// How many bytes have been consumed.
    @inlinable @inline(__always)
    package var offset: Int { cursor - start }

    /// How many bytes are left.
    @inlinable @inline(__always)
    package var remaining: Int { end - cursor }

    /// The next field's tag, or nil at the end of the message. The end of a group is an error here.
    @inlinable @inline(__always)
    package mutating func nextField() throws(WireError) -> FieldTag? {
        if cursor == end { return nil }
        let tag = try anyTag()
        if tag.wireType == .endGroup { throw .unbalancedGroup(offset: offset) }
        return tag
    }

    /// An unsigned varint of up to 64 bits.
    @inlinable @inline(__always)
    package mutating func varint() throws(WireError) -> UInt64 {
        if _fastPath(cursor < end) {
            let byte = cursor.load(as: UInt8.self)
            if _fastPath(byte < 0x80) {
                cursor += 1
                return UInt64(byte)
            }
        }
        return try longVarint()
    }

    @inlinable @inline(__always)
    package mutating func uint64() throws(WireError) -> UInt64 { try varint() }

    @inlinable @inline(__always)
    package mutating func int64() throws(WireError) -> Int64 { Int64(bitPattern: try varint()) }

    /// A `uint32`: the low 32 bits of the varint, as protobuf prescribes.
    @inlinable @inline(__always)
    package mutating func uint32() throws(WireError) -> UInt32 { UInt32(truncatingIfNeeded: try varint()) }

    /// An `int32` or an enum's number: the low 32 bits of the varint, as protobuf prescribes.
    @inlinable @inline(__always)
    package mutating func int32() throws(WireError) -> Int32 { Int32(truncatingIfNeeded: try varint()) }

    /// A boolean: any number but 0 is true.
    @inlinable @inline(__always)
    package mutating func bool() throws(WireError) -> Bool { try varint() != 0 }

    /// A length and that many bytes, borrowed from the buffer.
    @inlinable @inline(__always)
    package mutating func bytes() throws(WireError) -> UnsafeRawBufferPointer {
        let count = try varint()
        if _slowPath(count > UInt64(remaining)) { throw .truncated(offset: offset) }
        let slice = UnsafeRawBufferPointer(start: cursor, count: Int(truncatingIfNeeded: count))
        cursor += slice.count
        return slice
    }

    /// A length and that many bytes of UTF-8, copied.
    package mutating func string() throws(WireError) -> String {
        let before = offset
        let slice = try bytes()
        guard let text = String(validating: slice, as: UTF8.self) else { throw .invalidUTF8(offset: before) }
        return text
    }

    /// Steps over the value of a field that is not known; `tag` has just been read.
    @inlinable @inline(__always)
    package mutating func skip(_ tag: FieldTag) throws(WireError) {
        try skipValue(tag)
    }

    // MARK: Slow paths

    @usableFromInline @inline(never)
    mutating func longVarint() throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        var position = cursor
        while position < end {
            let byte = position.load(as: UInt8.self)
            position += 1
            // The tenth byte holds bit 63 alone.
            if shift == 63, byte > 1 { throw .varintOverflow(offset: offset) }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 {
                cursor = position
                return value
            }
            shift += 7
        }
        throw .truncated(offset: offset)
    }

    /// A tag of any wire type, checked.
    @inlinable @inline(__always)
    mutating func anyTag() throws(WireError) -> FieldTag {
        let before = offset
        let raw = try varint()
        if _slowPath(raw > UInt64(UInt32.max)) { throw .varintOverflow(offset: before) }
        if _slowPath(raw & 7 > 5) { throw .invalidWireType(offset: before) }
        if _slowPath(raw < 8) { throw .invalidFieldNumber(offset: before) }
        return FieldTag(checked: UInt32(truncatingIfNeeded: raw))
    }

    @usableFromInline @inline(never)
    mutating func skipValue(_ tag: FieldTag) throws(WireError) {
        switch tag.wireType {
        case .varint: _ = try varint()
        case .fixed64: try advance(8)
        case .lengthDelimited: _ = try bytes()
        case .fixed32: try advance(4)
        case .startGroup: try skipGroup(tag)
        case .endGroup: throw .unbalancedGroup(offset: offset)
        }
    }

    /// Steps over a group's fields up to and with its end tag; a stack of numbers instead of recursion.
    private mutating func skipGroup(_ opening: FieldTag) throws(WireError) {
        var open = [opening.number]
        while let innermost = open.last {
            let before = offset
            let tag = try anyTag()
            switch tag.wireType {
            case .startGroup:
                if open.count == ProtoLimits.groupDepthMax { throw .nestingTooDeep(offset: before) }
                open.append(tag.number)
            case .endGroup:
                if tag.number != innermost { throw .unbalancedGroup(offset: before) }
                open.removeLast()
            default:
                try skipValue(tag)
            }
        }
    }

    private mutating func advance(_ count: Int) throws(WireError) {
        if remaining < count { throw .truncated(offset: offset) }
        cursor += count
    }
}

extension UnsafeRawBufferPointer {
    /// No bytes: what a view holds for an absent `bytes` field.
    @inlinable @inline(__always)
    package static var empty: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
}
