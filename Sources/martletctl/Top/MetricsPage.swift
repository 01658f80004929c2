/// What `top` takes from a member's `/metrics`: a histogram's buckets. Format: Prometheus text, one `name{labels} value` a
/// line.
package struct LatencyHistogram: Sendable, Equatable {
    /// Upper bounds in seconds, ascending, the last one infinite, each with the count of all that are not above it.
    package private(set) var buckets: [(bound: Double, count: Double)] = []

    /// Reads the histogram `name` of a page; nil when the page has none.
    package init?(_ name: String, in page: String) {
        let prefix = name + "_bucket{"
        for line in page.split(separator: "\n") where line.hasPrefix(prefix) {
            guard let label = line.split(separator: "\"").dropFirst().first,
                let value = line.split(separator: " ").last.flatMap({ Double($0) })
            else { return nil }
            guard let bound = label == "+Inf" ? Double.infinity : Double(label) else { return nil }
            buckets.append((bound, value))
        }
        buckets.sort { $0.bound < $1.bound }
        if buckets.last?.bound != .infinity { return nil }
    }

    /// What was counted since `earlier` was read; all, when `earlier` is of another run of the member.
    package func since(_ earlier: LatencyHistogram) -> LatencyHistogram {
        guard earlier.buckets.count == buckets.count, earlier.total <= total else { return self }
        var difference = self
        for position in buckets.indices { difference.buckets[position].count -= earlier.buckets[position].count }
        return difference
    }

    package var total: Double { buckets.last?.count ?? 0 }

    /// The value that a share of all, 0...1, is not above, in seconds: linear within a bucket, as `histogram_quantile` has
    /// it. Nil when nothing was counted.
    package func quantile(_ share: Double) -> Double? {
        let rank = share * total
        guard total > 0, let position = buckets.firstIndex(where: { $0.count >= rank }) else { return nil }
        let (low, below) = position == 0 ? (0, 0) : buckets[position - 1]
        let (high, count) = buckets[position]
        // Above all bounds nothing is known but that.
        if high == .infinity { return low }
        return count > below ? low + (high - low) * (rank - below) / (count - below) : high
    }

    package static func == (a: LatencyHistogram, b: LatencyHistogram) -> Bool {
        a.buckets.elementsEqual(b.buckets) { $0 == $1 }
    }
}
