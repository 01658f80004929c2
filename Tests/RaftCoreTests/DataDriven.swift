import Foundation
import Testing

/// One case of a data-driven file: a command line, input lines, and the exact output expected.
struct DataCase {
    var line: Int
    var command: String
    /// In order: `name=value`; the value of `name=(a,b)` is "a,b" with blanks removed.
    var arguments: [(name: String, value: String)]
    /// The command as it stands in the file.
    var text: String
    var input: String
    var expected: String

    func argument(_ name: String) -> String? { arguments.first { $0.name == name }?.value }
}

/// Files of cases: comments (`#`), a command, optional input, `----`, the output, and a blank line.
enum DataFile {
    static func cases(_ folder: String, _ name: String) throws -> [DataCase] {
        cases(in: try text(folder, name))
    }

    /// The file's text, from the bundle that the tests were built with.
    static func text(_ folder: String, _ name: String) throws -> String {
        let directory = try #require(Bundle.module.resourceURL)
        let url = directory.appendingPathComponent("Data/\(folder)/\(name).txt")
        return try String(contentsOf: url, encoding: .utf8)
    }

    static func cases(in text: String) -> [DataCase] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        var cases: [DataCase] = []
        var position = 0
        while position < lines.count {
            let line = lines[position]
            if line.isEmpty || line.hasPrefix("#") {
                position += 1
                continue
            }
            var item = DataCase(
                line: position + 1, command: "", arguments: [], text: String(line), input: "", expected: "")
            (item.command, item.arguments) = parse(line)
            position += 1
            var input: [Substring] = []
            while position < lines.count, lines[position] != "----" {
                input.append(lines[position])
                position += 1
            }
            position += 1
            while position < lines.count, !lines[position].isEmpty {
                item.expected += lines[position] + "\n"
                position += 1
            }
            item.input = input.joined(separator: "\n")
            cases.append(item)
        }
        return cases
    }

    /// The file's text with other outputs: `outputs` has one for each case, in order.
    static func text(_ text: String, replacing outputs: [String]) -> String {
        var result = ""
        var next = 0
        var isOutput = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.isEmpty { isOutput = false }
            if isOutput { continue }
            result += line + "\n"
            guard line == "----" else { continue }
            isOutput = true
            result += outputs[next]
            next += 1
        }
        while result.hasSuffix("\n\n") { result.removeLast() }
        return result
    }

    /// Two outputs side by side, where they differ: lines expected are marked "-", actual ones "+".
    static func difference(expected: String, actual: String) -> String {
        let lines = [expected, actual].map { $0.split(separator: "\n", omittingEmptySubsequences: false).dropLast() }
        let shorter = min(lines[0].count, lines[1].count)
        let same = zip(lines[0], lines[1]).prefix { $0 == $1 }.count
        let sameAtEnd = zip(lines[0].reversed(), lines[1].reversed()).prefix { $0 == $1 }.count
        let end = min(sameAtEnd, shorter - same)
        func marked(_ mark: String, _ lines: some Sequence<Substring>) -> String {
            lines.map { "\(mark) \($0)\n" }.joined()
        }
        return marked(" ", lines[0].prefix(same))
            + "expected:\n" + marked("-", lines[0].dropFirst(same).dropLast(end))
            + "actual:\n" + marked("+", lines[1].dropFirst(same).dropLast(end)) + marked(" ", lines[0].suffix(end))
    }

    /// `command name=value name=(a, b)`: blanks separate arguments except within parentheses.
    static func parse(_ line: Substring) -> (String, [(name: String, value: String)]) {
        var words: [String] = [""]
        var depth = 0
        for character in line {
            switch character {
            case "(": depth += 1
            case ")": depth -= 1
            case " " where depth > 0: break
            case " ": words.append("")
            default: words[words.count - 1].append(character)
            }
        }
        let arguments = words.dropFirst().filter { !$0.isEmpty }.map { word in
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
        }
        return (words[0], arguments)
    }
}
