/// Reads JSON. Source: RFC 8259.
struct JSONReader {
    /// How deep arrays and objects may nest.
    private static let depthMax = 512

    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The one value that the text consists of.
    mutating func document() throws(ObjectStoreError) -> JSONValue {
        let value = try self.value()
        skipBlanks()
        if position < bytes.count { throw failure("there is something after the document") }
        return value
    }

    private mutating func value() throws(ObjectStoreError) -> JSONValue {
        skipBlanks()
        guard position < bytes.count else { throw failure("the document ends too early") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try nested { (reader) throws(ObjectStoreError) in try reader.object() }
        case UInt8(ascii: "["): return try nested { (reader) throws(ObjectStoreError) in try reader.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func nested(
        _ body: (inout JSONReader) throws(ObjectStoreError) -> JSONValue
    ) throws(ObjectStoreError) -> JSONValue {
        depth += 1
        if depth > Self.depthMax { throw failure("nested deeper than \(Self.depthMax)") }
        position += 1
        let value = try body(&self)
        depth -= 1
        return value
    }

    private mutating func object() throws(ObjectStoreError) -> JSONValue {
        var members: [String: JSONValue] = [:]
        if takes("}") { return .object(members) }
        while true {
            skipBlanks()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                throw failure("a member begins with its name in quotes")
            }
            let name = try string()
            guard takes(":") else { throw failure("a colon belongs after the name \"\(name)\"") }
            if members.updateValue(try value(), forKey: name) != nil { throw failure("\"\(name)\" stands twice") }
            if takes("}") { return .object(members) }
            guard takes(",") else { throw failure("a comma or } belongs after a member") }
        }
    }

    private mutating func array() throws(ObjectStoreError) -> JSONValue {
        var elements: [JSONValue] = []
        if takes("]") { return .array(elements) }
        while true {
            elements.append(try value())
            if takes("]") { return .array(elements) }
            guard takes(",") else { throw failure("a comma or ] belongs after an element") }
        }
    }

    private mutating func string() throws(ObjectStoreError) -> String {
        position += 1
        var text: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw failure("text that is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): text += try escape()
            case 0..<0x20:
                position -= 1
                throw failure("a control character in a text")
            default: text.append(byte)
            }
        }
        throw failure("a text has no end")
    }

    private mutating func escape() throws(ObjectStoreError) -> [UInt8] {
        guard position < bytes.count else { throw failure("a text has no end") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "u"): break
        default: throw failure("an escape that JSON does not have")
        }
        var scalar = try hexadecimal()
        // Two halves of one character; a half alone becomes the replacement character, as in Go.
        if 0xd800..<0xdc00 ~= scalar, position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u")
        {
            let before = position
            position += 2
            let low = try hexadecimal()
            if 0xdc00..<0xe000 ~= low {
                scalar = 0x10000 + (scalar - 0xd800) << 10 + (low - 0xdc00)
            } else {
                position = before
            }
        }
        return Array(String(Unicode.Scalar(scalar) ?? "\u{fffd}").utf8)
    }

    private mutating func hexadecimal() throws(ObjectStoreError) -> UInt32 {
        guard position + 4 <= bytes.count,
            let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw failure("\\u needs four hexadecimal digits") }
        position += 4
        return value
    }

    private mutating func number() throws(ObjectStoreError) -> JSONValue {
        let start = position
        while position < bytes.count, Self.isNumberByte(bytes[position]) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let digits = text.drop { $0 == "-" }
        guard let first = digits.first, first.isASCII, first.isNumber, text.first != "+",
            !(first == "0" && digits.dropFirst().first?.isNumber == true)
        else {
            position = start
            throw failure("no value begins so")
        }
        if let integer = Int64(text) { return .integer(integer) }
        guard text.last != ".", let number = Double(text), number.isFinite else {
            throw failure("\"\(text)\" is no number")
        }
        return .number(number)
    }

    private static func isNumberByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
            UInt8(ascii: "e"), UInt8(ascii: "E"):
            true
        default: false
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(ObjectStoreError) -> JSONValue {
        guard bytes[position...].starts(with: word.utf8) else { throw failure("no value begins so") }
        position += word.utf8.count
        return value
    }

    private mutating func takes(_ character: Character) -> Bool {
        skipBlanks()
        guard position < bytes.count, bytes[position] == character.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func skipBlanks() {
        while position < bytes.count, [0x20, 0x0a, 0x0d, 0x09].contains(bytes[position]) { position += 1 }
    }

    private func failure(_ reason: String) -> ObjectStoreError {
        let before = bytes.prefix(position)
        let line = before.count { $0 == 0x0a } + 1
        let column = position - (before.lastIndex(of: 0x0a) ?? -1)
        return .invalid("line \(line), column \(column): \(reason)")
    }
}

/// Writes JSON with the keys of objects in order.
struct JSONWriter {
    private(set) var bytes: [UInt8] = []
    /// Blanks for each level; nil for one line.
    private let indentation: Int?
    private var level = 0

    init(indentation: Int?) { self.indentation = indentation }

    mutating func write(_ value: JSONValue) {
        switch value {
        case .null: append("null")
        case .bool(let value): append(value ? "true" : "false")
        case .integer(let value): append(String(value))
        case .number(let value): append(Self.text(of: value))
        case .string(let value): write(text: value)
        case .array(let elements):
            lines("[", "]", isEmpty: elements.isEmpty) { writer in
                for (index, element) in elements.enumerated() {
                    writer.separate(isFirst: index == 0)
                    writer.write(element)
                }
            }
        case .object(let members):
            lines("{", "}", isEmpty: members.isEmpty) { writer in
                for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                    writer.separate(isFirst: index == 0)
                    writer.write(text: member.key)
                    writer.append(writer.indentation == nil ? ":" : ": ")
                    writer.write(member.value)
                }
            }
        }
    }

    private mutating func lines(_ open: String, _ close: String, isEmpty: Bool, _ body: (inout JSONWriter) -> Void) {
        append(open)
        level += 1
        body(&self)
        level -= 1
        if !isEmpty { newLine() }
        append(close)
    }

    private mutating func separate(isFirst: Bool) {
        if !isFirst { append(",") }
        newLine()
    }

    private mutating func newLine() {
        guard let indentation else { return }
        bytes.append(0x0a)
        bytes += repeatElement(0x20, count: level * indentation)
    }

    private mutating func append(_ text: String) { bytes += text.utf8 }

    private mutating func write(text: String) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": append("\\\"")
            case "\\": append("\\\\")
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            // Controls, and what YAML takes for the end of a line: so that the text is good YAML, too.
            case "\u{0}"..<" ", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}", "\u{feff}":
                let digits = String(scalar.value, radix: 16)
                append("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
            default: bytes += UTF8.encode(scalar).unsafelyUnwrapped
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// The shortest text that reads back as the same number, and not as an integer.
    static func text(of value: Double) -> String { value.isFinite ? "\(value)" : "null" }
}
