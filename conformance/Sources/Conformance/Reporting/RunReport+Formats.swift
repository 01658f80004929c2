/// The forms in which a report is written.
package enum ReportFormat: String, Sendable, CaseIterable {
    case table, json, junit, markdown
}

extension RunReport {
    package func text(_ format: ReportFormat) -> String {
        switch format {
        case .table: table
        case .json: json
        case .junit: junit
        case .markdown: markdown
        }
    }

    /// By area: counts, then every case that did not pass.
    private var table: String {
        var text = "area          pass  fail  devi  skip   seconds\n"
        for area in Suite.areas {
            let some = results.filter { $0.area == area }
            if some.isEmpty { continue }
            func count(_ word: String) -> String { pad(String(some.count { $0.outcome.word == word }), 6, left: true) }
            let seconds = Format.fixed(some.reduce(0) { $0 + $1.seconds }, 2)
            text += pad(area, 12) + count("pass") + count("FAIL") + count("deviates") + count("skip")
            text += pad(seconds, 10, left: true) + "\n"
        }
        for result in results where result.outcome != .passed {
            text += "\n\(pad(result.outcome.word, 9)) \(result.id)\(result.isRequired ? "" : " (not required)")\n"
            if case .skipped = result.outcome {} else { text += "          \(result.doc)\n" }
            text += "          \(result.outcome.message)\n"
        }
        return text + "\n" + summary + "\n"
    }

    private func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
        let fill = String(repeating: " ", count: max(0, width - text.count))
        return left ? fill + text : text + fill
    }

    private var json: String {
        func field(_ name: String, _ value: Value) -> Value.Field { .init(name: name, value: value) }
        let items = results.map { result -> Value in
            var fields = [
                field("id", .text(result.id)), field("area", .text(result.area)), field("doc", .text(result.doc)),
                field("level", .text(result.level.description)), field("required", .bool(result.isRequired)),
                field("outcome", .text(result.outcome.word)),
                field("milliseconds", .integer(Int128(result.seconds * 1000))),
            ]
            if case .deviates(let message, let reason) = result.outcome {
                fields += [field("message", .text(message)), field("reason", .text(reason))]
            } else if !result.outcome.message.isEmpty {
                fields.append(field("message", .text(result.outcome.message)))
            }
            return .map(fields)
        }
        return Value.map([
            field("version", .text(version)), field("level", .text(level.description)),
            field("members", .integer(Int128(memberCount))), field("endpoints", .list(endpoints.map { .text($0) })),
            field("results", .list(items)),
        ]).json + "\n"
    }

    /// Reads what `json` wrote. Throws `SuiteError`.
    package init(json text: String) throws {
        let root = try Value(json: Array(text.utf8))
        guard let version = root["version"]?.text, let level = root["level"]?.text.flatMap({ Level($0) }),
            let items = root["results"]?.list
        else { throw SuiteError("this is no report of martlet-conformance") }
        self.init(
            endpoints: root["endpoints"]?.list?.compactMap(\.text) ?? [], version: version, level: level,
            memberCount: Int(root["members"]?.integer ?? 1))
        results = try items.map { item in
            guard let id = item["id"]?.text, let word = item["outcome"]?.text,
                let level = item["level"]?.text.flatMap({ Level($0) })
            else { throw SuiteError("a result without id, level or outcome") }
            let message = item["message"]?.text ?? ""
            let outcome: Outcome =
                switch word {
                case "pass": .passed
                case "deviates": .deviates(message, reason: item["reason"]?.text ?? "")
                case "skip": .skipped(message)
                default: .failed(message)
                }
            return CaseResult(
                id: id, area: item["area"]?.text ?? "", doc: item["doc"]?.text ?? "", level: level,
                isRequired: item["required"]?.bool ?? true, outcome: outcome,
                seconds: Double(item["milliseconds"]?.integer ?? 0) / 1000)
        }
    }

    private var junit: String {
        func escaped(_ text: String) -> String {
            var made = ""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "&": made += "&amp;"
                case "<": made += "&lt;"
                case ">": made += "&gt;"
                case "\"": made += "&quot;"
                case let other where other.value < 0x20 && other != "\n": made += "?"
                case let other: made.unicodeScalars.append(other)
                }
            }
            return made
        }
        let failures = results.count { if case .failed = $0.outcome { true } else { false } }
        var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        text += "<testsuite name=\"conformance\" tests=\"\(results.count)\" failures=\"\(failures)\" "
        text += "skipped=\"\(results.count - failures - count("pass"))\">\n"
        for result in results {
            let name = String(result.id.dropFirst(result.area.count + 1))
            text += "  <testcase classname=\"\(result.area)\" name=\"\(escaped(name))\" "
            text += "time=\"\(Format.fixed(result.seconds, 3))\""
            switch result.outcome {
            case .passed: text += "/>\n"
            case .failed(let message):
                text +=
                    ">\n    <failure message=\"\(escaped(result.doc))\">\(escaped(message))</failure>\n  </testcase>\n"
            case .deviates, .skipped:
                text += ">\n    <skipped message=\"\(escaped(result.outcome.message))\"/>\n  </testcase>\n"
            }
        }
        return text + "</testsuite>\n"
    }

    private var markdown: String {
        var text = "\(summary)\n\n| case | level | result | remark |\n|---|---|---|---|\n"
        for result in results {
            let remark = result.outcome == .passed ? "" : Matrix.cell(result.outcome.message)
            text += "| `\(result.id)` | \(result.level) | \(result.outcome.word) | \(remark) |\n"
        }
        return text
    }
}
