import Foundation

@testable import ResourceStore

/// What a page of metrics exports: the type of each family, and the labels that its samples bear.
struct ExportedMetrics {
    private(set) var types: [String: String] = [:]
    private(set) var labels: [String: Set<String>] = [:]

    /// Families that have samples in trouble only, and their labels.
    private static let inTrouble = ["etcd_debugging_server_alarms": ["alarm_type", "server_id"]]

    init(page: String) {
        for (name, names) in Self.inTrouble { labels[name] = Set(names) }
        for line in page.split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("# TYPE "), words.count == 4 { types[String(words[2])] = String(words[3]) }
            guard !line.hasPrefix("#"), let word = words.first, let brace = word.firstIndex(of: "{") else { continue }
            let names = word[brace...].matches(of: #/([a-zA-Z_]+)="/#).map { String($0.output.1) }
            labels[Self.family(of: word[..<brace]), default: []].formUnion(names)
        }
    }

    /// The family of a sample's name: of a histogram's parts, the histogram.
    static func family(of name: Substring) -> String {
        for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
            return String(name.dropLast(suffix.count))
        }
        return String(name)
    }

    /// What is wrong with an expression of Prometheus that is written for this page; the names in it go to `used`.
    func complaints(_ expression: String, used: inout Set<String>) -> [String] {
        var wrong: [String] = []
        var known: Set<String> = ["job", "instance", "le"]
        for match in expression.matches(of: #/([a-z_]+_[a-z_]+)(\{[^}]*\})?(\[[^\]]*\])?/#) {
            let name = match.output.1
            guard Self.prefixes.contains(where: { name.hasPrefix($0) }) else { continue }
            let family = Self.family(of: name)
            used.insert(family)
            guard let type = types[family] else {
                wrong.append("\(name) is not exported")
                continue
            }
            let own = (labels[family] ?? []).union(["job", "instance", "le"])
            known.formUnion(own)
            for matcher in (match.output.2 ?? "").matches(of: #/([a-zA-Z_]+)(=|!=)/#)
            where !own.contains(String(matcher.output.1)) {
                wrong.append("\(name) has no label \(matcher.output.1)")
            }
            let function = Self.function(around: match.range.lowerBound, in: expression)
            let isRate = ["rate", "increase"].contains(function)
            // etcd exports some counters as gauges, and so do we.
            let isGrowing = type == "gauge" && isRate && name.hasSuffix("_total")
            let isCounter = type == "counter" || family != name || isGrowing
            if isRate != (match.output.3 != nil) { wrong.append("\(name): a range and no rate, or the reverse") }
            if isRate != isCounter { wrong.append("\(name) is a \(type), used by \(function)") }
            if (type == "histogram") != (family != name) { wrong.append("\(name) is a \(type)") }
            if name.hasSuffix("_bucket"), !expression.contains("histogram_quantile(") || !expression.contains(", le)") {
                wrong.append("\(name): buckets are for histogram_quantile, by le")
            }
        }
        for group in expression.matches(of: #/(by|on|without|ignoring) \(([^)]*)\)/#) {
            for label in group.output.2.split(separator: ",").map({ $0.trimmingCharacters(in: .whitespaces) })
            where !known.contains(label) {
                wrong.append("no metric here has the label \(label)")
            }
        }
        for (open, close) in [("(", ")"), ("{", "}"), ("[", "]")] {
            let counts = [open, close].map { sign in expression.count { String($0) == sign } }
            if counts[0] != counts[1] { wrong.append("\(open) without \(close)") }
        }
        return wrong
    }

    private static let prefixes = ["etcd_", "martlet_", "grpc_server_", "process_", "os_"]

    /// The name before the innermost parenthesis that is open at a place; empty when there is none.
    private static func function(around place: String.Index, in text: String) -> Substring {
        var depth = 0
        for index in text[..<place].indices.reversed() {
            if text[index] == ")" { depth += 1 }
            guard text[index] == "(" else { continue }
            if depth == 0 {
                let name = text[..<index].reversed().prefix { $0.isLetter || $0 == "_" }
                return Substring(String(name.reversed()))
            }
            depth -= 1
        }
        return ""
    }
}
