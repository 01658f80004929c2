import Foundation
import Testing

/// One case of a data-driven file: a command line, input lines, and the exact output expected.
struct DataCase {
    var line: Int
    var command: String
    /// In order: `name=value`; the value of `name=(a,b)` is "a,b" with blanks removed.
    var arguments: [(name: String, value: String)]
    var input: String
    var expected: String

    func argument(_ name: String) -> String? { arguments.first { $0.name == name }?.value }
}

/// Files of cases: comments (`#`), a command, optional input, `----`, the output, and a blank line.
enum DataFile {
    static func cases(_ folder: String, _ name: String) throws -> [DataCase] {
        let directory = try #require(Bundle.module.resourceURL)
        let url = directory.appendingPathComponent("Data/\(folder)/\(name).txt")
        let lines = try String(contentsOf: url, encoding: .utf8).split(
            separator: "\n", omittingEmptySubsequences: false)
        var cases: [DataCase] = []
        var position = 0
        while position < lines.count {
            let line = lines[position]
            if line.isEmpty || line.hasPrefix("#") {
                position += 1
                continue
            }
            var item = DataCase(line: position + 1, command: "", arguments: [], input: "", expected: "")
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

    /// `command name=value name=(a, b)`: blanks separate arguments except within parentheses.
    private static func parse(_ line: Substring) -> (String, [(name: String, value: String)]) {
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
