import Synchronization

/// A number that only grows. Any thread may add.
package final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    package init() {}

    package func add(_ amount: Int = 1) { value.add(amount, ordering: .relaxed) }
    package var current: Int { value.load(ordering: .relaxed) }
}

/// Counts of durations in buckets whose bounds double, as Prometheus histograms want them. Any thread may observe.
package final class Histogram: Sendable {
    /// Upper bounds in nanoseconds, ascending; one more bucket holds the rest.
    private let boundsNanoseconds: [UInt64]
    private let counts: [Counter]
    private let sumNanoseconds = Counter()

    /// - Parameters:
    ///   - first: the lowest upper bound in seconds.
    ///   - count: how many bounds, each twice the one before.
    package init(first: Double, count: Int) {
        boundsNanoseconds = (0..<count).map { UInt64(first * Double(1 << $0) * 1e9) }
        counts = (0...count).map { _ in Counter() }
    }

    package func observe(nanoseconds: UInt64) {
        let index = boundsNanoseconds.firstIndex { nanoseconds <= $0 } ?? boundsNanoseconds.count
        counts[index].add()
        sumNanoseconds.add(Int(truncatingIfNeeded: nanoseconds))
    }

    /// Appends the lines of this histogram; `labels` without braces, may be empty.
    func write(name: String, labels: String = "", to text: inout String) {
        var total = 0
        let separator = labels.isEmpty ? "" : ","
        for (bound, count) in zip(boundsNanoseconds, counts) {
            total += count.current
            text += "\(name)_bucket{\(labels)\(separator)le=\"\(Double(bound) / 1e9)\"} \(total)\n"
        }
        total += counts[counts.count - 1].current
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        text += "\(name)_bucket{\(labels)\(separator)le=\"+Inf\"} \(total)\n"
        text += "\(name)_sum\(braces) \(Double(sumNanoseconds.current) / 1e9)\n"
        text += "\(name)_count\(braces) \(total)\n"
    }
}

/// Builds a page in the Prometheus text format, version 0.0.4.
package struct MetricsPage {
    package private(set) var text = ""

    package init() { text.reserveCapacity(32 << 10) }

    package mutating func counter(_ name: String, _ help: String, _ value: Int) {
        header(name, help, "counter")
        text += "\(name) \(value)\n"
    }

    package mutating func gauge(_ name: String, _ help: String, _ value: Double) {
        header(name, help, "gauge")
        text += "\(name) \(number(value))\n"
    }

    package mutating func gauge(_ name: String, _ help: String, _ value: Int) { gauge(name, help, Double(value)) }

    /// One family with a value for each set of labels, in the order given.
    package mutating func family(
        _ name: String, _ help: String, _ kind: String, _ values: [(labels: String, value: Double)]
    ) {
        header(name, help, kind)
        for (labels, value) in values { text += "\(name){\(labels)} \(number(value))\n" }
    }

    package mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
        header(name, help, "histogram")
        histogram.write(name: name, to: &text)
    }

    package mutating func histograms(_ name: String, _ help: String, _ values: [(labels: String, value: Histogram)]) {
        header(name, help, "histogram")
        for (labels, value) in values { value.write(name: name, labels: labels, to: &text) }
    }

    /// One line of a family whose header stands above it.
    package mutating func plain(_ name: String, _ value: Double) { text += "\(name) \(number(value))\n" }

    /// Begins a family whose lines follow by `plain`.
    mutating func header(_ name: String, _ help: String, _ kind: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n"
    }

    private func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
}
