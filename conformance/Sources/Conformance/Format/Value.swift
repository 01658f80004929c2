import Foundation
import Yams

/// A tree of plain values: what a case file says, and what a server answered.
package indirect enum Value: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int128)
    case text(String)
    case bytes([UInt8])
    case list([Value])
    /// In the order in which it was written.
    case map([Field])

    package struct Field: Sendable, Equatable {
        package var name: String
        package var value: Value
    }

    /// A map's value under `name`; nil in every other case.
    package subscript(name: String) -> Value? {
        guard case .map(let fields) = self else { return nil }
        return fields.first { $0.name == name }?.value
    }

    package var list: [Value]? { if case .list(let items) = self { items } else { nil } }
    package var fields: [Field]? { if case .map(let fields) = self { fields } else { nil } }
    package var integer: Int128? { if case .integer(let number) = self { number } else { nil } }
    package var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }

    /// Text, or a number as it is written in decimal.
    package var text: String? {
        switch self {
        case .text(let text): text
        case .integer(let number): String(number)
        case .bool(let flag): String(flag)
        default: nil
        }
    }

    /// The value at a dotted path: `kvs.0.mod_revision`; `-1` is a list's last.
    package func at(path: String) -> Value? {
        var value = self
        for part in path.split(separator: ".") {
            if case .list(let items) = value, let index = Int(part) {
                let place = index < 0 ? items.count + index : index
                guard items.indices.contains(place) else { return nil }
                value = items[place]
            } else {
                guard let next = value[String(part)] else { return nil }
                value = next
            }
        }
        return value
    }
}

// MARK: YAML

extension Value {
    /// Reads one YAML document. Throws `SuiteError` with the file's name.
    package init(yaml text: String, file: String) throws {
        do {
            guard let node = try Yams.compose(yaml: text) else { throw SuiteError("\(file): the file is empty") }
            self.init(node)
        } catch let error as YamlError {
            throw SuiteError("\(file): \(error)")
        }
    }

    init(_ node: Node) {
        switch node {
        case .scalar(let scalar):
            self = scalar.style == .plain ? Value(plain: scalar.string) : .text(scalar.string)
        case .sequence(let items): self = .list(items.map { Value($0) })
        case .mapping(let pairs):
            self = .map(pairs.map { Field(name: $0.key.string ?? "", value: Value($0.value)) })
        case .alias: self = .null
        }
    }

    private init(plain text: String) {
        switch text {
        case "", "~", "null": self = .null
        case "true": self = .bool(true)
        case "false": self = .bool(false)
        default: self = Int128(text).map { .integer($0) } ?? .text(text)
        }
    }
}

// MARK: JSON

extension Value: Decodable {
    /// Reads JSON. Throws Foundation's errors.
    package init(json: some Sequence<UInt8>) throws {
        self = try JSONDecoder().decode(Value.self, from: Data(json))
    }

    package init(from decoder: any Decoder) throws {
        if let container = try? decoder.container(keyedBy: AnyKey.self) {
            let keys = container.allKeys.sorted { $0.stringValue < $1.stringValue }
            self = .map(
                try keys.map { Field(name: $0.stringValue, value: try container.decode(Value.self, forKey: $0)) })
        } else if var container = try? decoder.unkeyedContainer() {
            var items: [Value] = []
            while !container.isAtEnd { items.append(try container.decode(Value.self)) }
            self = .list(items)
        } else {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if let flag = try? container.decode(Bool.self) {
                self = .bool(flag)
            } else if let number = try? container.decode(Int64.self) {
                self = .integer(Int128(number))
            } else if let number = try? container.decode(UInt64.self) {
                self = .integer(Int128(number))
            } else if let number = try? container.decode(Double.self) {
                self = .text(String(number))
            } else {
                self = .text(try container.decode(String.self))
            }
        }
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// As JSON; bytes become base64, as protobuf's JSON wants them.
    package var json: String {
        var text = ""
        write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let flag): text += flag ? "true" : "false"
        case .integer(let number): text += String(number)
        case .text(let string): text += Value.quoted(string)
        case .bytes(let bytes): text += "\"" + Data(bytes).base64EncodedString() + "\""
        case .list(let items):
            text += "["
            for (index, item) in items.enumerated() {
                if index > 0 { text += "," }
                item.write(to: &text)
            }
            text += "]"
        case .map(let fields):
            text += "{"
            for (index, field) in fields.enumerated() {
                if index > 0 { text += "," }
                text += Value.quoted(field.name) + ":"
                field.value.write(to: &text)
            }
            text += "}"
        }
    }

    static func quoted(_ string: String) -> String {
        var text = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case let other where other.value < 0x20:
                let digits = String(other.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            case let other: text.unicodeScalars.append(other)
            }
        }
        return text + "\""
    }
}

// MARK: For people

extension Value: CustomStringConvertible {
    /// Compact text for messages: bytes as text where they are printable, long ones shortened.
    package var description: String {
        switch self {
        case .null: "null"
        case .bool(let flag): String(flag)
        case .integer(let number): String(number)
        case .text(let text): Value.quoted(text.count > 200 ? String(text.prefix(200)) + "…" : text)
        case .bytes(let bytes): Value.readable(bytes)
        case .list(let items):
            "[" + items.prefix(12).map(\.description).joined(separator: ", ")
                + (items.count > 12 ? ", … \(items.count) in all]" : "]")
        case .map(let fields): "{" + fields.map { "\($0.name): \($0.value)" }.joined(separator: ", ") + "}"
        }
    }

    static func readable(_ bytes: [UInt8]) -> String {
        var text = "'"
        for byte in bytes.prefix(96) {
            if byte >= 0x20, byte < 0x7f {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                text += byte < 16 ? "\\x0\(digits)" : "\\x\(digits)"
            }
        }
        return text + (bytes.count > 96 ? "…' (\(bytes.count) bytes)" : "'")
    }
}
