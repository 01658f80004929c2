/// Lays out rows as the boxes of `-w table`: headings in the middle, cells to the right, cells wider than 30 columns
/// broken at blanks so that the lines are as even as can be.
package struct TableWriter {
    private static let wrapColumns = 30

    private let headings: [String]
    private var rows: [[[String]]] = []

    /// A table with these column headings, in capitals as they are printed.
    package init(headings: [String]) { self.headings = headings }

    /// Adds a row; it has as many cells as the table has columns.
    package mutating func append(_ cells: [String]) {
        rows.append(cells.map { Self.wrap($0) })
    }

    /// The whole table, each line with its end.
    package func render() -> String {
        var widths = headings.map(\.unicodeScalars.count)
        for row in rows {
            for (column, lines) in row.enumerated() {
                for line in lines { widths[column] = max(widths[column], line.unicodeScalars.count) }
                if lines.count > 1 { widths[column] = max(widths[column], Self.wrapColumns) }
            }
        }
        let rule = "+" + widths.map { String(repeating: "-", count: $0 + 2) }.joined(separator: "+") + "+\n"
        var text = rule + "|"
        for (column, heading) in headings.enumerated() {
            let gap = widths[column] - heading.unicodeScalars.count
            text += " " + Self.blanks(gap / 2) + heading + Self.blanks(gap - gap / 2) + " |"
        }
        text += "\n" + rule
        for row in rows {
            for line in 0..<(row.map(\.count).max() ?? 0) {
                text += "|"
                for (column, lines) in row.enumerated() {
                    let cell = line < lines.count ? lines[line] : ""
                    text += " " + Self.blanks(widths[column] - cell.unicodeScalars.count) + cell + " |"
                }
                text += "\n"
            }
        }
        return text + rule
    }

    private static func blanks(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }

    /// The lines of a cell. A cell that fits is one line as it stands; a wider one is broken between words, choosing
    /// the breaks with the least sum of squared slack (the last line is free), never inside a word. A blank at the
    /// cell's end stays at the end of its last line.
    private static func wrap(_ cell: String) -> [String] {
        guard cell.unicodeScalars.count > wrapColumns else { return [cell] }
        let words = cell.split(separator: " ").map(String.init)
        guard words.count > 1 else { return [cell] }
        let lengths = words.map(\.unicodeScalars.count)
        let limit = max(wrapColumns, lengths.max() ?? 0)
        var cost = [Int](repeating: 0, count: words.count + 1)
        var next = [Int](repeating: words.count, count: words.count)
        for start in stride(from: words.count - 1, through: 0, by: -1) {
            cost[start] = .max
            var width = -1
            for end in start..<words.count {
                width += lengths[end] + 1
                if width > limit { break }
                let slack = end == words.count - 1 ? 0 : (limit - width) * (limit - width)
                if slack + cost[end + 1] < cost[start] {
                    cost[start] = slack + cost[end + 1]
                    next[start] = end + 1
                }
            }
        }
        var lines: [String] = []
        var start = 0
        while start < words.count {
            lines.append(words[start..<next[start]].joined(separator: " "))
            start = next[start]
        }
        if cell.hasSuffix(" ") { lines[lines.count - 1] += " " }
        return lines
    }
}
