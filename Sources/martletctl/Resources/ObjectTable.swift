import Foundation
import ResourceStore

/// Lays out rows in columns, as kubectl does: headings, cells to the left, three blanks between.
struct ObjectTable {
    private var rows: [[String]]

    init(_ headings: [String]) { rows = [headings] }

    mutating func append(_ cells: [String]) { rows.append(cells) }

    func render() -> String {
        var widths = [Int](repeating: 0, count: rows[0].count)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        return rows.map { Self.line($0, widths) }.joined()
    }

    /// One line with columns of these widths at least; the last is as long as it is.
    static func line(_ cells: [String], _ widths: [Int]) -> String {
        var line = ""
        for (column, cell) in cells.enumerated() {
            line += cell
            if column < cells.count - 1 {
                line += String(repeating: " ", count: max(0, widths[column] - cell.count) + 3)
            }
        }
        return line + "\n"
    }
}

/// What is shown of an object, whatever it is encoded in.
struct ObjectRow: Sendable {
    let namespace: String?
    let name: String
    let kind: String
    let encoding: String
    let bytes: Int
    let revision: Int64
    let labels: [String: String]
    let creationSeconds: Int64?

    init(_ object: OpaqueObject) {
        let header = object.header
        namespace = object.identity.namespace
        name = object.identity.name
        kind = header?.kind ?? "?"
        encoding = header?.encoding.rawValue ?? "unknown"
        bytes = object.bytes.count
        revision = object.identity.resourceVersion?.rawValue ?? 0
        labels = header?.labels ?? [:]
        creationSeconds = header?.creationSeconds
    }

    static func headings(isWide: Bool, hasNamespace: Bool) -> [String] {
        (hasNamespace ? ["NAMESPACE"] : []) + ["NAME", "KIND", "AGE"]
            + (isWide ? ["SIZE", "REVISION", "ENCODING", "LABELS"] : [])
    }

    func cells(isWide: Bool, hasNamespace: Bool, now: Int64) -> [String] {
        let age = creationSeconds.map { Self.age(max(0, now - $0)) } ?? "<unknown>"
        let pairs = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return (hasNamespace ? [namespace ?? ""] : []) + [name, kind, age]
            + (isWide
                ? ["\(bytes)", "\(revision)", encoding, pairs.isEmpty ? "<none>" : pairs.joined(separator: ",")] : [])
    }

    /// A span of seconds in one or two units, as kubectl prints ages.
    static func age(_ seconds: Int64) -> String {
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400)
        if seconds < 120 { return "\(seconds)s" }
        if minutes < 10 { return seconds % 60 == 0 ? "\(minutes)m" : "\(minutes)m\(seconds % 60)s" }
        if hours < 3 { return "\(minutes)m" }
        if hours < 8 { return minutes % 60 == 0 ? "\(hours)h" : "\(hours)h\(minutes % 60)m" }
        if days < 2 { return "\(hours)h" }
        if days < 8 { return hours % 24 == 0 ? "\(days)d" : "\(days)d\(hours % 24)h" }
        return days < 730 ? "\(days)d" : "\(days / 365)y"
    }

    static func nowSeconds() -> Int64 { Int64(Date().timeIntervalSince1970) }
}
