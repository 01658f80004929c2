import Primitives
import Wire

/// The keys that a branch of a transaction deletes. Intervals are kept in sorted runs, each more than twice as long as the
/// next: a transaction may have tens of thousands of deletes in the ones it nests, and is checked on an event loop.
struct DeletedKeys {
    /// All keys from `start` on and below `end`.
    private struct Interval {
        let start: Bytes
        var end: Bytes
    }

    /// In each run the intervals are disjoint and ascend.
    private var runs: [[Interval]] = []

    /// Adds what a request deletes. As etcd has it, "from the key on", an end of one zero byte, is an ordinary end here,
    /// below every key: such deletes conflict with nothing. Amortised O(log deletes).
    mutating func insert(_ request: DeleteRangeRequestView) {
        let start = Bytes(copying: request.key)
        // The least key above a key is the one with a zero byte more.
        let end = request.rangeEnd.count == 0 ? Bytes(start.array + [0]) : Bytes(copying: request.rangeEnd)
        if start < end { push([Interval(start: start, end: end)]) }
    }

    mutating func formUnion(_ other: DeletedKeys) {
        for run in other.runs { push(run) }
    }

    /// O(log² deletes).
    func contains(_ key: Bytes) -> Bool {
        runs.contains { run in
            var (low, high) = (0, run.count)
            while low < high {
                let middle = (low + high) / 2
                if key < run[middle].start { high = middle } else { low = middle + 1 }
            }
            return low > 0 && key < run[low - 1].end
        }
    }

    private mutating func push(_ run: [Interval]) {
        var run = run
        while let last = runs.last, last.count <= 2 * run.count {
            runs.removeLast()
            run = Self.merged(last, run)
        }
        runs.append(run)
    }

    private static func merged(_ first: [Interval], _ second: [Interval]) -> [Interval] {
        var result: [Interval] = []
        result.reserveCapacity(first.count + second.count)
        var (left, right) = (first[...], second[...])
        while let next = next(&left, &right) {
            if let last = result.last, next.start <= last.end {
                if last.end < next.end { result[result.count - 1].end = next.end }
            } else {
                result.append(next)
            }
        }
        return result
    }

    /// Takes the interval that begins first.
    private static func next(_ left: inout ArraySlice<Interval>, _ right: inout ArraySlice<Interval>) -> Interval? {
        guard let first = left.first else { return right.popFirst() }
        guard let second = right.first else { return left.popFirst() }
        return second.start < first.start ? right.popFirst() : left.popFirst()
    }
}
