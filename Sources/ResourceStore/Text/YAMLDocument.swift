import Yams

/// One document of a YAML text, with the place of every field. JSON is YAML, so it reads JSON files too.
///
/// Scalars are resolved as Kubernetes' tools do: `yes` and `on` are true, `0644` is octal, `22:22` and dates are text. A
/// byte-order mark at the beginning of a scalar is lost: the parser takes it for one.
package struct YAMLDocument: Sendable {
    /// A place in the text; both from 1.
    package struct Position: Sendable, Hashable {
        package let line: Int
        package let column: Int
    }

    /// Why a text is not YAML, or not JSON's part of it.
    package struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
        package let position: Position
        /// The field that is meant, such as `spec.ports[0]`; empty for the document.
        package let field: String
        package let message: String

        package var description: String {
            "line \(position.line), column \(position.column): \(field.isEmpty ? "" : field + ": ")\(message)"
        }
    }

    package private(set) var value: JSONValue
    /// Where each field stands, by its path (`spec.ports[0].name`); the document itself under "".
    private let positions: [String: Position]

    /// Where a field stands, or the nearest one around it that stands in the text.
    package func position(of field: String) -> Position {
        var path = field[...]
        while true {
            if let position = positions[String(path)] { return position }
            guard let end = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { break }
            path = path[..<end]
        }
        return positions[""] ?? Position(line: 1, column: 1)
    }

    /// All documents of a text, without those that are empty.
    package static func documents(in text: String) throws(Failure) -> [YAMLDocument] {
        do {
            var documents: [YAMLDocument] = []
            var sequence = try compose_all(yaml: text, .basic)
            while let node = sequence.next() {
                var builder = Builder()
                let value = try builder.value(of: node, path: "")
                if case .null = value { continue }
                documents.append(YAMLDocument(value: value, positions: builder.positions))
            }
            if let error = sequence.error { throw error }
            // What is JSON means what it means in JSON: YAML folds some rare characters.
            if documents.count == 1, text.first(where: { !$0.isWhitespace }) == "{",
                let value = try? JSONValue(parsing: text.utf8)
            {
                documents[0].value = value
            }
            return documents
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(error)
        }
    }

    /// The one document of a text.
    package static func single(_ text: String) throws(Failure) -> YAMLDocument {
        let documents = try documents(in: text)
        guard let first = documents.first, documents.count == 1 else {
            throw Failure(
                position: Position(line: 1, column: 1), field: "",
                message: "one document is wanted, there are \(documents.count)")
        }
        return first
    }

    /// Turns nodes into values and notes where they stand.
    private struct Builder {
        /// Aliases are copies: a text may not grow without bound by them.
        private static let nodesMax = 250_000
        private static let depthMax = 512

        var positions: [String: Position] = [:]
        private var nodes = 0
        private var depth = 0

        mutating func value(of node: Node, path: String) throws(Failure) -> JSONValue {
            nodes += 1
            depth += 1
            defer { depth -= 1 }
            note(node.mark, path)
            if nodes > Self.nodesMax { throw failure(node, path, "the document has too many fields") }
            if depth > Self.depthMax { throw failure(node, path, "nested deeper than \(Self.depthMax)") }
            switch node {
            case .scalar(let scalar): return try self.scalar(scalar, node, path)
            case .sequence(let sequence):
                var elements: [JSONValue] = []
                for (index, element) in sequence.enumerated() {
                    elements.append(try value(of: element, path: "\(path)[\(index)]"))
                }
                return .array(elements)
            case .mapping(let mapping): return .object(try members(of: mapping, path: path))
            case .alias: throw failure(node, path, "an alias that names no anchor")
            }
        }

        private mutating func members(
            of mapping: Node.Mapping, path: String
        ) throws(Failure) -> [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            var merged: [String: JSONValue] = [:]
            for (key, node) in mapping {
                guard case .scalar(let scalar) = key else { throw failure(key, path, "a key must be a plain text") }
                let name = scalar.string
                if name == "<<", scalar.style == .plain {
                    for source in node.sequence.map(Array.init) ?? [node] {
                        guard let mapping = source.mapping else { throw failure(node, path, "<< takes a mapping") }
                        merged.merge(try self.members(of: mapping, path: path)) { first, _ in first }
                    }
                    continue
                }
                let field = path.isEmpty ? name : "\(path).\(name)"
                if members[name] != nil { throw failure(key, field, "stands twice") }
                members[name] = try value(of: node, path: field)
                note(key.mark, field)
            }
            return members.merging(merged) { own, _ in own }
        }

        private func scalar(_ scalar: Node.Scalar, _ node: Node, _ path: String) throws(Failure) -> JSONValue {
            let tag = "\(scalar.tag)"
            switch tag {
            case "tag:yaml.org,2002:str", "!": return .string(scalar.string)
            case "tag:yaml.org,2002:binary": return .string(scalar.string)
            default: break
            }
            guard scalar.style == .plain || scalar.style == .any else { return .string(scalar.string) }
            guard let value = PlainScalar.value(of: scalar.string) else {
                throw failure(node, path, "\(scalar.string) has no form in JSON")
            }
            return value
        }

        private mutating func note(_ mark: Mark?, _ path: String) {
            if let mark { positions[path] = Position(line: mark.line, column: mark.column) }
        }

        private func failure(_ node: Node, _ path: String, _ message: String) -> Failure {
            Failure(
                position: Position(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1), field: path,
                message: message)
        }
    }
}

extension YAMLDocument.Failure {
    /// What the parser says, in one line.
    fileprivate init(_ error: any Error) {
        var mark: Mark?
        switch error as? YamlError {
        case .scanner(_, let problem, let place, _), .parser(_, let problem, let place, _),
            .composer(_, let problem, let place, _):
            mark = place
            message = problem
        case .duplicatedKeysInMapping(let duplicates, let context):
            mark = context.mark
            message = "stands twice: " + duplicates.sorted().joined(separator: ", ")
        case .reader(let problem, _, _, _): message = problem
        default: message = "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
        }
        position = .init(line: mark?.line ?? 1, column: mark?.column ?? 1)
        field = ""
    }
}

/// What an unquoted scalar means.
enum PlainScalar {
    private static let truths: Set<String> = ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"]
    private static let falsehoods: Set<String> = ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"]
    private static let nulls: Set<String> = ["", "~", "null", "Null", "NULL"]
    private static let outsideJSON: Set<String> = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"]

    /// Nil for what JSON has no form for: infinities.
    static func value(of text: String) -> JSONValue? {
        if nulls.contains(text) { return .null }
        if truths.contains(text) { return .bool(true) }
        if falsehoods.contains(text) { return .bool(false) }
        guard let first = text.utf8.first, isNumberStart(first) else { return .string(text) }
        if outsideJSON.contains(String(text.drop { $0 == "+" || $0 == "-" })) { return nil }
        if let integer = integer(text) { return .integer(integer) }
        if isDecimal(text), let number = Double(text.replacing("_", with: "")), number.isFinite {
            return .number(number)
        }
        return .string(text)
    }

    private static func isNumberStart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."): true
        default: false
        }
    }

    private static func integer(_ text: String) -> Int64? {
        var digits = text[...]
        let sign = digits.first == "-" ? "-" : ""
        if let first = digits.first, "+-".contains(first) { digits = digits.dropFirst() }
        guard let first = digits.first, first.isASCII, first.isNumber else { return nil }
        let clean = digits.filter { $0 != "_" }
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where clean.hasPrefix(prefix) {
            let rest = clean.dropFirst(2)
            return rest.first.map { $0.isHexDigit } == true ? Int64(sign + rest, radix: radix) : nil
        }
        guard clean.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        if clean.count > 1, clean.first == "0" { return Int64(sign + clean, radix: 8) }
        return Int64(sign + clean)
    }

    /// Digits with a point or an exponent, nothing else that Swift would read as a number.
    private static func isDecimal(_ text: String) -> Bool {
        text.contains { $0.isASCII && $0.isNumber }
            && text.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"),
                    UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}
