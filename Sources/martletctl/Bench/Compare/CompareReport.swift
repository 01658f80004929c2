/// The figures of all rounds of a comparison, and their medians and ratios.
struct CompareReport: Sendable {
    /// One figure of one workload on both servers.
    struct Row: Sendable {
        var workload: String
        var metric: CompareMetric
        /// One value for each round.
        var martlet: [Double] = []
        var etcd: [Double] = []

        /// How many times better Martlet is: above 1 is better, whichever direction is. Nil when it cannot be said.
        var ratio: Double? {
            guard let ours = median(martlet), let theirs = median(etcd), ours > 0, theirs > 0 else { return nil }
            return metric.isBetterLower ? theirs / ours : ours / theirs
        }
    }

    var rounds: Int
    var martletPath: String
    var etcdPath: String
    private(set) var rows: [Row] = []
    /// Workloads that failed: which, on which server, and why.
    var failures: [String] = []
    /// How it was measured, and what was not.
    var notes: [String] = []

    init(rounds: Int, martletPath: String, etcdPath: String) {
        self.rounds = rounds
        self.martletPath = martletPath
        self.etcdPath = etcdPath
    }

    /// Adds a figure of one round.
    mutating func add(_ value: Double, _ metric: CompareMetric, workload: String, isMartlet: Bool) {
        let index = rows.firstIndex { $0.workload == workload && $0.metric == metric }
        if index == nil { rows.append(Row(workload: workload, metric: metric)) }
        let row = index ?? rows.count - 1
        if isMartlet { rows[row].martlet.append(value) } else { rows[row].etcd.append(value) }
    }

    /// The table for people: medians, and how many times better Martlet is.
    func text() -> String {
        var table = TableWriter(headings: ["WORKLOAD", "FIGURE", "UNIT", "MARTLET", "ETCD", "TIMES BETTER"])
        for row in rows { table.append(cells(row)) }
        return table.render() + (notes + failures.map { "FAILED: \($0)" }).map { $0 + "\n" }.joined()
    }

    /// The table in Markdown.
    func markdown() -> String {
        var text = "| workload | figure | unit | Martlet | etcd | times better |\n|---|---|---|---:|---:|---:|\n"
        for row in rows { text += "| " + cells(row).joined(separator: " | ") + " |\n" }
        text += "\nMedians of \(rounds) rounds, servers in alternation on one machine.\n"
        return text + (notes + failures.map { "FAILED: \($0)" }).map { "\n\($0)\n" }.joined()
    }

    private func cells(_ row: Row) -> [String] {
        [
            row.workload, row.metric.name, row.metric.unit, Self.figure(median(row.martlet)),
            Self.figure(median(row.etcd)), row.ratio.map { BenchReport.decimal($0, 2) } ?? "-",
        ]
    }

    private static func figure(_ value: Double?) -> String {
        guard let value else { return "-" }
        return BenchReport.decimal(value, abs(value) >= 1000 ? 0 : abs(value) >= 10 ? 1 : 3)
    }

    /// The report for programs: one object, with the values of every round.
    func json() -> String {
        var json = JSONText()
        json.object { json in
            json.field("martlet", martletPath)
            json.field("etcd", etcdPath)
            json.field("rounds", rounds)
            json.field(
                "rows",
                array: { json in
                    for row in rows {
                        json.object { json in
                            json.field("workload", row.workload)
                            json.field("figure", row.metric.name)
                            json.field("unit", row.metric.unit)
                            json.field("better", row.metric.isBetterLower ? "lower" : "higher")
                            json.field("martlet", array: { json in for value in row.martlet { json.value(value) } })
                            json.field("etcd", array: { json in for value in row.etcd { json.value(value) } })
                            if let ours = median(row.martlet) { json.field("martlet_median", ours) }
                            if let theirs = median(row.etcd) { json.field("etcd_median", theirs) }
                            if let ratio = row.ratio { json.field("times_better", ratio) }
                        }
                    }
                })
            json.field("notes", array: { json in for note in notes { json.value(note) } })
            json.field("failures", array: { json in for failure in failures { json.value(failure) } })
        }
        return json.text
    }
}

/// The middle value, or the mean of the two middle ones; nil when there is none.
func median(_ values: [Double]) -> Double? {
    if values.isEmpty { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
