/// Writes JSON in the order it is told to, as etcdctl's `-w json` has it: no blanks, no final newline of its own, and
/// `<`, `>`, `&`, U+2028 and U+2029 escaped in strings. Fields with a zero value are left out by the `unlessZero`
/// forms.
package struct JSONText {
    /// What was written so far.
    package private(set) var text = ""
    private var needsComma = false

    package init() {}

    /// Writes an object whose fields `fill` writes.
    package mutating func object(_ fill: (inout JSONText) -> Void) {
        open("{")
        fill(&self)
        close("}")
    }

    /// Writes an array whose elements `fill` writes.
    package mutating func array(_ fill: (inout JSONText) -> Void) {
        open("[")
        fill(&self)
        close("]")
    }

    /// Writes a field's name; its value follows.
    package mutating func name(_ name: String) {
        separate()
        text += Self.quoted(name) + ":"
        needsComma = false
    }

    package mutating func value(_ number: some BinaryInteger) { raw(String(number)) }
    package mutating func value(_ flag: Bool) { raw(flag ? "true" : "false") }
    package mutating func value(_ string: String) { raw(Self.quoted(string)) }
    package mutating func null() { raw("null") }

    /// A number with at most three decimals.
    package mutating func value(_ number: Double) {
        let thousandths = (number * 1000).rounded() / 1000
        raw(thousandths.isFinite ? "\(thousandths)" : "0")
    }

    /// Bytes as standard base64.
    package mutating func value(_ bytes: some Collection<UInt8>) { raw("\"" + Self.base64(bytes) + "\"") }

    package mutating func field(_ name: String, _ number: some BinaryInteger) {
        self.name(name)
        value(number)
    }

    package mutating func field(_ name: String, _ number: Double) {
        self.name(name)
        value(number)
    }

    package mutating func field(_ name: String, _ flag: Bool) {
        self.name(name)
        value(flag)
    }

    package mutating func field(_ name: String, _ string: String) {
        self.name(name)
        value(string)
    }

    package mutating func field(_ name: String, unlessZero number: some BinaryInteger) {
        if number != 0 { field(name, number) }
    }

    package mutating func field(_ name: String, unlessFalse flag: Bool) {
        if flag { field(name, flag) }
    }

    package mutating func field(_ name: String, unlessEmpty string: String) {
        if !string.isEmpty { field(name, string) }
    }

    package mutating func field(_ name: String, unlessEmpty bytes: some Collection<UInt8>) {
        if bytes.isEmpty { return }
        self.name(name)
        value(bytes)
    }

    /// An array of strings, left out when empty.
    package mutating func field(_ name: String, unlessEmpty strings: [String]) {
        if strings.isEmpty { return }
        self.name(name)
        array { json in for string in strings { json.value(string) } }
    }

    /// An object under `name`.
    package mutating func field(_ name: String, object fill: (inout JSONText) -> Void) {
        self.name(name)
        object(fill)
    }

    /// An array under `name`.
    package mutating func field(_ name: String, array fill: (inout JSONText) -> Void) {
        self.name(name)
        array(fill)
    }

    private mutating func raw(_ token: String) {
        separate()
        text += token
        needsComma = true
    }

    private mutating func open(_ bracket: String) {
        separate()
        text += bracket
        needsComma = false
    }

    private mutating func close(_ bracket: String) {
        text += bracket
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { text += "," }
        needsComma = false
    }

    private static func quoted(_ string: String) -> String {
        var text = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "<", ">", "&", "\u{2028}", "\u{2029}": text += "\\u" + GoText.hex(UInt64(scalar.value), width: 4)
            default:
                if scalar.value < 0x20 {
                    text += "\\u" + GoText.hex(UInt64(scalar.value), width: 4)
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        return text + "\""
    }

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// `bytes` in standard base64, padded. Source: RFC 4648, section 4.
    package static func base64(_ bytes: some Collection<UInt8>) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var iterator = bytes.makeIterator()
        while let first = iterator.next() {
            let second = iterator.next()
            let third = second == nil ? nil : iterator.next()
            let group = UInt32(first) << 16 | UInt32(second ?? 0) << 8 | UInt32(third ?? 0)
            output.append(alphabet[Int(group >> 18)])
            output.append(alphabet[Int(group >> 12 & 63)])
            output.append(second == nil ? UInt8(ascii: "=") : alphabet[Int(group >> 6 & 63)])
            output.append(third == nil ? UInt8(ascii: "=") : alphabet[Int(group & 63)])
        }
        return String(decoding: output, as: UTF8.self)
    }
}
