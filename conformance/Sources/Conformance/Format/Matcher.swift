import Foundation

/// Compares an answer with what a case expects of it.
///
/// A message matches when every field that is named matches; `null` demands that a field is absent or empty. A list
/// matches when it has as many items as expected and each matches. A map whose names begin with `$` is a list of
/// conditions: `$gt $ge $lt $le $ne $match $contains $startsWith $present $count $bytes $in $set $each $first $last
/// $sorted`, or bytes made by an operator of `Scope`.
struct Matcher {
    let scope: Scope
    let method: String

    /// What is wrong, with the path to it; nil when `actual` is as expected.
    func mismatch(_ expected: Value, _ actual: Value?, field: String? = nil, path: String = "answer") throws -> String?
    {
        switch expected {
        case .null:
            guard let actual, !Matcher.isEmpty(actual) else { return nil }
            return "\(path): expected nothing, got \(actual)"
        case .map(let fields):
            if let first = fields.first, first.name.hasPrefix("$") {
                return try conditions(fields, actual, field, path)
            }
            guard let actual, case .map = actual else { return "\(path): expected a message, got \(describe(actual))" }
            for expectedField in fields {
                let inner = path + "." + expectedField.name
                let value = actual[expectedField.name]
                let wrong = try mismatch(expectedField.value, value, field: expectedField.name, path: inner)
                if let wrong { return wrong }
            }
            return nil
        case .list(let items): return try list(items, actual, field, path)
        default: return try scalar(expected, actual, field, path)
        }
    }

    private func list(_ items: [Value], _ actual: Value?, _ field: String?, _ path: String) throws -> String? {
        let answers = actual?.list ?? []
        guard answers.count == items.count else {
            return "\(path): expected \(items.count) items, got \(answers.count): \(describe(actual))"
        }
        for (index, item) in items.enumerated() {
            if let wrong = try mismatch(item, answers[index], field: field, path: "\(path).\(index)") { return wrong }
        }
        return nil
    }

    private func scalar(_ expected: Value, _ actual: Value?, _ field: String?, _ path: String) throws -> String? {
        if case .text(let text) = expected {
            let value = try scope.evaluate(text)
            if value.list != nil || value.fields != nil || value == .null {
                return try mismatch(value, actual, field: field, path: path)
            }
        }
        let wanted = try scope.resolve(expected, field: field, method: method)
        guard let actual else {
            if Matcher.isEmpty(wanted) { return nil }
            if let field, let zero = FieldKind.zeroNames[field], wanted == .text(zero) { return nil }
            return "\(path): expected \(wanted), got nothing"
        }
        return Matcher.same(wanted, actual) ? nil : "\(path): expected \(wanted), got \(actual)"
    }

    private static func same(_ wanted: Value, _ actual: Value) -> Bool {
        if wanted == actual { return true }
        switch (wanted, actual) {
        case (.text(let text), .bytes(let bytes)), (.bytes(let bytes), .text(let text)):
            return bytes == Array(text.utf8)
        case (.integer(let number), .text(let text)), (.text(let text), .integer(let number)):
            return String(number) == text
        default: return false
        }
    }

    static func isEmpty(_ value: Value) -> Bool {
        switch value {
        case .null: true
        case .bool(let flag): !flag
        case .integer(let number): number == 0
        case .text(let text): text.isEmpty
        case .bytes(let bytes): bytes.isEmpty
        case .list(let items): items.isEmpty
        case .map: false
        }
    }

    private func describe(_ value: Value?) -> String { value?.description ?? "nothing" }

    // MARK: Conditions

    private func conditions(
        _ fields: [Value.Field], _ actual: Value?, _ field: String?, _ path: String
    ) throws -> String? {
        if let bytes = try scope.construct(fields, FieldKind(field, method: method)) {
            return try scalar(bytes, actual, field, path)
        }
        for condition in fields {
            if let wrong = try self.condition(condition, actual, field) {
                return "\(path): \(wrong), got \(describe(actual))"
            }
        }
        return nil
    }

    /// What was expected, when it is not so.
    private func condition(_ condition: Value.Field, _ actual: Value?, _ field: String?) throws -> String? {
        let argument = condition.value
        switch condition.name {
        case "$gt", "$ge", "$lt", "$le":
            let limit = try scope.integer(argument)
            let number = actual?.integer ?? 0
            let holds =
                switch condition.name {
                case "$gt": number > limit
                case "$ge": number >= limit
                case "$lt": number < limit
                default: number <= limit
                }
            return holds ? nil : "expected \(condition.name.dropFirst()) \(limit)"
        case "$ne":
            return try scalar(argument, actual, field, "") == nil ? "expected something else than \(argument)" : nil
        case "$present":
            let wanted = argument.bool ?? true
            return (actual != nil) == wanted ? nil : wanted ? "expected a value" : "expected no value"
        case "$in":
            for item in argument.list ?? [] where try mismatch(item, actual, field: field) == nil { return nil }
            return "expected one of \(argument)"
        case "$match", "$contains", "$startsWith": return try textCondition(condition, actual)
        default: return try listCondition(condition, actual, field)
        }
    }

    private func textCondition(_ condition: Value.Field, _ actual: Value?) throws -> String? {
        let wanted = try scope.evaluate(condition.value.text ?? "").text ?? ""
        let text: String
        switch actual {
        case .bytes(let bytes): text = String(decoding: bytes, as: UTF8.self)
        case let other: text = other?.text ?? ""
        }
        let holds =
            switch condition.name {
            case "$match": text.range(of: wanted, options: .regularExpression) != nil
            case "$contains": text.contains(wanted)
            default: text.hasPrefix(wanted)
            }
        return holds ? nil : "expected \(condition.name.dropFirst()) \(Value.quoted(wanted))"
    }

    private func listCondition(_ condition: Value.Field, _ actual: Value?, _ field: String?) throws -> String? {
        let argument = condition.value
        let items = actual?.list ?? []
        switch condition.name {
        case "$count":
            return try mismatch(argument, .integer(Int128(items.count))).map { _ in "expected \(argument) items" }
        case "$bytes":
            guard case .bytes(let bytes) = actual ?? .bytes([]) else { return "expected bytes" }
            return try mismatch(argument, .integer(Int128(bytes.count))).map { _ in "expected \(argument) bytes" }
        case "$each":
            for item in items {
                if let wrong = try mismatch(argument, item, field: field, path: "item") {
                    return "every item: \(wrong)"
                }
            }
            return nil
        case "$first": return try mismatch(argument, items.first, field: field, path: "first item")
        case "$last": return try mismatch(argument, items.last, field: field, path: "last item")
        case "$has":
            for item in items where try mismatch(argument, item, field: field) == nil { return nil }
            return "expected an item \(argument)"
        case "$set":
            var rest = items
            for wanted in argument.list ?? [] {
                guard let place = try rest.firstIndex(where: { try mismatch(wanted, $0, field: field) == nil }) else {
                    return "expected \(wanted) among the items"
                }
                rest.remove(at: place)
            }
            return rest.isEmpty ? nil : "expected no other items than \(argument)"
        case "$sorted":
            let keys = items.map { item -> [UInt8] in
                if case .bytes(let bytes)? = item["key"] ?? item["kv"]?["key"] { bytes } else { [] }
            }
            let isSorted = zip(keys, keys.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) }
            return isSorted ? nil : "expected ascending keys"
        default: throw SuiteError("there is no condition \(condition.name)")
        }
    }
}
