import Client
import Foundation

/// The variables of a case while it runs, and the meaning of everything in a case file that begins with `$`.
///
/// - `$name`, `$name+1`, `$a-$b`: a variable, or a sum of variables and whole numbers.
/// - `${name}` inside longer text: the variable's text.
/// - `{$raw: TEXT}`: bytes as they stand, without the case's prefix; `{$hex: "00ff"}`: bytes by their digits (after the
///   prefix, in a key); `{$prefixEnd: TEXT}`: the end of the range of all keys that begin with TEXT;
///   `{$repeat: TEXT, $count: N}`: long values; `{$from: true}`: the single zero byte that means "from the key on".
/// - `{$times: N, $of: ITEM}`: a list of N items, in which the variable `n` counts from 0.
/// - `$with: $name` inside a message: the fields of the variable's map.
package struct Scope: Sendable {
    /// Put before every key of the case.
    package let prefix: String
    package var variables: [String: Value]

    package init(prefix: String, variables: [String: Value] = [:]) {
        self.prefix = prefix
        self.variables = variables
    }

    /// `value` of `field` with all that begins with `$` replaced, and bytes where the API has bytes.
    package func resolve(_ value: Value, field: String? = nil, method: String) throws -> Value {
        let kind = FieldKind(field, method: method)
        switch value {
        case .text(let text):
            let plain = try evaluate(text)
            // A variable may hold a part of a message, with variables in it.
            if plain.list != nil || plain.fields != nil { return try resolve(plain, field: field, method: method) }
            return kind == .plain ? plain : bytes(plain, kind)
        case .integer, .bool:
            // `keys: true` of LeaseTimeToLive is no key.
            if field == "keys" { return value }
            return kind == .plain ? value : bytes(value, kind)
        case .list(let items):
            return .list(try items.map { try resolve($0, field: field, method: method) })
        case .map(let fields):
            if let made = try construct(fields, kind) { return made }
            if let count = value["$times"], let item = value["$of"] {
                return try items(item, count: try integer(count), method: method)
            }
            return .map(
                try fields.flatMap { entry -> [Value.Field] in
                    let value = try resolve(entry.value, field: entry.name, method: method)
                    if entry.name == "$with" { return value.fields ?? [] }
                    return [.init(name: entry.name, value: value)]
                })
        case .null, .bytes: return value
        }
    }

    /// The items of a list that is written out, held by a variable, or made by `$times`; not resolved themselves.
    func items(_ value: Value) throws -> [Value] {
        if case .text(let text) = value { return try items(try evaluate(text)) }
        if let count = value["$times"], let item = value["$of"] {
            return Array(repeating: item, count: Int(try integer(count)))
        }
        guard let items = value.list else { throw SuiteError("\(value) is no list") }
        return items
    }

    private func items(_ item: Value, count: Int128, method: String) throws -> Value {
        var scope = self
        return .list(
            try (0..<count).map { number in
                scope.variables["n"] = .integer(number)
                return try scope.resolve(item, method: method)
            })
    }

    /// Bytes of a scalar. Bytes that were captured from an answer are whole keys already.
    func bytes(_ value: Value, _ kind: FieldKind) -> Value {
        switch value {
        case .text, .integer, .bool:
            let text = value.text ?? ""
            return .bytes(Array((kind == .key ? prefix + text : text).utf8))
        default: return value
        }
    }

    /// Bytes made by an operator; nil when the map is a message.
    func construct(_ fields: [Value.Field], _ kind: FieldKind) throws -> Value? {
        guard let first = fields.first, first.name.hasPrefix("$") else { return nil }
        let argument = try first.value.text.map { try evaluate($0).text ?? "" } ?? ""
        switch first.name {
        case "$raw": return .bytes(Array(argument.utf8))
        case "$from": return .bytes([0])
        case "$hex":
            let digits = try Scope.decode(hex: argument)
            return .bytes(kind == .key ? Array(prefix.utf8) + digits : digits)
        case "$prefixEnd": return .bytes(KeyRange.prefixEnd(Array((prefix + argument).utf8)))
        case "$repeat":
            let count = try integer(fields.first { $0.name == "$count" }?.value ?? .integer(1))
            let unit = Array(argument.utf8)
            var made: [UInt8] = kind == .key ? Array(prefix.utf8) : []
            made.reserveCapacity(made.count + unit.count * Int(count))
            for _ in 0..<count { made += unit }
            return .bytes(made)
        case "$text": return .text(argument)
        default: return nil
        }
    }

    static func decode(hex text: String) throws -> [UInt8] {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { throw SuiteError("$hex: \(text) has an odd number of digits") }
        return try stride(from: 0, to: digits.count, by: 2).map { place in
            guard let byte = UInt8(String(decoding: digits[place..<place + 2], as: UTF8.self), radix: 16) else {
                throw SuiteError("$hex: \(text) is no hexadecimal number")
            }
            return byte
        }
    }

    /// A whole number out of a scalar or an expression.
    package func integer(_ value: Value) throws -> Int128 {
        if case .text(let text) = value, case .integer(let number) = try evaluate(text) { return number }
        guard let number = value.integer else { throw SuiteError("\(value) is no whole number") }
        return number
    }

    /// Text with its variables: `$name` alone keeps the variable's type.
    package func evaluate(_ text: String) throws -> Value {
        if text.contains("${") { return .text(try interpolate(text)) }
        guard text.hasPrefix("$"), text.count > 1 else { return .text(text) }
        var terms: [(sign: Int128, text: Substring)] = []
        var rest = text[...]
        var sign: Int128 = 1
        while true {
            let end = rest.firstIndex { $0 == "+" || $0 == "-" } ?? rest.endIndex
            terms.append((sign, rest[..<end]))
            guard end < rest.endIndex else { break }
            sign = rest[end] == "-" ? -1 : 1
            rest = rest[rest.index(after: end)...]
        }
        if terms.count == 1 { return try variable(terms[0].text.dropFirst()) }
        var sum: Int128 = 0
        for term in terms {
            let name = term.text.filter { $0 != " " }
            if let number = Int128(name) {
                sum += term.sign * number
            } else {
                guard name.hasPrefix("$"), let number = try variable(name.dropFirst()).integer else {
                    throw SuiteError("\(text): \(name) is no whole number")
                }
                sum += term.sign * number
            }
        }
        return .integer(sum)
    }

    private func variable(_ name: some StringProtocol) throws -> Value {
        guard let value = variables[String(name)] else { throw SuiteError("there is no variable $\(name)") }
        // A row may be written with variables that the steps make.
        if case .text(let text) = value, text.hasPrefix("$"), text != "$" + name { return try evaluate(text) }
        return value
    }

    private func interpolate(_ text: String) throws -> String {
        var made = ""
        var rest = text[...]
        while let start = rest.range(of: "${") {
            made += rest[..<start.lowerBound]
            guard let end = rest[start.upperBound...].firstIndex(of: "}") else {
                throw SuiteError("\(text): ${ without }")
            }
            let value = try variable(rest[start.upperBound..<end])
            if case .bytes(let bytes) = value {
                made += String(decoding: bytes, as: UTF8.self)
            } else {
                made += value.text ?? ""
            }
            rest = rest[rest.index(after: end)...]
        }
        return made + rest
    }
}
