/// Several servers side by side, from the reports of one run each.
package struct Matrix {
    private let columns: [(name: String, report: RunReport)]

    /// At least one column; names are as they appear in the heading.
    package init(_ columns: [(name: String, report: RunReport)]) { self.columns = columns }

    /// Text as it may stand in a cell of a table.
    static func cell(_ text: String) -> String {
        let short = text.count > 400 ? String(text.prefix(400)) + "…" : text
        return short.split(separator: "\n").joined(separator: " ").split(separator: "|").joined(separator: "\\|")
    }

    package var markdown: String {
        var text = "# Conformance, side by side\n\n"
        text +=
            "Written by `martlet-conformance matrix`; `make conformance` makes it anew. Each row is a behaviour of\n"
        text += "the etcd v3 API; `conformance/cases` and `conformance/Sources` say where it is documented.\n\n"
        text += "- **pass**: the server does what is documented. **FAIL**: it does not.\n"
        text += "- **deviates**: it does not, knowingly; the reason stands below (`conformance/deviations.yaml`).\n"
        text += "- **skip**: the case could not run there. **-**: the behaviour is not of that server's API level.\n\n"
        text += summaryTable + deviations + failures + cases
        return text
    }

    private var summaryTable: String {
        var text = "| server | version | members | level | cases | pass | FAIL | deviates | skip |\n"
        text += "|---|---|---|---|---|---|---|---|---|\n"
        for (name, report) in columns {
            text +=
                "| \(name) | \(report.version) | \(report.memberCount) | \(report.level) | \(report.results.count) | "
            text += "\(report.count("pass")) | \(report.count("FAIL")) | \(report.count("deviates")) | "
            text += "\(report.count("skip")) |\n"
        }
        return text + "\n"
    }

    private var deviations: String {
        var text = ""
        for (name, report) in columns {
            for result in report.results {
                guard case .deviates(_, let reason) = result.outcome else { continue }
                text += "| \(name) | `\(result.id)` | \(Matrix.cell(reason)) |\n"
            }
        }
        if text.isEmpty { return "" }
        return "## Known differences\n\n| server | case | reason |\n|---|---|---|\n" + text + "\n"
    }

    private var failures: String {
        var text = ""
        for (name, report) in columns {
            for result in report.results {
                guard case .failed(let message) = result.outcome else { continue }
                text += "| \(name) | `\(result.id)` | \(Matrix.cell(message)) |\n"
            }
        }
        if text.isEmpty { return "" }
        return "## Failures\n\n| server | case | message |\n|---|---|---|\n" + text + "\n"
    }

    private var cases: String {
        var order: [CaseResult] = []
        var seen: Set<String> = []
        for area in Suite.areas {
            for (_, report) in columns {
                for result in report.results where result.area == area && seen.insert(result.id).inserted {
                    order.append(result)
                }
            }
        }
        let outcomes = columns.map { column in
            Dictionary(column.report.results.map { ($0.id, $0.outcome.word) }) { first, _ in first }
        }
        var text = ""
        var area = ""
        for result in order {
            if result.area != area {
                area = result.area
                text += "\n## \(area)\n\n| case | since | " + columns.map(\.name).joined(separator: " | ") + " |\n"
                text += "|---|---|" + String(repeating: "---|", count: columns.count) + "\n"
            }
            let name = result.id.dropFirst(area.count + 1)
            text += "| \(name): \(Matrix.cell(result.doc)) | \(result.level) | "
            text += outcomes.map { $0[result.id] ?? "-" }.joined(separator: " | ") + " |\n"
        }
        return text
    }
}
