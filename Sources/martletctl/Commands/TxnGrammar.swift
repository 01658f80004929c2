import ArgumentParser
import Foundation
package import Wire

/// The grammar of `txn`: three blocks of lines (compares, requests on success, requests on failure), each ended by an
/// empty line.
///
///     compare  = target "(" quoted ")" " " operator " " quoted
///     target   = "ver" | "version" | "c" | "create" | "m" | "mod" | "val" | "value" | "lease"
///     operator = "=" | "!=" | ">" | "<"
///     request  = ("get" | "put" | "del") arguments, with the flags of these commands
///
/// A lease is compared in hexadecimal, as all commands write leases. Text after a compare is ignored, as in etcdctl.
package enum TxnGrammar {
    /// The compare that `line` says. Throws `invalidInput`, with etcdctl's text where that one does not crash.
    package static func compare(_ line: [UInt8]) throws(CommandError) -> Etcdserverpb_Compare {
        let shown = String(decoding: line, as: UTF8.self)
        guard let bracket = line.firstIndex(of: UInt8(ascii: "(")) else {
            throw .invalidInput("malformed comparison: \(shown)")
        }
        let target = String(decoding: line[..<bracket], as: UTF8.self)
        var scanner = Scanner(rest: line[(bracket + 1)...])
        let key = scanner.quoted()
        let operation = key != nil && scanner.closingBracket() ? scanner.word() : nil
        let value = operation != nil ? scanner.quoted() : nil
        guard let key, let operation, let value else {
            let got = "\(target)(\(GoText.quoted(key ?? []))) \(operation ?? "") \(GoText.quoted([]))"
            throw .invalidInput("malformed comparison: \(shown); got \(got)")
        }
        guard let result = results[operation] else {
            throw .invalidInput("malformed comparison: \(shown) (unknown operator \(operation))")
        }
        var compare = Etcdserverpb_Compare()
        compare.key = Data(key)
        compare.result = result
        try set(target, value, in: &compare, line: shown)
        return compare
    }

    private static let results: [String: Etcdserverpb_Compare.CompareResult] = [
        "=": .equal, "!=": .notEqual, ">": .greater, "<": .less,
    ]

    private static func set(
        _ target: String, _ value: [UInt8], in compare: inout Etcdserverpb_Compare, line: String
    ) throws(CommandError) {
        func number(radix: Int = 10) throws(CommandError) -> Int64 {
            guard let number = Int64(String(decoding: value, as: UTF8.self), radix: radix) else {
                throw .invalidInput("invalid txn compare request: \(line)")
            }
            return number
        }
        switch target {
        case "ver", "version":
            compare.target = .version
            compare.version = try number()
        case "c", "create":
            compare.target = .create
            compare.createRevision = try number()
        case "m", "mod":
            compare.target = .mod
            compare.modRevision = try number()
        case "val", "value":
            compare.target = .value
            compare.value = Data(value)
        case "lease":
            compare.target = .lease
            compare.lease = try number(radix: 16)
        default:
            throw .invalidInput("malformed comparison: \(line) (unknown target \(target))")
        }
    }

    /// The request that `line` says, with the arguments of `get`, `put` and `del`. Throws `invalidInput` for a line
    /// that is none of them or has unknown flags, and what these commands throw for their arguments.
    package static func operation(_ line: [UInt8]) throws(CommandError) -> Etcdserverpb_RequestOp {
        let shown = String(decoding: line, as: UTF8.self)
        guard var words = words(line), !words.isEmpty else {
            throw .invalidInput("invalid txn request: \(shown)")
        }
        let name = words.removeFirst()
        // Arguments of requests have the same forms as on the command line, and no environment.
        let arguments = GlobalOptions.arrange(words.map(RawText.string), environment: { _ in nil })
        var operation = Etcdserverpb_RequestOp()
        switch String(decoding: name, as: UTF8.self) {
        case "get":
            guard let parsed = try? GetArguments.parse(arguments) else { break }
            operation.requestRange = try parsed.request()
            return operation
        case "put":
            guard let parsed = try? PutArguments.parse(arguments) else { break }
            operation.requestPut = try parsed.request(standardInput: { nil })
            return operation
        case "del":
            guard let parsed = try? DeleteArguments.parse(arguments) else { break }
            operation.requestDeleteRange = try parsed.request()
            return operation
        default: break
        }
        throw .invalidInput("invalid txn request: \(shown)")
    }

    /// The words of a line, separated by blanks; `"..."` with escapes and `'...'` without make one word of text with
    /// blanks. Nil when a quote is not closed or an escape is malformed.
    package static func words(_ line: [UInt8]) -> [[UInt8]]? {
        var words: [[UInt8]] = []
        var rest = line[...]
        while let first = rest.first {
            if isBlank(first) {
                rest = rest.dropFirst()
            } else if first == UInt8(ascii: "\"") {
                guard let literal = GoText.unquote(rest) else { return nil }
                words.append(literal.bytes)
                rest = rest.dropFirst(literal.consumed)
            } else if first == UInt8(ascii: "'") {
                let body = rest.dropFirst()
                guard let end = body.firstIndex(of: first) else { return nil }
                words.append(Array(body[..<end]))
                rest = rest[(end + 1)...]
            } else {
                let word = rest.prefix { !isBlank($0) }
                words.append(Array(word))
                rest = rest.dropFirst(word.count)
            }
        }
        return words
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (9...13).contains(byte) }

    /// `bytes` without blanks at either end.
    package static func trimmed(_ bytes: some Collection<UInt8>) -> [UInt8] {
        let front = bytes.drop { isBlank($0) }
        var trimmed = Array(front)
        while let last = trimmed.last, isBlank(last) { trimmed.removeLast() }
        return trimmed
    }

    /// Takes a compare apart from left to right.
    private struct Scanner {
        var rest: ArraySlice<UInt8>

        mutating func skipBlanks() { rest = rest.drop { TxnGrammar.isBlank($0) } }

        /// A quoted text after blanks.
        mutating func quoted() -> [UInt8]? {
            skipBlanks()
            guard let literal = GoText.unquote(rest) else { return nil }
            rest = rest.dropFirst(literal.consumed)
            return literal.bytes
        }

        /// `)` and the blank that must follow.
        mutating func closingBracket() -> Bool {
            guard rest.first == UInt8(ascii: ")"), let after = rest.dropFirst().first, TxnGrammar.isBlank(after) else {
                return false
            }
            rest = rest.dropFirst()
            return true
        }

        /// Everything up to the next blank.
        mutating func word() -> String? {
            skipBlanks()
            let word = rest.prefix { !TxnGrammar.isBlank($0) }
            guard !word.isEmpty else { return nil }
            rest = rest.dropFirst(word.count)
            return String(decoding: word, as: UTF8.self)
        }
    }
}
