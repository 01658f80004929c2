/// The text forms that etcdctl's output takes from its language and libraries: quoted strings, sizes, hexadecimal.
/// Scripts parse them, so they are the same to the byte.
package enum GoText {
    /// `bytes` as a double-quoted literal: printable Unicode as it is, control characters as `\n` or `\x07`, other
    /// unprintable characters as `\u2028`, bytes that are not UTF-8 as `\xff`.
    package static func quoted(_ bytes: some Collection<UInt8>) -> String {
        var text = "\""
        var decoder = UTF8()
        var pending = Array(bytes)[...]
        while let first = pending.first {
            var iterator = pending.makeIterator()
            guard case .scalarValue(let scalar) = decoder.decode(&iterator) else {
                text += escape(first)
                pending = pending.dropFirst()
                decoder = UTF8()
                continue
            }
            pending = pending.dropFirst(UTF8.width(scalar))
            decoder = UTF8()
            append(scalar, to: &text)
        }
        return text + "\""
    }

    /// The text of a string as `quoted(_:)` gives it.
    package static func quoted(_ string: String) -> String { quoted(Array(string.utf8)) }

    /// The text within a double-quoted literal, the inverse of `quoted(_:)`, or nil when the literal is malformed.
    /// `literal` begins with the opening quote; `consumed` is the number of its bytes up to and with the closing one.
    package static func unquote(_ literal: ArraySlice<UInt8>) -> (bytes: [UInt8], consumed: Int)? {
        guard literal.first == UInt8(ascii: "\"") else { return nil }
        var result: [UInt8] = []
        var index = literal.startIndex + 1
        while index < literal.endIndex {
            let byte = literal[index]
            index += 1
            switch byte {
            case UInt8(ascii: "\""): return (result, index - literal.startIndex)
            case UInt8(ascii: "\n"): return nil
            case UInt8(ascii: "\\"):
                guard let escaped = unescape(literal, at: &index) else { return nil }
                result += escaped
            default: result.append(byte)
            }
        }
        return nil
    }

    /// A size in powers of a thousand with one decimal below ten: `25 kB`, `2.1 GB`.
    package static func humanBytes(_ count: UInt64) -> String {
        if count < 10 { return "\(count) B" }
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var unit = 0
        var divisor: UInt64 = 1
        while unit < units.count - 1, count / divisor >= 1000 {
            divisor *= 1000
            unit += 1
        }
        let tenths = UInt64((Double(count) / Double(divisor) * 10 + 0.5).rounded(.down))
        if tenths >= 100 {
            // Rounded to even, as a printf of no decimals does.
            return "\(UInt64((Double(tenths) / 10).rounded(.toNearestOrEven))) \(units[unit])"
        }
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    /// Every byte as `\x2a`: the form of `--hex`.
    package static func escapedHex(_ bytes: some Collection<UInt8>) -> String {
        var text = ""
        for byte in bytes { text += escape(byte) }
        return text
    }

    /// `value` in hexadecimal, with zeros in front up to `width` digits, or with blanks when `blank`.
    package static func hex(_ value: UInt64, width: Int = 0, blank: Bool = false) -> String {
        let digits = String(value, radix: 16)
        let missing = max(0, width - digits.utf8.count)
        return String(repeating: blank ? " " : "0", count: missing) + digits
    }

    /// `value` as 16 hexadecimal digits: how etcdctl writes a lease.
    package static func leaseHex(_ lease: Int64) -> String {
        lease < 0 ? "-" + hex(lease.magnitude, width: 15) : hex(UInt64(lease), width: 16)
    }

    private static func escape(_ byte: UInt8) -> String {
        "\\x" + hex(UInt64(byte), width: 2)
    }

    private static func append(_ scalar: Unicode.Scalar, to text: inout String) {
        switch scalar {
        case "\"": text += "\\\""
        case "\\": text += "\\\\"
        case "\u{07}": text += "\\a"
        case "\u{08}": text += "\\b"
        case "\u{0c}": text += "\\f"
        case "\n": text += "\\n"
        case "\r": text += "\\r"
        case "\t": text += "\\t"
        case "\u{0b}": text += "\\v"
        default:
            if isPrintable(scalar) {
                text.unicodeScalars.append(scalar)
            } else if scalar.value < 0x20 {
                text += escape(UInt8(scalar.value))
            } else if scalar.value == 0x7f {
                text += "\\u007f"
            } else if scalar.value < 0x10000 {
                text += "\\u" + hex(UInt64(scalar.value), width: 4)
            } else {
                text += "\\U" + hex(UInt64(scalar.value), width: 8)
            }
        }
    }

    /// Letters, marks, numbers, punctuation, symbols, and of all spaces only the ASCII one.
    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == " " { return true }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .spaceSeparator, .lineSeparator,
            .paragraphSeparator:
            return false
        default: return true
        }
    }

    /// The bytes of one escape sequence; `index` is after the backslash, and after the sequence on return.
    private static func unescape(_ literal: ArraySlice<UInt8>, at index: inout Int) -> [UInt8]? {
        guard index < literal.endIndex else { return nil }
        let kind = literal[index]
        index += 1
        switch kind {
        case UInt8(ascii: "a"): return [7]
        case UInt8(ascii: "b"): return [8]
        case UInt8(ascii: "f"): return [12]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        case UInt8(ascii: "v"): return [11]
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): return [kind]
        case UInt8(ascii: "x"):
            guard let value = number(literal, at: &index, digits: 2, radix: 16) else { return nil }
            return [UInt8(value)]
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            index -= 1
            guard let value = number(literal, at: &index, digits: 3, radix: 8), value < 256 else { return nil }
            return [UInt8(value)]
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            let digits = kind == UInt8(ascii: "u") ? 4 : 8
            guard let value = number(literal, at: &index, digits: digits, radix: 16),
                let scalar = Unicode.Scalar(value)
            else { return nil }
            return Array(String(scalar).utf8)
        default: return nil
        }
    }

    private static func number(
        _ literal: ArraySlice<UInt8>, at index: inout Int, digits: Int, radix: Int
    ) -> UInt32? {
        guard literal.endIndex - index >= digits else { return nil }
        let text = String(decoding: literal[index..<index + digits], as: UTF8.self)
        guard !text.hasPrefix("+"), !text.hasPrefix("-") else { return nil }
        index += digits
        return UInt32(text, radix: radix)
    }
}
