/// Writes values as YAML in blocks, keys in order; texts that could be read as something else are quoted.
package struct YAMLWriter {
    private var text = ""

    /// The value as a YAML document, ending in a newline.
    package static func text(of value: JSONValue) -> String {
        var writer = YAMLWriter()
        writer.write(value, level: 0, context: .line)
        return writer.text
    }

    /// Where a value begins.
    private enum Context {
        /// At the start of a line.
        case line
        /// After `key:`.
        case key
        /// After `- `.
        case dash
    }

    private mutating func write(_ value: JSONValue, level: Int, context: Context) {
        switch value {
        case .object(let members) where !members.isEmpty:
            if context == .key { text += "\n" }
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 || context != .dash { indent(level) }
                text += Self.scalar(member.key) + ":"
                write(member.value, level: Self.isArray(member.value) ? level : level + 1, context: .key)
            }
        case .array(let elements) where !elements.isEmpty:
            if context == .key { text += "\n" }
            for (index, element) in elements.enumerated() {
                if index > 0 || context != .dash { indent(level) }
                text += "- "
                write(element, level: level + 1, context: .dash)
            }
        default:
            if context == .key { text += " " }
            writeScalar(value, level: level)
        }
    }

    private static func isArray(_ value: JSONValue) -> Bool {
        if case .array(let elements) = value { return !elements.isEmpty }
        return false
    }

    private mutating func writeScalar(_ value: JSONValue, level: Int) {
        switch value {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += JSONWriter.text(of: value)
        case .array: text += "[]"
        case .object: text += "{}"
        case .string(let string):
            if Self.isLiteral(string) {
                let ending = string.hasSuffix("\n\n") ? "+" : string.hasSuffix("\n") ? "" : "-"
                text += "|" + ending
                var lines = string.split(separator: "\n", omittingEmptySubsequences: false)
                if string.hasSuffix("\n") { lines.removeLast() }
                for line in lines {
                    text += "\n"
                    if !line.isEmpty { indent(max(1, level)) }
                    text += line
                }
            } else {
                text += Self.scalar(string)
            }
        }
        text += "\n"
    }

    private mutating func indent(_ level: Int) { text += String(repeating: "  ", count: level) }

    /// Several lines that a literal block can hold: nothing but printable characters, and no blank that would be taken
    /// for indentation.
    private static func isLiteral(_ string: String) -> Bool {
        guard string.contains("\n"), let first = string.unicodeScalars.first, first != " ", first != "\n" else {
            return false
        }
        return string.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) }
            && !string.split(separator: "\n").contains { $0.hasSuffix(" ") || $0.hasSuffix("\t") }
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x20...0x7e, 0xa0...0xd7ff, 0xe000...0xfefe, 0xff00...0xfffd, 0x10000...0x10ffff:
            scalar.value != 0x2028 && scalar.value != 0x2029
        default: false
        }
    }

    /// A text on one line: plain where that reads back the same, else in double quotes.
    static func scalar(_ string: String) -> String {
        isPlain(string) ? string : quoted(string)
    }

    private static func isPlain(_ string: String) -> Bool {
        guard case .string? = PlainScalar.value(of: string), let first = string.unicodeScalars.first,
            let last = string.unicodeScalars.last
        else { return false }
        if "-?:,[]{}#&*!|>'\"%@`= ~<".unicodeScalars.contains(first) || last == " " || last == ":" { return false }
        if first.properties.numericType != nil || first == "." || first == "+" { return looksSafe(string) }
        if ["y", "Y", "n", "N"].contains(string) || string == "---" || string == "..." { return false }
        return string.unicodeScalars.allSatisfy(isPrintable) && !string.contains(": ") && !string.contains(" #")
            && !string.contains("\n") && !string.contains("\u{85}")
    }

    /// What begins like a number stays plain only where no reader of any YAML could take it for one or for a date.
    private static func looksSafe(_ string: String) -> Bool {
        let scalars = string.unicodeScalars
        return scalars.contains { isLetter($0) && !"eExXoObBtTzZ".unicodeScalars.contains($0) }
            && scalars.allSatisfy { isLetter($0) || "0123456789.-_/".unicodeScalars.contains($0) }
            && !string.lowercased().hasPrefix("0x")
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII && scalar.properties.isAlphabetic
    }

    private static func quoted(_ string: String) -> String {
        var text = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case _ where isPrintable(scalar): text.unicodeScalars.append(scalar)
            default:
                let digits = String(scalar.value, radix: 16)
                let (letter, width) = scalar.value > 0xffff ? ("U", 8) : ("u", 4)
                text += "\\\(letter)" + String(repeating: "0", count: width - digits.count) + digits
            }
        }
        return text + "\""
    }
}
