import NIOCore

/// What the server used during a run.
struct ServerUse: Sendable {
    /// Processor time, user and system, microseconds.
    var cpuMicroseconds: Double
    /// Memory before and after the run, bytes.
    var before: ProcessUsage
    var after: ProcessUsage
    /// The most memory that was seen during the run, bytes; that at its end unless it was sampled.
    var residentPeakBytes: Int
    var anonymousPeakBytes: Int

    init(before: ProcessUsage, after: ProcessUsage) {
        self.before = before
        self.after = after
        cpuMicroseconds = after.cpuMicroseconds - before.cpuMicroseconds
        residentPeakBytes = max(before.residentBytes, after.residentBytes)
        anonymousPeakBytes = max(before.anonymousBytes, after.anonymousBytes)
    }
}

/// The outcome of one workload.
struct BenchReport: Sendable {
    /// The workload's name.
    var workload: String
    /// What it was run with, in order.
    var parameters: [(name: String, value: String)] = []
    /// The kinds of operation, as many as the result has histograms.
    var operations: [String]
    /// Length of the measured part, seconds.
    var seconds: Double
    var result: LoadResult
    var server: ServerUse?
    /// Further figures: a name with its unit, and the value.
    var figures: [(name: String, value: Double)] = []
    /// Why the run counts as failed; empty when it does not.
    var failures: [String] = []

    /// Calls per second.
    var throughput: Double { seconds > 0 ? Double(result.calls) / seconds : 0 }

    /// The server's processor time per call, microseconds; nil when it is not known.
    var cpuMicrosecondsPerCall: Double? {
        guard let server, result.calls > 0 else { return nil }
        return server.cpuMicroseconds / Double(result.calls)
    }

    /// All operations in one histogram.
    var overall: Histogram {
        var histogram = Histogram()
        for part in result.histograms { histogram.merge(part) }
        return histogram
    }

    // MARK: Text

    private static let histogramBounds: [UInt64] = [
        50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000,
        100_000_000, 200_000_000, 500_000_000, 1_000_000_000, 2_000_000_000,
    ]

    /// The report for people.
    func text() -> String {
        var lines: [String] = []
        let parameterText = parameters.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        lines.append("\(workload): \(parameterText)")
        lines.append("")
        lines.append("  calls       \(result.calls) in \(Self.decimal(seconds, 3)) s")
        lines.append("  throughput  \(Self.decimal(throughput, 1)) calls/s")
        if result.errors > 0 {
            lines.append("  errors      \(result.errors): \(result.errorTexts.joined(separator: "; "))")
        }
        for figure in figures { lines.append("  \(figure.name)  \(Self.decimal(figure.value, 2))") }
        if let server {
            if let perCall = cpuMicrosecondsPerCall {
                let total = Self.decimal(server.cpuMicroseconds / 1e6, 2)
                lines.append("  server CPU  \(Self.decimal(perCall, 2)) us per call (\(total) s)")
            }
            let (before, after) = (server.before, server.after)
            let resident = Self.memory(before.residentBytes, after.residentBytes, server.residentPeakBytes)
            let anonymous = Self.memory(before.anonymousBytes, after.anonymousBytes, server.anonymousPeakBytes)
            lines += ["  server RSS  \(resident)", "  anonymous   \(anonymous)"]
        }
        lines.append("")
        lines += latencyTable()
        lines += histogramLines()
        lines += failures.map { "FAILED: \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func memory(_ before: Int, _ after: Int, _ peak: Int) -> String {
        func megabytes(_ bytes: Int) -> String { decimal(Double(bytes) / 1e6, 1) }
        return "\(megabytes(before)) MB before, \(megabytes(after)) MB after, \(megabytes(peak)) MB at most"
    }

    private func latencyTable() -> [String] {
        var lines = ["  latency ms   " + Self.row(["calls", "min", "p50", "p90", "p99", "p99.9", "max"])]
        for (name, histogram) in zip(operations, result.histograms) where histogram.count > 0 {
            let percentiles = [0.5, 0.9, 0.99, 0.999].map { histogram.percentile($0) }
            let figures = [histogram.minimum] + percentiles + [histogram.maximum]
            let cells = ["\(histogram.count)"] + figures.map { Self.decimal(Double($0) / 1e6, 3) }
            lines.append("  " + Self.padded(name, 12, isLeft: true) + " " + Self.row(cells))
        }
        return lines
    }

    private func histogramLines() -> [String] {
        let counts = overall.counts(between: Self.histogramBounds)
        guard let most = counts.max(), most > 0, let first = counts.firstIndex(where: { $0 > 0 }),
            let last = counts.lastIndex(where: { $0 > 0 })
        else { return [] }
        var lines = [""]
        for index in first...last {
            let label =
                index < Self.histogramBounds.count
                ? "< " + GoDuration(nanoseconds: Int64(Self.histogramBounds[index])).description
                : ">= " + GoDuration(nanoseconds: Int64(Self.histogramBounds[index - 1])).description
            let bar = String(repeating: "#", count: Int(Double(counts[index]) / Double(most) * 40))
            lines.append("  " + Self.padded(label, 10) + " " + Self.padded("\(counts[index])", 10) + " " + bar)
        }
        return lines
    }

    private static func row(_ cells: [String]) -> String { cells.map { padded($0, 10) }.joined() }

    static func padded(_ text: String, _ width: Int, isLeft: Bool = false) -> String {
        let blanks = String(repeating: " ", count: max(0, width - text.count))
        return isLeft ? text + blanks : blanks + text
    }

    /// `value` with a fixed number of decimals.
    static func decimal(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "-" }
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int64((abs(value) * scale).rounded())
        let whole = "\(value < 0 && scaled != 0 ? "-" : "")\(scaled / Int64(scale))"
        if decimals == 0 { return whole }
        let fraction = "\(scaled % Int64(scale))"
        return whole + "." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    // MARK: JSON

    /// The report for programs: one object. Times are in microseconds, memory in bytes.
    func json() -> String {
        var json = JSONText()
        write(into: &json)
        return json.text
    }

    /// Writes the report as an object.
    func write(into json: inout JSONText) {
        json.object { json in
            json.field("workload", workload)
            json.field("parameters", object: { json in for item in parameters { json.field(item.name, item.value) } })
            json.field("calls", result.calls)
            json.field("errors", result.errors)
            json.field("error_texts", unlessEmpty: result.errorTexts)
            json.field("seconds", seconds)
            json.field("calls_per_second", throughput)
            json.field("figures", object: { json in for figure in figures { json.field(figure.name, figure.value) } })
            json.field(
                "latency_us",
                object: { json in
                    for (name, histogram) in zip(operations, result.histograms) {
                        json.field(name, object: { Self.write(histogram, into: &$0) })
                    }
                })
            if let server { json.field("server", object: { writeServer(server, into: &$0) }) }
            json.field("failures", array: { json in for failure in failures { json.value(failure) } })
        }
    }

    private static func write(_ histogram: Histogram, into json: inout JSONText) {
        json.field("count", histogram.count)
        json.field("min", Double(histogram.minimum) / 1000)
        json.field("mean", histogram.mean / 1000)
        for (name, fraction) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            json.field(name, Double(histogram.percentile(fraction)) / 1000)
        }
        json.field("max", Double(histogram.maximum) / 1000)
        let counts = histogram.counts(between: histogramBounds)
        json.field(
            "histogram",
            array: { json in
                for (index, count) in counts.enumerated() where count > 0 {
                    json.object { json in
                        if index < histogramBounds.count { json.field("below", Double(histogramBounds[index]) / 1000) }
                        json.field("count", count)
                    }
                }
            })
    }

    private func writeServer(_ server: ServerUse, into json: inout JSONText) {
        json.field("cpu_us", server.cpuMicroseconds)
        if let perCall = cpuMicrosecondsPerCall { json.field("cpu_us_per_call", perCall) }
        json.field("rss_before", server.before.residentBytes)
        json.field("rss_after", server.after.residentBytes)
        json.field("rss_peak", server.residentPeakBytes)
        json.field("anonymous_before", server.before.anonymousBytes)
        json.field("anonymous_after", server.after.anonymousBytes)
        json.field("anonymous_peak", server.anonymousPeakBytes)
    }
}
