/// Counts durations in fixed buckets: exact below 128 ns, then 64 buckets for each power of two, so that a percentile
/// is at most 1.6 % above the true value. Adding is a shift and an increment. One owner; merge to combine.
package struct Histogram: Sendable {
    private static let exactBits = 7
    private static let exactCount = 1 << exactBits
    private static let bucketsPerOctave = exactCount / 2
    private static let bucketCount = (64 - exactBits) * bucketsPerOctave + exactCount

    private var buckets = [UInt64](repeating: 0, count: bucketCount)

    /// How many values were added.
    package private(set) var count: UInt64 = 0
    /// The sum of all values, ns.
    package private(set) var sum: UInt64 = 0
    /// The least value, ns; 0 when there is none.
    package private(set) var minimum: UInt64 = 0
    /// The greatest value, ns; 0 when there is none.
    package private(set) var maximum: UInt64 = 0

    package init() {}

    /// Adds one value, ns.
    package mutating func add(_ value: UInt64) {
        buckets[Self.index(of: value)] += 1
        minimum = count == 0 ? value : min(minimum, value)
        maximum = max(maximum, value)
        count += 1
        sum &+= value
    }

    /// Adds all values of `other`.
    package mutating func merge(_ other: Histogram) {
        if other.count == 0 { return }
        for index in buckets.indices { buckets[index] += other.buckets[index] }
        minimum = count == 0 ? other.minimum : min(minimum, other.minimum)
        maximum = max(maximum, other.maximum)
        count += other.count
        sum &+= other.sum
    }

    /// The mean, ns; 0 when there is no value.
    package var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    /// The least value that `fraction` (0...1) of all values do not exceed, ns, rounded up to its bucket's end and
    /// never beyond `maximum`; 0 when there is no value.
    package func percentile(_ fraction: Double) -> UInt64 {
        if count == 0 { return 0 }
        let rank = max(1, UInt64((fraction * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, bucket) in buckets.enumerated() {
            seen += bucket
            if seen >= rank { return max(minimum, min(maximum, Self.upperBound(of: index))) }
        }
        return maximum
    }

    /// The number of values in each range between neighbouring `bounds` (ns, ascending): below the first, between
    /// each pair, and from the last on. A value counts by its bucket's end.
    package func counts(between bounds: [UInt64]) -> [UInt64] {
        var counts = [UInt64](repeating: 0, count: bounds.count + 1)
        var position = 0
        for (index, bucket) in buckets.enumerated() where bucket > 0 {
            let value = min(maximum, Self.upperBound(of: index))
            while position < bounds.count, value >= bounds[position] { position += 1 }
            counts[position] += bucket
        }
        return counts
    }

    private static func index(of value: UInt64) -> Int {
        let shift = max(0, 64 - value.leadingZeroBitCount - exactBits)
        return shift * bucketsPerOctave + Int(truncatingIfNeeded: value >> UInt64(shift))
    }

    /// The greatest value that falls into a bucket.
    private static func upperBound(of index: Int) -> UInt64 {
        if index < exactCount { return UInt64(index) }
        let shift = UInt64(index / bucketsPerOctave - 1)
        let leading = UInt64(index % bucketsPerOctave + bucketsPerOctave)
        return ((leading + 1) << shift) &- 1
    }
}
