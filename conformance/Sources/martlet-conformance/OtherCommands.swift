import ArgumentParser
import Conformance
import Foundation

/// `martlet-conformance list`: what is checked.
struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Lists the cases.")

    @OptionGroup var choice: ChoiceOptions
    @OptionGroup var casesOption: CasesOption

    func run() async throws {
        try choice.checkAreas()
        let level = try choice.parsedLevel()
        let cases = try casesOption.load().filter { item in
            if let level, item.level > level || item.until.map({ $0 < level }) ?? false { return false }
            guard choice.areas.isEmpty || choice.areas.contains(item.area) else { return false }
            return choice.filters.isEmpty || choice.filters.contains { item.id.contains($0) }
        }
        for item in cases {
            let needs = item.needs.map(\.rawValue).sorted().joined(separator: ",")
            print("\(item.id)\t\(item.level)\t\(needs)\t\(item.doc)")
        }
        print("\(cases.count) cases")
    }
}

/// `martlet-conformance matrix`: several JSON reports side by side.
struct MatrixCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "matrix", abstract: "Writes several JSON reports side by side, as Markdown.")

    @Argument(help: ArgumentHelp("Reports: NAME=FILE, in the order of the columns.", valueName: "name=file"))
    var reports: [String]
    @Option(help: ArgumentHelp("Markdown that follows the table.", valueName: "file"))
    var append: String?
    @Option(help: ArgumentHelp("Writes there; otherwise to the standard output.", valueName: "file"))
    var output: String?

    func run() async throws {
        let columns = try reports.map { text in
            let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw ValidationError("\(text): NAME=FILE is expected") }
            return (name: parts[0], report: try RunReport(json: try String(contentsOfFile: parts[1], encoding: .utf8)))
        }
        var text = Matrix(columns).markdown
        if let append { text += "\n" + (try String(contentsOfFile: append, encoding: .utf8)) }
        if let output {
            try Data(text.utf8).write(to: URL(fileURLWithPath: output))
        } else {
            print(text, terminator: "")
        }
    }
}
