import Foundation
import Testing

/// Interactions of several members, as script files tell them: `Data/scripts/<topic>/<name>.txt`.
@Suite struct ScriptTests {
    static let topics = ["elections", "replication", "snapshots", "transfer", "membership", "reads"]

    /// `topic/name` of every file there is.
    static let names: [String] = topics.flatMap { topic in
        let folder = Bundle.module.resourceURL!.appendingPathComponent("Data/scripts/\(topic)")
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return files.filter { $0.hasSuffix(".txt") }.map { "\(topic)/\($0.dropLast(4))" }.sorted()
    }

    /// With `MARTLET_REWRITE=1` the outputs in the source files are replaced by those of now: to be read before they
    /// are committed.
    static let rewrites = ProcessInfo.processInfo.environment["MARTLET_REWRITE"] == "1"

    @Test(arguments: names) func script(_ name: String) throws {
        let text = try DataFile.text("scripts", name)
        if ScriptTests.rewrites {
            let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            let file = folder.appendingPathComponent("Data/scripts/\(name).txt")
            try Data(try rewritten(name, text).utf8).write(to: file)
        } else if let difference = try firstDifference(name, text) {
            Issue.record("\(difference)")
        }
    }

    private func rewritten(_ name: String, _ text: String) throws -> String {
        var script = Script(name: name)
        return DataFile.text(text, replacing: try DataFile.cases(in: text).map { try script.run($0) })
    }

    /// Runs a script as far as it does what is expected of it.
    private func firstDifference(_ name: String, _ text: String) throws -> String? {
        var script = Script(name: name)
        for item in DataFile.cases(in: text) {
            let actual = try script.run(item)
            if actual != item.expected {
                return "\(name).txt line \(item.line): \(item.text)\n"
                    + DataFile.difference(expected: item.expected, actual: actual)
            }
        }
        return nil
    }

    @Test(arguments: topics) func everyTopicHasScripts(_ topic: String) {
        #expect(ScriptTests.names.count { $0.hasPrefix(topic + "/") } >= 3)
    }

    /// A script begins with what it shows and whose rule that is, and each of its cases has its output.
    @Test(arguments: names) func scriptsAreWellFormed(_ name: String) throws {
        let lines = try DataFile.text("scripts", name).split(separator: "\n", omittingEmptySubsequences: false)
        try #require(lines.count > 4)
        #expect(lines[0].hasPrefix("# ") && lines[0].hasSuffix("."))
        #expect(lines.contains { $0.hasPrefix("# Source: ") })
        for item in DataFile.cases(in: lines.joined(separator: "\n")) {
            #expect(!item.input.contains("\n\n") && !item.input.contains("#"), "no ---- after line \(item.line)")
        }
    }

    @Test func aWrongOutputIsFoundAndShown() throws {
        let text = """
            cluster 1
            ----

            campaign 1
            ----
              1: candidate, term 1
              1: leader, term 9
              1: commits 1

            """
        let shown = try firstDifference("example", text)
        #expect(
            shown == """
                example.txt line 4: campaign 1
                    1: candidate, term 1
                expected:
                -   1: leader, term 9
                actual:
                +   1: leader, term 1
                    1: commits 1

                """)
        #expect(throws: ScriptError.self) { try firstDifference("example", "cluster 1\nfly 1\n----\n") }
        #expect(throws: ScriptError.self) { try firstDifference("example", "tick 1\n----\n") }
        let right = try rewritten("example", text)
        #expect(try firstDifference("example", right) == nil)
        #expect(try rewritten("example", right) == right)
    }
}
